"""The OpenAPI document of the gateway, made from the wire types and the error tree."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from core.errors import EkibenError, ErrorBody
from core.schemas import Document, FieldMap
from core.version import VERSION
from services.gateway.openai_api.errors import openai_status
from services.gateway.openai_api.wire import OpenAIErrorBody
from services.gateway.operations import ALWAYS, OPERATIONS, PARAMETERS, WITH_BODY, Operation

EVENT_STREAM = "text/event-stream"


@cache
def openapi_document() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    answers = [answer for operation in OPERATIONS for answer in (operation.answer, operation.accepted) if answer]
    models: list[tuple[type[BaseModel], Any]] = [(answer, "serialization") for answer in answers]
    models += [(operation.body, "validation") for operation in OPERATIONS if operation.body]
    models += [(event, "serialization") for operation in OPERATIONS for event in operation.events]
    models += [(ErrorBody, "serialization"), (OpenAIErrorBody, "serialization"), (Document, "validation"), (FieldMap, "validation")]
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
    errors = (*operation.errors, *(WITH_BODY if operation.body else ()), *ALWAYS)
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method}_{operation.path.strip('/').replace('/', '_').replace('{', '').replace('}', '')}",
        "responses": {
            status: _json_content(operation.summary, schemas[answer.__name__])
            for status, answer in (("200", operation.answer), ("202", operation.accepted))
            if answer
        }
        | _error_responses(errors, schemas, openai=operation.openai),
    }
    if operation.events:
        described["responses"]["200"]["content"][EVENT_STREAM] = _events_content(operation, schemas)
    if operation.parameters:
        described["parameters"] = [{"name": name, **PARAMETERS[name]} for name in operation.parameters]
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


def _events_content(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    """One event of the stream. Where there are several, `event` is its name and `data` what stands in it."""
    references = [schemas[event.__name__] for event in operation.events]
    return {"schema": references[0] if len(references) == 1 else {"oneOf": references}}


def _error_responses(errors: Sequence[type[EkibenError]], schemas: dict[str, Any], *, openai: bool) -> dict[str, Any]:
    codes: dict[str, list[str]] = {}
    for error in errors:
        codes.setdefault(str(int(openai_status(error)) if openai else error.status), []).append(error.code)
    body = schemas[OpenAIErrorBody.__name__ if openai else ErrorBody.__name__]
    return {status: _json_content(" or ".join(f"`{code}`" for code in names), body) for status, names in sorted(codes.items())}
