"""Token-budget packing: which sequences share a forward pass."""

from collections.abc import Sequence


def pack_by_tokens(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Groups of indices into `lengths`, longest sequences first, each group's padded size (rows x longest) within `max_tokens`.

    Sorting keeps the padding low: a group holds neighbours in length. A sequence longer than the budget goes alone.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
