"""The encoder: a sentence-transformers model, fed with packed batches of tokens."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Encoding, Tokenizer
from transformers.utils.logging import disable_progress_bar

from core.schemas import EmbedItem, EncoderInfo
from core.vectors import Vector
from services.model_source import weights_sha256
from services.packing import pack_by_length, pack_by_tokens


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
    """Encodes texts. Not safe for concurrent calls: one batch at a time is what a device is best at."""

    def __init__(self, folder: Path, *, name: str, device: str, dtype: torch.dtype, max_batch_tokens: int) -> None:
        disable_progress_bar()
        self._model = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": dtype})
        self._model.eval()
        self._device = device
        self._max_batch_tokens = max_batch_tokens
        self._pad_id: int = self._model.tokenizer.pad_token_id
        self._prompts: dict[str, str] = {key: text or "" for key, text in self._model.prompts.items()}
        self._name = name
        self._weights_sha256 = weights_sha256(folder)
        self._dtype = str(dtype).removeprefix("torch.")

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
        """What this encoder is."""
        tokenizer_json = self._tokenizer.to_str()
        pooling = str(getattr(self._model[1], "pooling_mode", "unknown")) if len(self._model) > 1 else "none"
        prompt_tokens = max((len(self._tokenizer.encode(prompt, add_special_tokens=False)) for prompt in self._prompts.values()), default=0)
        dim = int(self._model.get_embedding_dimension() or 0)
        parts = [self._weights_sha256, pooling, dim, self._window, self._dtype, sorted(self._prompts.items()), tokenizer_json]
        return EncoderInfo(
            fingerprint=hashlib.sha256(repr(parts).encode()).hexdigest()[:16],
            model=self._name,
            dim=dim,
            max_tokens=self._window - prompt_tokens,
            pooling=pooling,
            weights_sha256=self._weights_sha256,
            device=self._device,
            dtype=self._dtype,
            tokenizer_json=tokenizer_json,
        )

    def encode(self, items: Sequence[EmbedItem]) -> tuple[list[Embedded], BatchCost]:
        """Embed `items`, in order. A text longer than the window is embedded window by window, and the vectors are averaged by token counts
        (the method of the OpenAI cookbook, "Embedding texts that are longer than the model's maximum context length"), never cut.
        """
        texts = [self._prompts.get(item.kind, "") + item.text for item in items]
        windows: list[list[int]] = []
        owners: list[int] = []
        for owner, encoding in enumerate(self._tokenizer.encode_batch(texts)):
            pieces = self._windows_of(texts[owner], encoding)
            windows += pieces
            owners += [owner] * len(pieces)
        vectors, cost = self._forward(windows)
        return self._join(vectors, windows, owners, len(items)), cost

    def _windows_of(self, text: str, encoding: Encoding) -> list[list[int]]:
        """Token ids of each window of `text`, special tokens included; one window where it fits."""
        if len(encoding) <= self._window:
            return [encoding.ids]
        offsets = [offset for offset, special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True) if not special]
        step = self._window - self._tokenizer.num_special_tokens_to_add(False)
        cuts = [offsets[index : index + step] for index in range(0, len(offsets), step)]
        return [self._tokenizer.encode(text[cut[0][0] : cut[-1][1]]).ids[: self._window] for cut in cuts]

    @torch.inference_mode()
    def _forward(self, windows: Sequence[list[int]]) -> tuple[Vector, BatchCost]:
        vectors = np.empty((len(windows), self.info.dim), dtype=np.float32)
        padded = 0
        for length, group in self._packed([len(ids) for ids in windows]):
            features = self._features([windows[index] for index in group], length)
            padded += features["input_ids"].numel()
            output = self._model(features)["sentence_embedding"]
            vectors[group] = torch.nn.functional.normalize(output.float(), dim=1).cpu().numpy()
        return vectors, BatchCost(tokens=sum(map(len, windows)), padded_tokens=padded)

    def _packed(self, lengths: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Which windows share a forward pass, and the length they are padded to."""
        if self._device == "cpu":
            return pack_by_length(lengths, self._max_batch_tokens, self._window)
        # A GPU chooses its kernels by the number of rows: no padding makes it repeat itself, and each group costs it a launch of every layer.
        return [(max(lengths[index] for index in group), group) for group in pack_by_tokens(lengths, self._max_batch_tokens)]

    def _features(self, rows: Sequence[list[int]], length: int) -> dict[str, Any]:
        ids = torch.full((len(rows), length), self._pad_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return {"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)}

    @staticmethod
    def _join(vectors: Vector, windows: Sequence[list[int]], owners: Sequence[int], count: int) -> list[Embedded]:
        rows: list[list[int]] = [[] for _ in range(count)]
        for row, owner in enumerate(owners):
            rows[owner].append(row)
        joined = []
        for own in rows:
            lengths = [len(windows[row]) for row in own]
            vector = vectors[own[0]] if len(own) == 1 else np.average(vectors[own], axis=0, weights=lengths).astype(np.float32)
            joined.append(Embedded(vector / max(float(np.linalg.norm(vector)), 1e-12), sum(lengths), len(own)))
        return joined
