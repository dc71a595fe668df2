"""The HTTP API of documents and status: the routes that BentoML's POST-only methods can't express, as a mounted Starlette app."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from core.errors import EkibenError, InvalidRequest, MalformedBody
from core.schemas import AddRequest, AddResponse, DocumentRef, DocumentResult, ListRequest
from pipelines.ingestion.ingest import IngestDocuments
from services.bentoml_runtime import error_response
from services.border import invalid_request
from services.gateway.openapi import docs_page, docs_script, openapi_document
from services.gateway.parts import GeneratorPart, RetrieverPart, status_of
from services.gateway.uploads import FileLoader

Model = TypeVar("Model", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]

DOCUMENTS_PATH = "/v1/documents"
MAX_FILES_PER_UPLOAD = 256


class DocumentsApi:
    """Handlers over the parts; `app` is what the gateway mounts."""

    def __init__(
        self, retriever: RetrieverPart, generator: GeneratorPart, ingest: IngestDocuments, loader: FileLoader, probe_timeout_s: float
    ) -> None:
        self._retriever = retriever
        self._generator = generator
        self._ingest = ingest
        self._loader = loader
        self._probe_timeout_s = probe_timeout_s

    def app(self) -> Starlette:
        """The routes as an ASGI app."""
        one = DOCUMENTS_PATH + "/{id:path}"
        routes = [
            Route(DOCUMENTS_PATH, _answers_errors(self.list), methods=["GET"]),
            Route(DOCUMENTS_PATH, _answers_errors(self.add), methods=["POST"]),
            Route(one, _answers_errors(self.get), methods=["GET"]),
            Route(one, _answers_errors(self.delete), methods=["DELETE"]),
            Route("/v1/status", _answers_errors(self.status), methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/docs", self.docs, methods=["GET"]),
            Route("/docs.js", self.docs_script, methods=["GET"]),
            Route("/", self.root, methods=["GET"]),
        ]
        return Starlette(routes=routes)

    async def add(self, request: Request) -> Response:
        """Store documents, given as JSON or as files."""
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            results = await self._add_files(request)
        else:
            body = _parse(AddRequest, await _json(request))
            results = await self._ingest(body.documents, body.collection)
        return _json_response(AddResponse(documents=tuple(results)))

    async def _add_files(self, request: Request) -> Sequence[DocumentResult]:
        try:
            async with request.form(max_files=MAX_FILES_PER_UPLOAD, max_fields=16) as form:
                return await self._load_and_ingest(form)
        except HTTPException as error:
            raise MalformedBody(f"the multipart form can't be read: {error.detail}") from error

    async def _load_and_ingest(self, form: FormData) -> Sequence[DocumentResult]:
        files = [value for value in form.getlist("files") if isinstance(value, UploadFile)]
        unknown = set(form) - {"files", "collection"}
        if not files or unknown:
            raise InvalidRequest(f"send one or more `files` and at most a `collection`{f', not {sorted(unknown)}' if unknown else ''}")
        ref = _parse(DocumentRef, {"id": "any", **{key: value for key, value in form.items() if key == "collection"}})
        loaded = [document for file in files for document in await self._loader.load(file)]
        return await self._ingest.ingest_documents(loaded, ref.collection)

    async def list(self, request: Request) -> Response:
        """One page of the documents."""
        return _json_response(await self._retriever.list(_parse(ListRequest, dict(request.query_params))))

    async def get(self, request: Request) -> Response:
        """A document with its text."""
        return _json_response(await self._retriever.get(_ref(request)))

    async def delete(self, request: Request) -> Response:
        """Remove a document."""
        return _json_response(await self._retriever.delete(_ref(request)))

    async def status(self, _: Request) -> Response:
        """State of all parts; 200 whether they are ready or not."""
        return _json_response(await status_of(self._retriever, self._generator, self._probe_timeout_s))

    async def openapi(self, _: Request) -> Response:
        """The OpenAPI document."""
        return JSONResponse(openapi_document())

    async def docs(self, _: Request) -> Response:
        """The OpenAPI page."""
        return docs_page()

    async def docs_script(self, _: Request) -> Response:
        """The script of the OpenAPI page."""
        return docs_script()

    async def root(self, _: Request) -> Response:
        """To the OpenAPI page."""
        return RedirectResponse("/docs")


def _answers_errors(handler: Handler) -> Handler:
    async def wrapped(request: Request) -> Response:
        try:
            return await handler(request)
        except EkibenError as error:
            return error_response(error)

    return wrapped


def _parse(model: type[Model], content: object) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise invalid_request(error.errors(include_input=False, include_url=False, include_context=False)) from error


async def _json(request: Request) -> object:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"the body is not JSON: {error}") from error


def _ref(request: Request) -> DocumentRef:
    if "id" in request.query_params:
        raise InvalidRequest("id: stands in the path; it can't be a parameter as well")
    return _parse(DocumentRef, {"id": request.path_params["id"], **request.query_params})


def _json_response(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), media_type="application/json")
