"""Text of users and documents as tokens that mean nothing but text."""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Encoding, Tokenizer

from core.errors import ModelUnavailable


class PlainTokenizer:
    """A model's tokenizer that knows none of its marks: `<|im_end|>` or `</s>` inside a text is spelled out in ordinary tokens.

    The marks are the tokens added to the vocabulary, special or not (`<think>`, `<tool_call>`), and the special ones of the vocabulary itself.
    Added tokens of white space alone stay, because ordinary text needs them, and so does the unknown token, which commands nothing.
    """

    def __init__(self, tokenizer: Any) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ModelUnavailable("the model has no tokenizer.json: save it with AutoTokenizer.from_pretrained(...).save_pretrained(folder)")
        state = json.loads(backend.to_str())
        marks = {token["id"] for token in state["added_tokens"] if not token["content"].isspace()}
        self._marks = (marks | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id}
        state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] not in marks]
        state["truncation"] = state["padding"] = None
        self._tokenizer = Tokenizer.from_str(json.dumps(state))

    def encode(self, texts: Sequence[str], *, framed: bool = False) -> list[list[int]]:
        """Token ids of each text; `framed` puts the model's own marks around it, as its tokenizer does."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=framed)
        return [self._spelled_out(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]

    def _spelled_out(self, text: str, encoding: Encoding) -> list[int]:
        if self._marks.isdisjoint(encoding.ids):
            return list(encoding.ids)
        ids: list[int] = []
        for token, own, (start, end) in zip(encoding.ids, encoding.special_tokens_mask, encoding.offsets, strict=True):
            ids += [token] if own or token not in self._marks else self._in_parts(text[start:end])
        return ids

    def _in_parts(self, text: str) -> list[int]:
        """A text that the vocabulary has as a mark: its first character and the rest apart. A mark of one character is left out."""
        return [token for part in self.encode([text[:1], text[1:]]) for token in part] if len(text) > 1 else []
