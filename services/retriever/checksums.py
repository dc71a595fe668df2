"""CRC-32 of what a row holds. Finds bits that flipped on the disk; it is no protection against somebody who means to deceive."""

from zlib import crc32

import numpy as np

from core.vectors import Vector

_FIELD_END = b"\x00"

__all__ = ["crc32", "of_chunk", "of_vector"]


def of_chunk(start: int, end: int, page: int | None, headings: str, text: str) -> int:
    """The checksum of a row of `chunks`."""
    return crc32(_FIELD_END.join([f"{start} {end} {page}".encode(), headings.encode(), text.encode()]))


def of_vector(vector: Vector) -> tuple[int, bytes]:
    """The checksum of a row of `vectors` or `staged`, and the bytes it is of: `vector`, float32 `[dim]`, little-endian."""
    blob = vector.astype(np.dtype("<f4")).tobytes()
    return crc32(blob), blob
