"""From tokens to text while they are written."""

from collections.abc import Sequence
from typing import Any

# What a tokenizer makes of bytes that are no character, or not yet.
_BROKEN = "�"


def text_of(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of `tokens` without marks, and without white space around it."""
    return _decoded(tokenizer, tokens).strip()


def _decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))


class Detokenizer:
    """Gives the pieces of a text as its tokens come: `push` each, then `rest`; joined they are `text_of` all tokens.

    A character whose bytes stand in several tokens comes whole, with the last of them. A window of tokens is decoded twice, without and with the
    new ones, because what a token adds may depend on the one before it (the method of vLLM and of Text Generation Inference).
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._window = self._known = 0
        self._begun = False
        self._space = ""

    def push(self, token: int) -> str:
        """What `token` adds for sure; often nothing."""
        self._tokens.append(token)
        text = self._addition()
        return "" if text.endswith(_BROKEN) else self._given_out(text)

    def rest(self) -> str:
        """What was held back."""
        return self._given_out(self._addition())

    def _addition(self) -> str:
        before = _decoded(self._tokenizer, self._tokens[self._window : self._known])
        return _decoded(self._tokenizer, self._tokens[self._window :])[len(before) :]

    def _given_out(self, text: str) -> str:
        if not text:
            return ""
        self._window, self._known = self._known, len(self._tokens)
        return self._trimmed(text)

    def _trimmed(self, text: str) -> str:
        """`text` without white space at the start of all, and with that at its end held back until something follows."""
        text = self._space + text if self._begun else text.lstrip()
        shown = text.rstrip()
        self._begun = self._begun or bool(shown)
        self._space = text[len(shown) :] if self._begun else ""
        return shown
