import pytest
import torch

from services.devices import choose_batch_tokens, choose_device, choose_dtype, choose_encoder_dtype


@pytest.mark.parametrize("setting", ["cpu", "cuda:1", "cuda"])
def test_a_device_that_is_named_is_taken(setting: str) -> None:
    assert choose_device(setting) == setting


def test_auto_is_the_cpu_where_there_is_no_other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"


@pytest.mark.parametrize(("worker", "device"), [(None, "cuda:0"), (1, "cuda:0"), (2, "cuda:1"), (3, "cuda:0")])
def test_auto_spreads_the_workers_over_the_devices(monkeypatch: pytest.MonkeyPatch, worker: int | None, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("bentoml.server_context.worker_index", worker)
    assert choose_device("auto") == device


@pytest.mark.parametrize(
    ("setting", "device", "dtype"),
    [
        ("auto", "cpu", torch.float32),
        ("auto", "cuda:0", torch.bfloat16),
        ("float32", "cuda:0", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
        ("float16", "cuda:0", torch.float16),
    ],
)
def test_auto_is_half_of_float32_on_cuda_only(setting: str, device: str, dtype: torch.dtype) -> None:
    assert choose_dtype(setting, device) == dtype


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "dtype"), [(True, False, torch.bfloat16), (False, True, torch.bfloat16), (False, False, torch.float32)]
)
def test_an_encoder_takes_the_numbers_that_the_cpu_multiplies_fastest(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512_bf16: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    assert choose_encoder_dtype("auto", "cpu") == dtype
    assert choose_encoder_dtype("float32", "cpu") == torch.float32
    assert choose_encoder_dtype("auto", "cuda:0") == torch.bfloat16


def test_passes_of_a_gpu_are_larger_unless_a_size_is_asked_for() -> None:
    assert choose_batch_tokens(0, "cpu") < choose_batch_tokens(0, "cuda:0")
    assert choose_batch_tokens(77, "cpu") == choose_batch_tokens(77, "cuda:0") == 77
