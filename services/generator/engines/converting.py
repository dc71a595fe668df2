"""Models in CTranslate2's format, made once from transformers folders."""

import shutil
import threading
import uuid
from pathlib import Path

import ctranslate2

from core.errors import ModelUnavailable
from services.model_source import weights_sha256

# transformers can't load two models at a time in one process: they are left without weights, on the meta device.
_loading = threading.Lock()


def converted(folder: Path, cache: Path, quantization: str) -> Path:
    """The folder of the converted model, made where it is missing; it becomes visible whole or not at all. Raises ModelUnavailable."""
    done = cache / f"{weights_sha256(folder)[:16]}-{quantization}-ctranslate2-{ctranslate2.__version__}"
    if done.is_dir():
        return done
    draft = cache / f".{done.name}-{uuid.uuid4().hex}"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with _loading:
            if done.is_dir():
                return done
            ctranslate2.converters.TransformersConverter(str(folder)).convert(str(draft), quantization=quantization)
            draft.rename(done)
    except OSError:
        # Another process was faster.
        if not done.is_dir():
            raise
    except (ValueError, AttributeError, KeyError) as error:
        raise ModelUnavailable(f"CTranslate2 can't convert {folder} ({error}): use generator.backend seq2seq") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return done
