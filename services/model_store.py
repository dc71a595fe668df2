"""The BentoML model store as the place where Ekiben's models are kept: what `bentoml:TAG` means in the settings."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelUnavailable
from services.model_source import resolve, weights_sha256

_NO_TAG = re.compile(r"[^a-z0-9._-]+")
_LONGEST_NAME = 63


@dataclass(frozen=True)
class StoredModel:
    """A model of the store: tag, architecture, bytes on the disk, where it came from, SHA-256 of its weights; "" for what nobody has noted."""

    tag: str
    architecture: str
    size: int
    source: str
    weights_sha256: str

    @property
    def setting(self) -> str:
        """What a setting that names a model says to have this one, weights checked."""
        return f"bentoml:{self.tag}" + (f"@sha256:{self.weights_sha256}" if self.weights_sha256 else "")


def add(source: str, tag: str | None = None, hub_token: str | None = None) -> StoredModel:
    """Copy the model of `source` (see `services.model_source`) into the store, whole or not at all. `tag` is NAME or NAME:VERSION; without it the
    name is that of the source, and the version new. Raises ModelUnavailable for a source without weights, a tag that is none or taken, a full disk.
    """
    import bentoml  # noqa: PLC0415 - takes a second
    from bentoml.exceptions import BentoMLException  # noqa: PLC0415

    folder = resolve(source, hub_token)
    digest = weights_sha256(folder)
    metadata = {"source": source.partition("@sha256:")[0], "weights_sha256": digest}
    try:
        with bentoml.models.create(tag or _name_of(source), metadata=metadata) as model:
            shutil.copytree(folder, model.path, dirs_exist_ok=True)
    except (BentoMLException, ValueError) as error:
        raise ModelUnavailable(f"the BentoML model store can't take {source} as {tag or _name_of(source)!r}: {error}") from error
    except OSError as error:
        raise ModelUnavailable(f"{source} can't be copied into the BentoML model store: {error.strerror or error}") from error
    return StoredModel(str(model.tag), _architecture(folder), _size(Path(model.path)), metadata["source"], digest)


def stored() -> Iterator[StoredModel]:
    """All models of the store, those of others included, newest first."""
    import bentoml  # noqa: PLC0415 - as above

    for model in sorted(bentoml.models.list(), key=lambda model: model.creation_time, reverse=True):
        noted, folder = model.info.metadata, Path(model.path)
        source, digest = (str(noted.get(key, "")) for key in ("source", "weights_sha256"))
        yield StoredModel(str(model.tag), _architecture(folder), _size(folder), source, digest)


def _name_of(source: str) -> str:
    """What comes last in `source`, in the letters of a tag: `hub:Qwen/Qwen2.5-1.5B@main` is qwen2.5-1.5b."""
    location = source.partition("@")[0]
    last = re.split(r"[:/]", location.rstrip("/"))[-1].lower()
    return _NO_TAG.sub("-", last).strip("._-")[:_LONGEST_NAME].rstrip("._-") or "model"


def _architecture(folder: Path) -> str:
    """What the model's own description calls it."""
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures")
    except (OSError, ValueError, AttributeError):
        return ""
    return str(named[0]) if isinstance(named, list) and named else ""


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
