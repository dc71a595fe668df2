"""Vectors as they cross the wire: base64 of little-endian float32, a quarter of the size and a tenth of the time of a JSON list."""

import base64

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""float32 `[dim]`, or `[n, dim]` for n of them."""


def pack(vector: Vector) -> str:
    """`vector` as ASCII text."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def unpack(text: str) -> Vector:
    """The vector in `text`, float32 `[dim]`, read-only."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4")
