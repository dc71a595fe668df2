"""The encoder: a sentence-transformers model, its tokenizer and the engine that computes it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Encoding, Tokenizer
from transformers.utils.logging import disable_progress_bar

from core.schemas import EmbedItem, EncoderInfo
from core.vectors import Vector
from services.embedder.engines.engine import Engine, without_pause
from services.embedder.engines.packed import PackedBert
from services.embedder.engines.padded import PaddedModel
from services.model_source import weights_sha256

Windows = list[list[int]]
"""The token ids of each window of one text, special tokens included."""

# Floating-point types whose vectors of one model may share an index: cosines between them are those of one type to 0.0001.
_COMPARABLE = frozenset({"float32", "bfloat16", "float16"})


class Embedded(NamedTuple):
    """A unit vector float32 `[dim]`, the tokens of its text and the windows these took."""

    vector: Vector
    tokens: int
    windows: int


@dataclass(frozen=True)
class BatchCost:
    """What a call of the model computed: tokens with and without padding."""

    tokens: int
    padded_tokens: int


class SentenceEncoder:
    """Encodes texts. Tokenizing is safe beside anything; `engine` and `encode` compute one batch at a time."""

    def __init__(self, folder: Path, *, name: str, device: str, dtype: torch.dtype, max_batch_tokens: int) -> None:
        disable_progress_bar()
        self._model = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": dtype})
        self._model.eval()
        self._device = device
        self._prompts: dict[str, str] = {key: text or "" for key, text in self._model.prompts.items()}
        self._name = name
        self._weights_sha256 = weights_sha256(folder)
        self._dtype = str(dtype).removeprefix("torch.")
        self.engine: Engine
        if PackedBert.can_run(self._model, device):
            self.engine = PackedBert(self._model, dtype, max_batch_tokens)
        else:
            self.engine = PaddedModel(self._model, device, max_batch_tokens)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        # A copy, so that cutting and padding are ours alone.
        tokenizer = Tokenizer.from_str(self._model.tokenizer.backend_tokenizer.to_str())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @property
    def _window(self) -> int:
        return int(self._model.max_seq_length)

    @cached_property
    def info(self) -> EncoderInfo:
        """What this encoder is. Its fingerprint is the same for all number types whose vectors may share an index."""
        tokenizer_json = self._tokenizer.to_str()
        pooling = str(getattr(self._model[1], "pooling_mode", "unknown")) if len(self._model) > 1 else "none"
        prompt_tokens = max((len(self._tokenizer.encode(prompt, add_special_tokens=False)) for prompt in self._prompts.values()), default=0)
        dim = int(self._model.get_embedding_dimension() or 0)
        numbers = "float32" if self._dtype in _COMPARABLE else self._dtype
        parts = [self._weights_sha256, pooling, dim, self._window, numbers, sorted(self._prompts.items()), tokenizer_json]
        return EncoderInfo(
            fingerprint=hashlib.sha256(repr(parts).encode()).hexdigest()[:16],
            model=self._name,
            dim=dim,
            max_tokens=self._window - prompt_tokens,
            pooling=pooling,
            weights_sha256=self._weights_sha256,
            device=self._device,
            dtype=self._dtype,
            engine=self.engine.name,
            tokenizer_json=tokenizer_json,
        )

    def cut(self, items: Sequence[EmbedItem]) -> list[Windows]:
        """The windows of each text, with its prompt, in order: one where it fits the model, and as many as it takes where it doesn't."""
        texts = [self._prompts.get(item.kind, "") + item.text for item in items]
        return [self._windows_of(text, encoding) for text, encoding in zip(texts, self._tokenizer.encode_batch(texts), strict=True)]

    def encode(self, items: Sequence[EmbedItem]) -> tuple[list[Embedded], BatchCost]:
        """Embed `items`, in order, on this thread."""
        cut = self.cut(items)
        windows = [ids for own in cut for ids in own]
        vectors = np.empty((len(windows), self.info.dim), dtype=np.float32)
        waiting, padded = list(range(len(windows))), 0
        while waiting:
            taken = set(self.engine.take([len(windows[index]) for index in waiting]))
            group = [index for place, index in enumerate(waiting) if place in taken]
            waiting = [index for place, index in enumerate(waiting) if place not in taken]
            vectors[group], computed = self.engine.forward([windows[index] for index in group], without_pause)
            padded += computed
        return join(cut, vectors), BatchCost(tokens=sum(map(len, windows)), padded_tokens=padded)

    def _windows_of(self, text: str, encoding: Encoding) -> Windows:
        if len(encoding) <= self._window:
            return [encoding.ids]
        offsets = [offset for offset, special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True) if not special]
        step = self._window - self._tokenizer.num_special_tokens_to_add(False)
        cuts = [offsets[index : index + step] for index in range(0, len(offsets), step)]
        return [self._tokenizer.encode(text[cut[0][0] : cut[-1][1]]).ids[: self._window] for cut in cuts]


def join(cut: Sequence[Windows], vectors: Vector) -> list[Embedded]:
    """What each text is, from the vectors `[windows, dim]` of its windows. Those of a text longer than the model's window are averaged by token
    counts (the method of the OpenAI cookbook, "Embedding texts that are longer than the model's maximum context length"): nothing is cut off.
    """
    joined, first = [], 0
    for windows in cut:
        lengths = [len(ids) for ids in windows]
        own = vectors[first : first + len(windows)]
        first += len(windows)
        vector = own[0] if len(own) == 1 else np.average(own, axis=0, weights=lengths).astype(np.float32)
        joined.append(Embedded(vector / max(float(np.linalg.norm(vector)), 1e-12), sum(lengths), len(own)))
    return joined
