"""The HTTP API of documents."""

import asyncio
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import InvalidRequest, MalformedBody
from core.schemas import DEFAULT_COLLECTION, MAX_ID_CHARS, AddRequest, AddResponse, CollectionName, DocumentRef, FieldMap, Frozen, Job, ListRequest
from core.settings import JobsSettings
from pipelines.ingestion.ingest import IngestDocuments
from pipelines.ingestion.normalizing import normalize
from services.gateway.jobs.api import accepted
from services.gateway.jobs.queue import Upload
from services.gateway.jobs.runner import Jobs
from services.gateway.jobs.spool import finding_space
from services.gateway.parts import RetrieverPart
from services.gateway.routing import json_response, parse, parse_json, read_json, route

DOCUMENTS_PATH = "/v1/documents"
MAX_FILES_PER_UPLOAD = 256


class UploadForm(Frozen):
    """The fields of an upload beside its files."""

    collection: CollectionName = DEFAULT_COLLECTION
    fields: FieldMap = FieldMap()


class DocumentsApi:
    """Handlers over the Retriever; files and large batches become jobs."""

    def __init__(self, retriever: RetrieverPart, ingest: IngestDocuments, jobs: Jobs, limits: JobsSettings) -> None:
        self._retriever = retriever
        self._ingest = ingest
        self._jobs = jobs
        self._limits = limits

    def routes(self) -> list[Route]:
        """What the gateway serves."""
        one = DOCUMENTS_PATH + "/{id:path}"
        return [
            route("GET", DOCUMENTS_PATH, self.list),
            route("POST", DOCUMENTS_PATH, self.add),
            route("GET", one, self.get),
            route("DELETE", one, self.delete),
        ]

    async def add(self, request: Request) -> Response:
        """Store documents, given as JSON or as files. Files, and more documents than are stored while a caller waits, become a job."""
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return accepted(await self._accept_files(request))
        body = parse(AddRequest, await read_json(request))
        if self._are_few(body.documents):
            return json_response(AddResponse(documents=tuple(await self._ingest(body.documents, body.collection))))
        uploads = [_upload_of(document, place) for place, document in enumerate(body.documents)]
        return accepted(await self._jobs.submit(body.collection, FieldMap(), uploads))

    def _are_few(self, documents: Sequence[object]) -> bool:
        texts = [document.get("text") for document in documents if isinstance(document, Mapping)]
        chars = sum(len(text) for text in texts if isinstance(text, str))
        return len(documents) <= self._limits.sync_documents and chars <= self._limits.sync_chars

    async def _accept_files(self, request: Request) -> Job:
        length = request.headers.get("content-length", "")
        # Refused before the body is read; how much it really is, is known afterwards.
        await asyncio.to_thread(self._jobs.queue.require_room, 1, int(length) if length.isdecimal() else 0)
        try:
            with finding_space(Path(tempfile.gettempdir())):
                async with request.form(max_files=MAX_FILES_PER_UPLOAD, max_fields=16) as form:
                    return await self._submit(form)
        except HTTPException as error:
            raise MalformedBody(f"the multipart form can't be read: {error.detail}") from error

    async def _submit(self, form: FormData) -> Job:
        files = [value for value in form.getlist("files") if isinstance(value, UploadFile)]
        unknown = set(form) - {"files", *UploadForm.model_fields}
        if not files or unknown:
            known = "send one or more `files`, and at most a `collection` and `fields`"
            raise InvalidRequest(f"{known}{f', not {sorted(unknown)}' if unknown else ''}")
        content = {key: parse_json(key, value) if key == "fields" and isinstance(value, str) else value for key, value in form.items()}
        asked = parse(UploadForm, {key: value for key, value in content.items() if key != "files"})
        return await self._jobs.submit(asked.collection, asked.fields, [Upload(_name_of(file), "file", file.file) for file in files])

    async def list(self, request: Request) -> Response:
        """One page of the documents."""
        return json_response(await self._retriever.list(parse(ListRequest, dict(request.query_params))))

    async def get(self, request: Request) -> Response:
        """A document with its text."""
        return json_response(await self._retriever.get(_ref(request)))

    async def delete(self, request: Request) -> Response:
        """Remove a document."""
        return json_response(await self._retriever.delete(_ref(request)))


def _ref(request: Request) -> DocumentRef:
    if "id" in request.query_params:
        raise InvalidRequest("id: stands in the path; it can't be a parameter as well")
    return parse(DocumentRef, {"id": request.path_params["id"], **request.query_params})


def _name_of(file: UploadFile) -> str:
    """The file's name without any folder, which is the document's id."""
    return PurePosixPath((file.filename or "").replace("\\", "/")).name or "unnamed"


def _upload_of(document: object, place: int) -> Upload:
    given = document.get("id") if isinstance(document, Mapping) else None
    name = normalize(given)[:MAX_ID_CHARS] if isinstance(given, str) else ""
    return Upload(name or f"#{place}", "json", io.BytesIO(json.dumps(document).encode()))
