"""What an exception says about memory."""

import torch

# The CPU's allocator raises a bare RuntimeError (c10/core/impl/alloc_cpu.cpp).
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the CPU had no memory left; a smaller batch may then succeed."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error))


def gpu_memory(device: str) -> dict[str, int]:
    """Bytes that this process has of a CUDA `device`, by the states of `ekiben_gpu_memory_bytes`."""
    return {"allocated": torch.cuda.memory_allocated(device), "reserved": torch.cuda.memory_reserved(device)}


def release(device: str) -> None:
    """Give cached blocks back to the device."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
