"""CRC-32 of what a row holds. Finds bits that flipped on the disk; it is no protection against somebody who means to deceive."""

from zlib import crc32

import numpy as np

from core.vectors import Vector

_FIELD_END = b"\x00"

__all__ = ["crc32", "is_vector", "of_chunk", "of_vector"]


def of_chunk(start: int, end: int, page: int | None, headings: str, text: str) -> int:
    """The checksum of a row of `chunks`."""
    # As text, whatever it is: in a damaged row a value may have another type.
    return crc32(_FIELD_END.join([f"{start} {end} {page}".encode(), f"{headings}".encode(), f"{text}".encode()]))


def of_vector(vector: Vector) -> tuple[int, bytes]:
    """The checksum of a row of `vectors` or `staged`, and the bytes it is of: `vector`, float32 `[dim]`, little-endian."""
    blob = vector.astype(np.dtype("<f4")).tobytes()
    return crc32(blob), blob


def is_vector(blob: object, size: int, crc: int) -> bool:
    """Whether a stored blob is the one of `size` bytes that was stored with this checksum."""
    return isinstance(blob, bytes) and len(blob) == size and crc32(blob) == crc
