"""What an OpenAI-compatible server's errors mean in our own vocabulary."""

import re
from http import HTTPStatus

import openai

from core.errors import DeadlineExceeded, DependencyUnavailable, EkibenError, GenerationFailed, InvalidRequest, ModelUnavailable, Overloaded

_SERVER = "the language model server"
# Status 400, 413 or 422 for a prompt that is too long: OpenAI's code, or the words of vLLM, TGI, llama.cpp and LiteLLM.
_TOO_LONG = re.compile(
    r"context[ _-]?(length|size|window)|maximum (model|input|context)|too (long|large)|max_(new|total|input)_tokens", re.IGNORECASE
)
_MAX_DETAIL_CHARS = 80


_BY_STATUS: dict[int, tuple[type[EkibenError], str]] = {
    401: (ModelUnavailable, "refuses the key: check generator.api_key"),
    403: (ModelUnavailable, "refuses the key: check generator.api_key"),
    404: (ModelUnavailable, "knows no such model or route: check generator.model and generator.base_url"),
    408: (DeadlineExceeded, "took longer than it allows itself"),
    429: (Overloaded, "takes no more requests now"),
    504: (DeadlineExceeded, "took longer than it allows itself"),
}


def translate(error: Exception, timeout_s: float) -> EkibenError:
    """`error`, which the openai package raised, as one of ours. A message of the server may hold texts of documents, so it is not repeated."""
    if _is_unreachable(error):
        return DependencyUnavailable(f"{_SERVER} at generator.base_url can't be reached ({type(error.__cause__).__name__})")
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return DeadlineExceeded(f"{_SERVER} did not answer within {timeout_s:g} s (generator.timeout_s)")
    if isinstance(error, openai.APIConnectionError):
        return DependencyUnavailable(f"{_SERVER} broke off ({type(error.__cause__ or error).__name__})")
    if isinstance(error, openai.APIError) and not isinstance(error, openai.APIResponseValidationError):
        return _of_answer(error)
    return malformed(type(error).__name__)


def befalls_all(error: EkibenError) -> bool:
    """Whether every prompt would meet `error`: the server refuses key or model, or can't be reached."""
    return isinstance(error, ModelUnavailable) or _is_unreachable(error.__cause__)


def malformed(what: str) -> EkibenError:
    """The server answered something that is no chat completion."""
    return DependencyUnavailable(
        f"{_SERVER} answered what is no chat completion ({what}): does generator.base_url end where its API begins, as in /v1?"
    )


def _is_unreachable(error: BaseException | None) -> bool:
    # By name, because the package took another HTTP client between its versions.
    return isinstance(error, openai.APIConnectionError) and type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")


def _of_answer(error: openai.APIError) -> EkibenError:
    """An error that the server answered, or that came in the middle of a stream: vLLM gives it the status that it would have answered."""
    code = error.code or ""
    status = error.status_code if isinstance(error, openai.APIStatusError) else int(code) if code.isdigit() else 0
    if status in _BY_STATUS:
        kind, what = _BY_STATUS[status]
        ours = kind(f"{_SERVER} {what} ({status})")
        ours.retry_after_s = _seconds(error.response.headers.get("retry-after")) if isinstance(error, openai.APIStatusError) else None
        return ours
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and (_is_too_long(error) or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        return _too_long()
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return GenerationFailed(f"{_SERVER} refuses the request ({status}{_detail(error)})")
    return DependencyUnavailable(f"{_SERVER} failed ({status or type(error).__name__}{_detail(error)})")


def _too_long() -> EkibenError:
    return InvalidRequest(
        "the prompt is too long for the model behind generator.base_url: lower ingestion.chunk_tokens or generator.context_tokens, or take a model "
        "that reads longer prompts"
    )


def _is_too_long(error: openai.APIError) -> bool:
    return error.code == "context_length_exceeded" or bool(_TOO_LONG.search(f"{error.message} {error.body}"))


def _detail(error: openai.APIError) -> str:
    """Its kind, as the server names it."""
    named = [str(value) for value in (error.code, error.type) if value]
    return f", {' '.join(named)[:_MAX_DETAIL_CHARS]}" if named else ""


def _seconds(retry_after: str | None) -> float | None:
    """The header Retry-After where it counts seconds; None for a date or nothing."""
    return float(retry_after) if retry_after and re.fullmatch(r"\d{1,9}(\.\d+)?", retry_after) else None
