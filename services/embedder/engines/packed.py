"""BERT and its like on a CPU without padding: the tokens of all sequences in one matrix, and attention apart for each length.

Beside the padding, it leaves out what a general model does around its arithmetic: query, key and value are one product, weights lie in the layout
that oneDNN computes with (else it lays them out anew at each call), and GELU is part of the product before it. A product of matrices gives each
of its rows the same bits whatever the other rows are (tests/services/embedder/engines), so a vector does not depend on what shares its pass.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import layer_norm, normalize, scaled_dot_product_attention

from core.vectors import Vector

# Model types of transformers that are built of the same layers, by the modules' names, too.
_LIKE_BERT: Final = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
_POOLINGS: Final = frozenset({"mean", "cls"})
# Fewer rows than this, oneDNN and MKL add up in another order.
_ROWS: Final = 16

_onednn = torch.ops.mkldnn


class PackedBert:
    """Forward passes of a BERT with mean or CLS pooling. Not safe for concurrent calls."""

    name = "packed"

    def __init__(self, model: SentenceTransformer, dtype: torch.dtype, max_tokens: int) -> None:
        bert: Any = model[0].auto_model
        self._max_tokens = max_tokens
        self._dtype = dtype
        self._mean = model[1].pooling_mode == "mean"
        self._heads = bert.config.num_attention_heads
        self._embeddings = _Embeddings(bert, dtype)
        self._layers = [_Layer(layer, dtype) for layer in bert.encoder.layer]

    @staticmethod
    def can_run(model: SentenceTransformer, device: str) -> bool:
        """Whether `model` is what this engine computes; any other goes its own way."""
        transformer, *others = list(model)
        config: Any = getattr(transformer, "config", None)
        if device != "cpu" or not torch.backends.mkldnn.is_available() or getattr(config, "model_type", None) not in _LIKE_BERT:  # type: ignore[no-untyped-call]
            return False
        absolute = getattr(config, "position_embedding_type", None) in (None, "absolute")
        return absolute and config.hidden_act == "gelu" and not config.is_decoder and _only_pools(others)

    def take(self, lengths: Sequence[int]) -> list[int]:
        """Which of the waiting sequences share the next pass: the first, and those after it that the token budget has room for."""
        taken, tokens = [0], lengths[0]
        for index, length in enumerate(lengths[1:], 1):
            if tokens + length > self._max_tokens:
                break
            taken.append(index)
            tokens += length
        return taken

    @torch.inference_mode()
    def forward(self, windows: Sequence[Sequence[int]], pause: Callable[[], None]) -> tuple[Vector, int]:
        """Unit vectors float32 `[len(windows), dim]` of token ids, and the number of tokens that were computed. `pause` is called between layers."""
        order = sorted(range(len(windows)), key=lambda index: len(windows[index]))
        groups = [(length, len(list(group))) for length, group in groupby(len(windows[index]) for index in order)]
        x = self._embeddings([windows[index] for index in order])
        for layer in self._layers:
            x = layer(x, groups, self._heads)
            pause()
        vectors = np.empty((len(windows), x.shape[1]), dtype=np.float32)
        vectors[order] = normalize(self._pool(x, groups), dim=1).numpy()
        return vectors, len(x)

    def _pool(self, x: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
        pooled, start = [], 0
        for length, count in groups:
            rows = x[start : start + length * count].view(count, length, -1)
            pooled.append(rows.float().mean(1) if self._mean else rows[:, 0].float())
            start += length * count
        return torch.cat(pooled)


def _only_pools(modules: Sequence[torch.nn.Module]) -> bool:
    """Whether what follows the transformer is a pooling of ours, and at most a normalization after it, which changes nothing."""
    pooling, rest = modules[:1], modules[1:]
    return (
        [type(module).__name__ for module in pooling] == ["Pooling"]
        and getattr(pooling[0], "pooling_mode", None) in _POOLINGS
        and all(type(module).__name__ == "Normalize" for module in rest)
    )


class _Embeddings:
    def __init__(self, bert: Any, dtype: torch.dtype) -> None:
        own = bert.embeddings
        self._words = own.word_embeddings.weight.to(dtype)
        # Positions of RoBERTa begin after that of its padding.
        first = 0 if bert.config.model_type == "bert" else int(own.position_embeddings.padding_idx) + 1
        self._places = (own.position_embeddings.weight[first:] + own.token_type_embeddings.weight[0]).to(dtype)
        self._norm = _Norm(own.LayerNorm, dtype)

    def __call__(self, windows: Sequence[Sequence[int]]) -> Tensor:
        """`[tokens, width]`, filled up to a multiple of 16 rows."""
        ids = [token for window in windows for token in window]
        places = [place for window in windows for place in range(len(window))]
        filling = [0] * (-len(ids) % _ROWS)
        return self._norm(self._words[torch.tensor(ids + filling)] + self._places[torch.tensor(places + filling)])


class _Layer:
    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        own, scale = layer.attention.self, layer.attention.self.attention_head_size**-0.5
        weights = torch.cat([own.query.weight * scale, own.key.weight, own.value.weight])
        self._attend = _Product(weights, torch.cat([own.query.bias * scale, own.key.bias, own.value.bias]), dtype)
        self._gather = _Product(layer.attention.output.dense.weight, layer.attention.output.dense.bias, dtype)
        self._norm = _Norm(layer.attention.output.LayerNorm, dtype)
        self._widen = _Product(layer.intermediate.dense.weight, layer.intermediate.dense.bias, dtype, gelu=True)
        self._narrow = _Product(layer.output.dense.weight, layer.output.dense.bias, dtype)
        self._last_norm = _Norm(layer.output.LayerNorm, dtype)

    def __call__(self, x: Tensor, groups: Sequence[tuple[int, int]], heads: int) -> Tensor:
        x = self._norm(self._gather(_attention(self._attend(x), groups, heads)) + x)
        return self._last_norm(self._narrow(self._widen(x)) + x)


def _attention(projected: Tensor, groups: Sequence[tuple[int, int]], heads: int) -> Tensor:
    """Queries, keys and values `[tokens, 3 x width]` to `[tokens, width]`, each sequence for itself; `groups` are (length, sequences)."""
    width = projected.shape[1] // 3
    gathered = projected.new_zeros(len(projected), width)
    start = 0
    for length, count in groups:
        end = start + length * count
        query, key, value = projected[start:end].view(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value, scale=1.0)
        gathered[start:end].view(count, length, heads, width // heads).copy_(attended.transpose(1, 2))
        start = end
    return gathered


class _Product:
    """A linear layer whose weights lie as oneDNN wants them. The operations are those that torch.compile writes."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, *, gelu: bool = False) -> None:
        self._weight = _onednn._reorder_linear_weight(weight.detach().to(dtype))
        self._bias = bias.detach().to(dtype)
        self._after: tuple[str, list[float], str] = ("gelu", [], "none") if gelu else ("none", [], "")

    def __call__(self, x: Tensor) -> Tensor:
        product: Tensor = _onednn._linear_pointwise(x, self._weight, self._bias, *self._after)
        return product


class _Norm:
    def __init__(self, norm: torch.nn.LayerNorm, dtype: torch.dtype) -> None:
        self._weight, self._bias, self._eps = norm.weight.detach().to(dtype), norm.bias.detach().to(dtype), norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        return layer_norm(x, (x.shape[-1],), self._weight, self._bias, self._eps)
