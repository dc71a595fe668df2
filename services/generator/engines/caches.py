"""Rows of key-value caches: chosen, padded and joined. A cache's tensors are `[rows, heads, positions, head size]`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad


def keep_rows(cache: Any, rows: torch.Tensor, skip: int = 0) -> None:
    """Keep `rows` (int64 `[k]`) of a `DynamicCache`, in this order, and drop the first `skip` positions."""
    for layer in cache.layers:
        layer.keys = layer.keys[rows, :, skip:]
        layer.values = layer.values[rows, :, skip:]


def join(cache: Any, other: Any, *, left: bool) -> None:
    """Append the rows of `other` to `cache`; the shorter ones are padded with zeros on the `left`, or on the right."""
    for layer, joining in zip(cache.layers, other.layers, strict=True):
        layer.keys = join_rows(layer.keys, joining.keys, dim=-2, left=left)
        layer.values = join_rows(layer.values, joining.values, dim=-2, left=left)
        joining.keys = joining.values = None


def join_rows(first: torch.Tensor, second: torch.Tensor, *, dim: int, left: bool) -> torch.Tensor:
    """The rows of both, the shorter ones padded with zeros in the (negative) dimension `dim`."""
    longest = max(first.shape[dim], second.shape[dim])
    return torch.cat([_padded(first, dim, longest, left), _padded(second, dim, longest, left)])


def _padded(tensor: torch.Tensor, dim: int, length: int, left: bool) -> torch.Tensor:
    missing = length - tensor.shape[dim]
    if not missing:
        return tensor
    untouched = [0, 0] * (-dim - 1)
    return pad(tensor, [*untouched, missing, 0] if left else [*untouched, 0, missing])


def padded_batch(rows: Sequence[Sequence[int]], pad_token: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both int64 `[rows, longest]`."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad_token, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        mask[number, place] = 1
    return ids, mask


def with_one_more(mask: torch.Tensor) -> torch.Tensor:
    """The attention mask `[rows, positions]` with a position that every row sees."""
    return torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
