import pytest
import torch

from services.generator.engines.memory import is_out_of_memory, release


def test_what_an_allocator_raises_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())


def test_other_failures_are_not() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.zeros(2) @ torch.zeros(3)
    assert not is_out_of_memory(raised.value)


def test_a_cpu_has_nothing_to_release() -> None:
    release("cpu")
