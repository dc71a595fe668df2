import base64

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.vectors import Vector, pack, rounded, unpack

vectors = arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32, allow_nan=False))


@given(vectors)
def test_a_vector_survives_the_wire_bit_by_bit(vector: Vector) -> None:
    back = unpack(pack(vector))
    assert back.dtype == np.float32
    assert back.tobytes() == vector.tobytes()


@given(vectors)
def test_a_strided_vector_is_packed_by_value(vector: Vector) -> None:
    assert unpack(pack(vector[::-2])).tolist() == vector[::-2].tolist()


def test_the_wire_is_little_endian_float32_in_base64() -> None:
    assert base64.b64decode(pack(np.array([1.0, -2.0], np.float32))) == bytes.fromhex("0000803f000000c0")
    assert pack(np.array([1.0, -2.0], ">f4")) == pack(np.array([1.0, -2.0], np.float32))


def test_cosines_that_differ_by_noise_are_equal_and_others_are_not() -> None:
    assert rounded(0.700001) == rounded(0.7000011) == 0.7
    assert rounded(0.70002) == 0.70002
