"""The encoder's window: counts tokens as the encoder does, and writes the text that is embedded for a chunk."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from tokenizers import Tokenizer

from core.errors import Internal
from core.schemas import EncoderInfo
from core.settings import IngestionSettings

MAX_CHARS_PER_TOKEN = 16
"""A chunk holds at most this many characters for each token of its budget.

WordPiece gives any word above 100 characters, a data URL of a megabyte too, one token, and a run of spaces none. Prose has 4 to 7.
"""

_PREFIX_SHARE = 4
_SEPARATOR = " > "
# What tokenizers take apart first, roughly. The bound keeps pieces of endless words few enough to be remembered.
_PIECE = re.compile(r"\s{0,2}(?:\w{1,40}|[^\w\s]{1,40})")
_CACHED_PIECES = 100_000
_CACHED_PREFIXES = 1_024
_WORD = re.compile(r"\w+")


class _Prefix(NamedTuple):
    text: str
    tokens: int


class EncoderWindow:
    """What fits into one vector. The splitter and whoever embeds chunks build it from the same EncoderInfo and settings.

    `tokens` is the budget of an embedded passage: title, heading path, text and special tokens. `chunk_tokens` is that of a collection with
    a size of its own. `encoder` is the fingerprint. Safe to share between threads.
    """

    def __init__(self, encoder: EncoderInfo, limits: IngestionSettings, chunk_tokens: int | None = None) -> None:
        self.encoder = encoder.fingerprint
        self.tokens = min(limits.chunk_tokens if chunk_tokens is None else chunk_tokens, encoder.max_tokens)
        self._tokenizer = load_tokenizer(encoder)
        self._special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._fitted_prefix = lru_cache(_CACHED_PREFIXES)(self._fit_prefix)
        self._piece_tokens = lru_cache(_CACHED_PIECES)(self._count_plain)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, the special ones included. Exact."""
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=True)]

    def estimate(self, text: str) -> int:
        """Tokens of `text` without the special ones, or more where MAX_CHARS_PER_TOKEN asks for it; several times faster than `count`.

        Adds up the tokens of its words, most of which are remembered. Exact for WordPiece up to
        words of 40 characters, close for other tokenizers.
        """
        by_length = len(text) // MAX_CHARS_PER_TOKEN
        if by_length > self.tokens:
            return by_length
        return max(by_length, sum(map(self._piece_tokens, _PIECE.findall(text))))

    def room(self, title: str, headings: Sequence[str] = (), beginning: str = "") -> int:
        """Tokens that `title` and `headings` leave for the text of a chunk that begins with `beginning`; at least 1."""
        return max(1, self.tokens - self._special_tokens - self._prefix(title, headings, beginning).tokens)

    def passage_text(self, title: str, headings: Sequence[str], text: str) -> str:
        """The text to embed for a chunk: its document's title and the path of its section, joined by " > ", a line end, the chunk.

        Title and path take at most a quarter of the window: headings between the outermost and the innermost are left out first, then what is
        too long is cut. A part that the chunk's own text begins with (markup aside), or that stands there already, is left out as well.
        """
        return self._prefix(title, headings, text).text + text

    def _prefix(self, title: str, headings: Sequence[str], text: str) -> _Prefix:
        parts = dict.fromkeys(" ".join(part.split()) for part in (title, *headings))
        return self._fitted_prefix(tuple(part for part in parts if part and not _begins_with(text, part)))

    def _fit_prefix(self, parts: tuple[str, ...]) -> _Prefix:
        limit = self.tokens // _PREFIX_SHARE
        outer, *inner = parts or ("",)
        while inner[1:] and self._count_plain(_joined(outer, *inner)) > limit:
            del inner[0]
        if inner and self._count_plain(_joined(outer, *inner)) > limit:
            outer = self._cut(outer, limit // 2)
        line = self._cut(_joined(outer, *inner), limit)
        prefix = f"{line}\n" if line else ""
        return _Prefix(prefix, self._count_plain(prefix))

    def _cut(self, line: str, limit: int) -> str:
        """The beginning of `line` that has at most `limit` tokens."""
        offsets = self._tokenizer.encode(line, add_special_tokens=False).offsets
        return line if len(offsets) <= limit else line[: offsets[limit][0]].rstrip()

    def _count_plain(self, text: str) -> int:
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])


def _joined(*parts: str) -> str:
    return _SEPARATOR.join(filter(None, parts))


def _begins_with(text: str, part: str) -> bool:
    words = _WORD.findall(part)
    return bool(words) and [match[0] for match in islice(_WORD.finditer(text), len(words))] == words


def load_tokenizer(encoder: EncoderInfo) -> Tokenizer:
    """The encoder's tokenizer, which cuts nothing off. Raises Internal where `encoder` came without it."""
    if not encoder.tokenizer_json:
        raise Internal(f"the description of encoder {encoder.model!r} came without its tokenizer: ask `encoder()` for it, not the store's status")
    tokenizer = Tokenizer.from_str(encoder.tokenizer_json)
    # Models are saved with the truncation and padding of their training, which would hide the true length.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
