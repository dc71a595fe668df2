"""The OpenAPI document of the gateway, made from the wire types and the error tree, and the page that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse, Response

from core.errors import (
    AnswerNotFound,
    CollectionConflict,
    CollectionNotFound,
    DeadlineExceeded,
    DependencyUnavailable,
    DocumentNotFound,
    EkibenError,
    ErrorBody,
    IndexMismatch,
    Internal,
    InvalidRequest,
    JobNotFound,
    MalformedBody,
    Overloaded,
    PayloadTooLarge,
    QueueFull,
    ReindexConflict,
    StorageFull,
    StoreCorrupt,
    UnsupportedMediaType,
)
from core.schemas import (
    AddRequest,
    AddResponse,
    Answer,
    AnswerRecord,
    AnswerRequest,
    Collection,
    CollectionDeleted,
    CollectionList,
    CollectionSettings,
    Compaction,
    DeleteResponse,
    Document,
    DocumentPage,
    FieldMap,
    Job,
    JobPage,
    JobState,
    ReindexStatus,
    Replay,
    SearchRequest,
    SearchResponse,
    ServiceStatus,
    StoredDocument,
)
from core.version import VERSION

_ALWAYS: tuple[type[EkibenError], ...] = (Overloaded, Internal, DependencyUnavailable, DeadlineExceeded)
_WITH_BODY: tuple[type[EkibenError], ...] = (MalformedBody, PayloadTooLarge, UnsupportedMediaType, InvalidRequest)


@dataclass(frozen=True)
class Operation:
    """One route and method as the document describes it: `answer` comes with 200, `accepted` with 202."""

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | None
    body: type[BaseModel] | None = None
    accepted: type[BaseModel] | None = None
    parameters: tuple[str, ...] = ()
    takes_files: bool = False
    errors: tuple[type[EkibenError], ...] = ()


OPERATIONS = (
    Operation("post", "/v1/answer", "Answer a question, every sentence cited", Answer, AnswerRequest, errors=(IndexMismatch,)),
    Operation("post", "/v1/search", "Find passages", SearchResponse, SearchRequest, errors=(IndexMismatch,)),
    Operation(
        "get", "/v1/answers/{answer_id}", "Get a recorded answer", AnswerRecord, parameters=("answer_id",), errors=(AnswerNotFound, StoreCorrupt)
    ),
    Operation(
        "post",
        "/v1/answers/{answer_id}/replay",
        "Answer a recorded request again and tell what is different",
        Replay,
        parameters=("answer_id",),
        errors=(AnswerNotFound, CollectionNotFound, IndexMismatch, StoreCorrupt, UnsupportedMediaType),
    ),
    Operation(
        "post",
        "/v1/documents",
        "Add documents; files, and many documents at once, become a job",
        AddResponse,
        AddRequest,
        accepted=Job,
        takes_files=True,
        errors=(IndexMismatch, StorageFull, QueueFull),
    ),
    Operation("get", "/v1/documents", "List documents", DocumentPage, parameters=("limit", "cursor", "collection"), errors=(InvalidRequest,)),
    Operation(
        "get", "/v1/documents/{id}", "Get a document", StoredDocument, parameters=("id", "collection"), errors=(DocumentNotFound, InvalidRequest)
    ),
    Operation(
        "delete",
        "/v1/documents/{id}",
        "Delete a document",
        DeleteResponse,
        parameters=("id", "collection"),
        errors=(DocumentNotFound, InvalidRequest, StorageFull),
    ),
    Operation("get", "/v1/jobs", "List jobs, newest first", JobPage, parameters=("limit", "cursor", "collection", "state"), errors=(InvalidRequest,)),
    Operation("get", "/v1/jobs/{job_id}", "Get a job with its errors", Job, parameters=("job_id",), errors=(JobNotFound,)),
    Operation(
        "post",
        "/v1/jobs/{job_id}/cancel",
        "Stop a job before its next documents; what is stored stays",
        Job,
        parameters=("job_id",),
        errors=(JobNotFound, StorageFull, UnsupportedMediaType),
    ),
    Operation("get", "/v1/collections", "List collections", CollectionList),
    Operation(
        "put",
        "/v1/collections/{name}",
        "Create a collection or change its settings",
        Collection,
        CollectionSettings,
        parameters=("name",),
        errors=(CollectionConflict, StorageFull),
    ),
    Operation("get", "/v1/collections/{name}", "Get a collection", Collection, parameters=("name",), errors=(CollectionNotFound, InvalidRequest)),
    Operation(
        "delete",
        "/v1/collections/{name}",
        "Delete a collection with all its documents",
        CollectionDeleted,
        parameters=("name",),
        errors=(CollectionNotFound, InvalidRequest, StorageFull),
    ),
    Operation("post", "/v1/compact", "Give the space of deleted documents back", Compaction, errors=(StorageFull, UnsupportedMediaType)),
    Operation(
        "post",
        "/v1/reindex",
        "Begin to move the index over to the Embedder's newest encoder",
        None,
        accepted=ReindexStatus,
        errors=(ReindexConflict, StorageFull, UnsupportedMediaType),
    ),
    Operation("get", "/v1/status", "State of all parts", ServiceStatus),
)

_PARAMETERS: dict[str, dict[str, Any]] = {
    "id": {"in": "path", "required": True, "schema": {"type": "string"}, "description": "Document id; may hold slashes"},
    "limit": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
    "cursor": {"in": "query", "schema": {"type": "string"}, "description": "`next` of the page before"},
    "collection": {"in": "query", "schema": {"type": "string"}},
    "state": {"in": "query", "schema": {"type": "string", "enum": list(get_args(JobState))}},
    "job_id": {"in": "path", "required": True, "schema": {"type": "string"}, "description": "Id of a job"},
    "answer_id": {"in": "path", "required": True, "schema": {"type": "string"}, "description": "Id of an answer"},
    "name": {"in": "path", "required": True, "schema": {"type": "string"}, "description": "Name of a collection"},
}


@cache
def openapi_document() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    answers = [answer for operation in OPERATIONS for answer in (operation.answer, operation.accepted) if answer]
    models: list[tuple[type[BaseModel], Any]] = [(answer, "serialization") for answer in answers]
    models += [(operation.body, "validation") for operation in OPERATIONS if operation.body]
    models += [(ErrorBody, "serialization"), (Document, "validation"), (FieldMap, "validation")]
    references, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = {model.__name__: schema for (model, _), schema in references.items()}
    # Documents are validated one by one, so that a bad one fails alone; the wire type leaves them open, the description does not.
    definitions["$defs"]["AddRequest"]["properties"]["documents"]["items"] = schemas["Document"]
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ekiben", "version": VERSION, "description": "Question answering over your own documents, every sentence cited."},
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }


def _describe(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    errors = (*operation.errors, *(_WITH_BODY if operation.body else ()), *_ALWAYS)
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method}_{operation.path.strip('/').replace('/', '_').replace('{', '').replace('}', '')}",
        "responses": {
            status: _json_content(operation.summary, schemas[answer.__name__])
            for status, answer in (("200", operation.answer), ("202", operation.accepted))
            if answer
        }
        | _error_responses(errors, schemas),
    }
    if operation.parameters:
        described["parameters"] = [{"name": name, **_PARAMETERS[name]} for name in operation.parameters]
    if operation.body:
        content = {"application/json": {"schema": schemas[operation.body.__name__]}}
        if operation.takes_files:
            content["multipart/form-data"] = {"schema": _FILES_SCHEMA}
        described["requestBody"] = {"required": True, "content": content}
    return described


_FILES_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["files"],
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "collection": {"type": "string"},
        "fields": {"$ref": "#/components/schemas/FieldMap"},
    },
}


def _json_content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _error_responses(errors: Sequence[type[EkibenError]], schemas: dict[str, Any]) -> dict[str, Any]:
    codes: dict[str, list[str]] = {}
    for error in errors:
        codes.setdefault(str(error.status), []).append(error.code)
    return {status: _json_content(" or ".join(f"`{code}`" for code in names), schemas["ErrorBody"]) for status, names in sorted(codes.items())}


def docs_page() -> Response:
    """Swagger UI from the files that BentoML serves itself; the page asks no third party for anything."""
    headers = {"Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'"}
    return HTMLResponse(_DOCS_PAGE, headers=headers)


def docs_script() -> Response:
    """Starts Swagger UI; a file of its own, because the page's policy runs no inline script."""
    return Response(_DOCS_SCRIPT, media_type="text/javascript")


_DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ekiben API</title>
<link rel="stylesheet" href="/static_content/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/static_content/swagger-ui-bundle.js"></script>
<script src="/docs.js"></script>
</body>
</html>
"""

_DOCS_SCRIPT = """window.onload = () => SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null, tryItOutEnabled: true,
});
"""
