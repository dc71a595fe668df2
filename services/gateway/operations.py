"""Every route of the gateway as the OpenAPI document describes it."""

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from core.errors import (
    AnswerNotFound,
    CollectionConflict,
    CollectionNotFound,
    DeadlineExceeded,
    DependencyUnavailable,
    DocumentNotFound,
    EkibenError,
    IndexMismatch,
    Internal,
    InvalidRequest,
    JobNotFound,
    MalformedBody,
    ModelNotFound,
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
    CitationsEvent,
    Collection,
    CollectionDeleted,
    CollectionList,
    CollectionSettings,
    Compaction,
    DeleteResponse,
    DocumentPage,
    DoneEvent,
    ErrorEvent,
    Job,
    JobPage,
    JobState,
    ReindexStatus,
    Replay,
    RetrievedEvent,
    SearchRequest,
    SearchResponse,
    ServiceStatus,
    StoredDocument,
    SummaryEvent,
    TokenEvent,
)
from services.gateway.openai_api.chat import CHAT_PATH
from services.gateway.openai_api.embeddings import EMBEDDINGS_PATH
from services.gateway.openai_api.models import MODELS_PATH
from services.gateway.openai_api.wire import ChatChunk, ChatCompletion, ChatRequest, EmbeddingList, EmbeddingRequest, Model, ModelList

ALWAYS: tuple[type[EkibenError], ...] = (Overloaded, Internal, DependencyUnavailable, DeadlineExceeded)
WITH_BODY: tuple[type[EkibenError], ...] = (MalformedBody, PayloadTooLarge, UnsupportedMediaType, InvalidRequest)


@dataclass(frozen=True)
class Operation:
    """One route and method as the document describes it: `answer` comes with 200, `accepted` with 202.

    `events` are the server-sent events that the answer may be instead, `openai` routes have OpenAI's errors.
    """

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | None
    body: type[BaseModel] | None = None
    accepted: type[BaseModel] | None = None
    parameters: tuple[str, ...] = ()
    takes_files: bool = False
    events: tuple[type[BaseModel], ...] = ()
    openai: bool = False
    errors: tuple[type[EkibenError], ...] = ()


OPERATIONS = (
    Operation(
        "post",
        "/v1/answer",
        "Answer a question, every sentence cited; with stream: true as server-sent events",
        Answer,
        AnswerRequest,
        events=(RetrievedEvent, SummaryEvent, TokenEvent, CitationsEvent, DoneEvent, ErrorEvent),
        errors=(IndexMismatch,),
    ),
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
    Operation(
        "post",
        CHAT_PATH,
        "OpenAI-compatible: answer the last question of a conversation",
        ChatCompletion,
        ChatRequest,
        events=(ChatChunk,),
        openai=True,
        errors=(IndexMismatch, ModelNotFound),
    ),
    Operation(
        "post",
        EMBEDDINGS_PATH,
        "OpenAI-compatible: vectors of texts by the encoder of the index",
        EmbeddingList,
        EmbeddingRequest,
        openai=True,
        errors=(IndexMismatch, ModelNotFound),
    ),
    Operation("get", MODELS_PATH, "OpenAI-compatible: the models", ModelList, openai=True),
    Operation("get", MODELS_PATH + "/{model}", "OpenAI-compatible: a model", Model, parameters=("model",), openai=True, errors=(ModelNotFound,)),
    Operation("get", "/v1/status", "State of all parts", ServiceStatus),
)

PARAMETERS: dict[str, dict[str, Any]] = {
    "id": {"in": "path", "required": True, "schema": {"type": "string"}, "description": "Document id; may hold slashes"},
    "limit": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
    "cursor": {"in": "query", "schema": {"type": "string"}, "description": "`next` of the page before"},
    "collection": {"in": "query", "schema": {"type": "string"}},
    "state": {"in": "query", "schema": {"type": "string", "enum": list(get_args(JobState))}},
    "job_id": {"in": "path", "required": True, "schema": {"type": "string"}, "description": "Id of a job"},
    "answer_id": {"in": "path", "required": True, "schema": {"type": "string"}, "description": "Id of an answer"},
    "model": {"in": "path", "required": True, "schema": {"type": "string"}, "description": "Name of a model"},
    "name": {"in": "path", "required": True, "schema": {"type": "string"}, "description": "Name of a collection"},
}
