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
