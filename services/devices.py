"""Which device and number type a model runs on."""

import bentoml
import torch


def choose_device(setting: str) -> str:
    """`auto` becomes the worker's CUDA device where there is one, else the CPU."""
    if setting != "auto":
        return setting
    if not torch.cuda.is_available():
        return "cpu"
    # BentoML gives every worker the same visible devices; its index counts from 1.
    worker = bentoml.server_context.worker_index or 1
    return f"cuda:{(worker - 1) % torch.cuda.device_count()}"


def choose_dtype(setting: str, device: str) -> torch.dtype:
    """`auto` becomes bfloat16 on CUDA and float32 on the CPU."""
    if setting == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[setting]


def choose_encoder_dtype(setting: str, device: str) -> torch.dtype:
    """`auto` becomes bfloat16 on CUDA and on a CPU that multiplies it (AMX, AVX512-BF16), where an encoder is twice as fast, else float32."""
    if setting == "auto" and device == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return torch.bfloat16
    return choose_dtype(setting, device)


def choose_batch_tokens(setting: int, device: str) -> int:
    """0 becomes what the device is best at: on a CPU a pass of more tokens is no faster a token, and others wait for it longer."""
    if setting:
        return setting
    return 1024 if device == "cpu" else 16_384
