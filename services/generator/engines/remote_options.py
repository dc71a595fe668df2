"""What an OpenAI-compatible server takes beside the messages: learnt from what it refuses."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import openai

# The newer name is the only one that servers of reasoning models take, and many others don't know it.
_LIMITS = ("max_tokens", "max_completion_tokens")
_REFUSING = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_REFUSED = re.compile(r"unsupported|not (support|permitt|allow)|unknown|unrecognized|unexpected|extra", re.IGNORECASE)

log = logging.getLogger("ekiben.generator")


class Options:
    """The options of a request. What the server refused once is left out, or named otherwise, for good."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    def of(self, max_new_tokens: int) -> dict[str, Any]:
        """The tokens that may be written, and the greedy choice of each."""
        limit = next(name for name in _LIMITS if name not in self._refused)
        return {limit: max_new_tokens} | ({} if "temperature" in self._refused else {"temperature": 0.0})

    def learn(self, error: openai.APIStatusError, sent: Mapping[str, Any]) -> bool:
        """Whether a request with the options `sent` can be repeated with others, because `error` refuses one of them."""
        name = _refused(error, sent)
        if name is None or {*self._refused, name}.issuperset(_LIMITS):
            return False
        if name not in self._refused:
            self._refused.add(name)
            log.warning("the language model server refuses an option: from here without it", extra={"option": name})
        return True


def _refused(error: openai.APIStatusError, sent: Mapping[str, Any]) -> str | None:
    """The option of `sent` that the server doesn't take, as it says itself or as its message names it first. A value out of range is no refusal."""
    if error.status_code not in _REFUSING or not _REFUSED.search(f"{error.code} {error.message}"):
        return None
    if error.param:
        return error.param if error.param in sent else None
    named = re.search(rf"\b({'|'.join(sent)})\b", error.message)
    return named[1] if named else None
