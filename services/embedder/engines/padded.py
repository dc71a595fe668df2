"""Any model of sentence-transformers, on any device: sequences of about the same length share a pass, padded to the longest."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from core.vectors import Vector
from services.packing import pack_by_length, pack_by_tokens


class PaddedModel:
    """Forward passes of the model as it is. Not safe for concurrent calls."""

    name = "padded"

    def __init__(self, model: SentenceTransformer, device: str, max_tokens: int) -> None:
        self._model = model
        self._device = device
        self._max_tokens = max_tokens
        self._window = int(model.max_seq_length or 0)
        self._pad_id: int = model.tokenizer.pad_token_id

    def take(self, lengths: Sequence[int]) -> list[int]:
        """Which of the waiting sequences share the next pass: the first, and its neighbours in length, within the budget with padding counted."""
        return next(group for _, group in self._packed(lengths) if 0 in group)

    @torch.inference_mode()
    def forward(self, windows: Sequence[Sequence[int]], pause: Callable[[], None]) -> tuple[Vector, int]:
        """Unit vectors float32 `[len(windows), dim]` of token ids, and the number of tokens with padding. `pause` is called before."""
        pause()
        length = max(length for length, _ in self._packed([len(ids) for ids in windows]))
        features = self._features(windows, length)
        vectors = torch.nn.functional.normalize(self._model(features)["sentence_embedding"].float(), dim=1)
        return vectors.cpu().numpy(), features["input_ids"].numel()

    def _packed(self, lengths: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Which windows share a forward pass, and the length they are padded to."""
        if self._device == "cpu":
            return pack_by_length(lengths, self._max_tokens, self._window)
        # A GPU chooses its kernels by the number of rows: no padding makes it repeat itself, and each group costs it a launch of every layer.
        return [(max(lengths[index] for index in group), group) for group in pack_by_tokens(lengths, self._max_tokens)]

    def _features(self, rows: Sequence[Sequence[int]], length: int) -> dict[str, Any]:
        ids = torch.full((len(rows), length), self._pad_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return {"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)}
