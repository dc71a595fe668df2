"""Every error Ekiben reports, as one tree: code, HTTP status, and whether the same call may be tried again.

EkibenError
├── RequestError                       the caller has to change something
│   ├── MalformedBody            400   malformed_body
│   ├── NotFound                 404   not_found
│   │   ├── DocumentNotFound     404   document_not_found
│   │   ├── CollectionNotFound   404   collection_not_found
│   │   ├── JobNotFound          404   job_not_found
│   │   ├── ModelNotFound        404   model_not_found
│   │   └── AnswerNotFound       404   answer_not_found
│   ├── MethodNotAllowed         405   method_not_allowed
│   ├── IndexMismatch            409   index_mismatch
│   ├── CollectionConflict       409   collection_conflict
│   ├── ReindexConflict          409   reindex_conflict
│   ├── PayloadTooLarge          413   payload_too_large
│   ├── UnsupportedMediaType     415   unsupported_media_type
│   └── InvalidRequest           422   invalid_request
├── DocumentError                      one document is refused, the rest of a batch goes on
│   ├── UnsupportedFormat        415   unsupported_format
│   ├── DocumentTooLarge         413   document_too_large
│   ├── DocumentUnreadable       422   document_unreadable
│   ├── DocumentEncrypted        422   document_encrypted
│   ├── DocumentTooSlow          422   document_too_slow
│   ├── DocumentTooHungry        422   document_too_hungry
│   └── DocumentEmpty            422   document_empty
├── UnavailableError                   nothing is wrong with the request
│   ├── Overloaded               429   overloaded              retryable
│   │   └── QueueFull            429   queue_full              retryable
│   ├── DependencyUnavailable    503   dependency_unavailable  retryable
│   ├── NotReady                 503   not_ready               retryable
│   ├── StorageFull              503   storage_full            retryable
│   ├── EncoderChanged           503   encoder_changed         retryable
│   └── DeadlineExceeded         504   deadline_exceeded       retryable
├── InternalError                      a fault of ours; the log has the details
│   ├── Internal                 500   internal
│   ├── GenerationFailed         500   generation_failed
│   ├── UploadDamaged            500   upload_damaged
│   └── StoreCorrupt             500   store_corrupt
└── StartupError                       a service or a command refuses to start; never an HTTP answer
    ├── InvalidSettings                invalid_settings
    ├── ModelUnavailable               model_unavailable
    ├── StoreLocked                    store_locked
    ├── AddressInUse                   address_in_use
    ├── UnsupportedBentoML             unsupported_bentoml
    └── BadEvaluation                  bad_evaluation
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class ErrorInfo(BaseModel):
    """An error as it crosses the wire, and as it stands inside a result for one item of a batch."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    retryable: bool = False
    request_id: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer with a status of 400 or above."""

    model_config = ConfigDict(frozen=True)

    error: ErrorInfo


class EkibenError(Exception):
    """Root of the tree. `status` is the HTTP status, or None for what never becomes an answer."""

    code: ClassVar[str] = ""
    status: ClassVar[int | None] = None
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s: float | None = None

    def info(self, request_id: str | None = None) -> ErrorInfo:
        """This error as data."""
        return ErrorInfo(code=self.code, message=self.message, retryable=self.retryable, request_id=request_id)


class RequestError(EkibenError):
    """The caller has to change something."""


class MalformedBody(RequestError):
    """The body is not JSON, not UTF-8, or not the multipart form it claims to be."""

    code, status = "malformed_body", 400


class NotFound(RequestError):
    """There is no such route."""

    code, status = "not_found", 404


class DocumentNotFound(NotFound):
    """There is no document with this id in the collection."""

    code = "document_not_found"


class CollectionNotFound(NotFound):
    """There is no collection with this name."""

    code = "collection_not_found"


class JobNotFound(NotFound):
    """There is no job with this id; finished ones are forgotten after `jobs.keep_days`."""

    code = "job_not_found"


class ModelNotFound(NotFound):
    """There is no model with this name; the OpenAI-compatible API has the one, `ekiben`."""

    code = "model_not_found"


class AnswerNotFound(NotFound):
    """There is no record of this answer; older ones are forgotten, see the settings under `records`."""

    code = "answer_not_found"


class MethodNotAllowed(RequestError):
    """The route exists, but not for this HTTP method."""

    code, status = "method_not_allowed", 405


class IndexMismatch(RequestError):
    """The index was built with another embedding model than the one that runs."""

    code, status = "index_mismatch", 409


class CollectionConflict(RequestError):
    """The change would not fit the documents that the collection holds."""

    code, status = "collection_conflict", 409


class ReindexConflict(RequestError):
    """The index belongs to the running encoder already, or another reindexing runs."""

    code, status = "reindex_conflict", 409


class PayloadTooLarge(RequestError):
    """The body is larger than `gateway.max_body_bytes`, or a batch holds too many documents."""

    code, status = "payload_too_large", 413


class UnsupportedMediaType(RequestError):
    """The Content-Type is not one that the route reads."""

    code, status = "unsupported_media_type", 415


class InvalidRequest(RequestError):
    """A field is missing, unknown, of the wrong type or out of bounds."""

    code, status = "invalid_request", 422


class DocumentError(EkibenError):
    """One document is refused; the rest of its batch goes on."""


class UnsupportedFormat(DocumentError):
    """No loader reads files of this type."""

    code, status = "unsupported_format", 415


class DocumentTooLarge(DocumentError):
    """The file or its text is over the limits under `ingestion`."""

    code, status = "document_too_large", 413


class DocumentUnreadable(DocumentError):
    """The file can't be opened, or is not what its name says."""

    code, status = "document_unreadable", 422


class DocumentEncrypted(DocumentError):
    """The file asks for a password."""

    code, status = "document_encrypted", 422


class DocumentEmpty(DocumentError):
    """The file holds no text (an empty file, or a scan without a text layer)."""

    code, status = "document_empty", 422


class DocumentTooSlow(DocumentError):
    """The parser was stopped after `ingestion.parse_timeout_s`."""

    code, status = "document_too_slow", 422


class DocumentTooHungry(DocumentError):
    """The parser asked for more memory than `ingestion.parse_memory_bytes`."""

    code, status = "document_too_hungry", 422


class UnavailableError(EkibenError):
    """Nothing is wrong with the request; the same call may succeed later."""

    retryable = True


class Overloaded(UnavailableError):
    """More requests are in flight than `gateway.max_concurrency` admits."""

    code, status = "overloaded", 429


class QueueFull(Overloaded):
    """As many files or bytes wait for their job as the settings under `jobs` admit."""

    code = "queue_full"


class DependencyUnavailable(UnavailableError):
    """A service that this one depends on can't be reached or failed."""

    code, status = "dependency_unavailable", 503


class NotReady(UnavailableError):
    """The service is up, but a part of it is not ready yet."""

    code, status = "not_ready", 503


class StorageFull(UnavailableError):
    """The disk that holds the store is full; nothing of the request was kept."""

    code, status = "storage_full", 503


class EncoderChanged(UnavailableError):
    """The embedding model changed between splitting and storing; split again."""

    code, status = "encoder_changed", 503


class DeadlineExceeded(UnavailableError):
    """The time allowed for the request ran out."""

    code, status = "deadline_exceeded", 504


class InternalError(EkibenError):
    """A fault of ours; the log has the details under the request id."""


class Internal(InternalError):
    """Anything unforeseen."""

    code, status = "internal", 500


class GenerationFailed(InternalError):
    """The generator could not make this item; others of its batch are not affected."""

    code, status = "generation_failed", 500


class UploadDamaged(InternalError):
    """What waited for its job is no longer on the disk, or is not what was sent; send it again."""

    code, status = "upload_damaged", 500


class StoreCorrupt(InternalError):
    """The store, or the queue of jobs, is damaged or has lost commits; the message names the way out."""

    code, status = "store_corrupt", 500


class StartupError(EkibenError):
    """A service or a command refuses to start."""


class InvalidSettings(StartupError):
    """A settings file or variable holds an unknown key or a value out of bounds."""

    code = "invalid_settings"


class ModelUnavailable(StartupError):
    """The model can't be found, or its weights are not the expected ones."""

    code = "model_unavailable"


class StoreLocked(StartupError):
    """Another process writes to this store."""

    code = "store_locked"


class AddressInUse(StartupError):
    """Another process listens on the address."""

    code = "address_in_use"


class UnsupportedBentoML(StartupError):
    """The cures in `services.bentoml_runtime` were checked against another BentoML version."""

    code = "unsupported_bentoml"


class BadEvaluation(StartupError):
    """A question set of `ekiben eval` is broken, or its baseline is none or was made of another set."""

    code = "bad_evaluation"


def all_errors(root: type[EkibenError] = EkibenError) -> Iterator[type[EkibenError]]:
    """Every concrete error class (those with a code of their own), in the order of the tree."""
    for cls in root.__subclasses__():
        if "code" in vars(cls):
            yield cls
        yield from all_errors(cls)


def error_from(info: ErrorInfo) -> EkibenError:
    """The exception that `info` describes; a code of an unknown version becomes `Internal`."""
    cls = next((cls for cls in all_errors() if cls.code == info.code), Internal)
    return cls(info.message)
