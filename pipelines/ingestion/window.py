"""The encoder's window: counts tokens as the encoder does, and writes the text that is embedded for a chunk."""

import re
from collections.abc import Sequence
from functools import lru_cache

from tokenizers import Tokenizer

from core.errors import Internal
from core.schemas import EncoderInfo
from core.settings import IngestionSettings

MAX_CHARS_PER_TOKEN = 16
"""A chunk holds at most this many characters for each token of its budget.

WordPiece gives any word above 100 characters, a data URL of a megabyte too, one token, and a run of spaces none. Prose has 4 to 7.
"""

_TITLE_SHARE = 4
# What tokenizers take apart first, roughly. The bound keeps pieces of endless words few enough to be remembered.
_PIECE = re.compile(r"\s{0,2}(?:\w{1,40}|[^\w\s]{1,40})")
_CACHED_PIECES = 100_000
_CACHED_TITLES = 256


class EncoderWindow:
    """What fits into one vector. The splitter and whoever embeds chunks build it from the same EncoderInfo and settings.

    `tokens` is the budget of an embedded passage: title, text and special tokens. `encoder` is the fingerprint. Safe to share between threads.
    """

    def __init__(self, encoder: EncoderInfo, limits: IngestionSettings) -> None:
        self.encoder = encoder.fingerprint
        self.tokens = min(limits.chunk_tokens, encoder.max_tokens)
        self._tokenizer = _load_tokenizer(encoder)
        self._special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._fitted_title = lru_cache(_CACHED_TITLES)(self._fit_title)
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

    def room(self, title: str) -> int:
        """Tokens that `title` leaves for the text of a chunk; at least 1."""
        prefix = self._prefix(title)
        return max(1, self.tokens - self._special_tokens - self._count_plain(prefix))

    def passage_text(self, title: str, text: str) -> str:
        """The text to embed for a chunk: its document's title, a line end, the chunk.

        The title is cut to a quarter of the window, and left out where the chunk begins with it (Markdown heading signs aside).
        """
        prefix = self._prefix(title)
        if not prefix or text.lstrip("# \t\n").startswith(prefix.rstrip("\n")):
            return text
        return prefix + text

    def _prefix(self, title: str) -> str:
        fitted = self._fitted_title(title)
        return f"{fitted}\n" if fitted else ""

    def _fit_title(self, title: str) -> str:
        line = " ".join(title.split())
        offsets = self._tokenizer.encode(line, add_special_tokens=False).offsets
        limit = self.tokens // _TITLE_SHARE
        return line if len(offsets) <= limit else line[: offsets[limit][0]].rstrip()

    def _count_plain(self, text: str) -> int:
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])


def _load_tokenizer(encoder: EncoderInfo) -> Tokenizer:
    if not encoder.tokenizer_json:
        raise Internal(f"the description of encoder {encoder.model!r} came without its tokenizer: ask `encoder()` for it, not the store's status")
    tokenizer = Tokenizer.from_str(encoder.tokenizer_json)
    # Models are saved with the truncation and padding of their training, which would hide the true length.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
