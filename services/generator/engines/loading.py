"""Models and their limits from a folder of transformers files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils.logging import disable_progress_bar

from core.errors import ModelUnavailable
from core.schemas import GeneratorInfo
from services.model_source import weights_sha256

# transformers writes about 1e30 where a tokenizer knows no limit.
NO_LIMIT = 1_000_000


def load(auto_class: Any, folder: Path, *, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model of a folder, in inference mode, and its tokenizer. Attention is PyTorch's (sdpa) where the model supports it: transformers' default.

    Raises ModelUnavailable where the folder holds no model of this class.
    """
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        model = auto_class.from_pretrained(str(folder), dtype=dtype).to(device).eval()
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelUnavailable(f"{folder} can't be loaded as {auto_class.__name__}: {reason}") from error
    return model, tokenizer


def info(backend: str, folder: Path, *, name: str, device: str, dtype: str) -> GeneratorInfo:
    """What an engine says of itself."""
    return GeneratorInfo(backend=backend, model=name, device=device, dtype=dtype.removeprefix("torch."), weights_sha256=weights_sha256(folder))


def smallest(limits: Iterable[object]) -> int:
    """The smallest of the limits that are any, else NO_LIMIT."""
    return min((int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < NO_LIMIT), default=NO_LIMIT)


def stop_tokens(settings: GenerationConfig, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a text: those of the generation settings, and the tokenizer's own, which saved settings sometimes lack."""
    named = settings.eos_token_id
    tokens = named if isinstance(named, list) else [named]
    return frozenset(token for token in [*tokens, tokenizer.eos_token_id] if token is not None)
