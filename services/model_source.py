"""Where model files come from: a folder, a Python package, the BentoML model store or the Hugging Face hub.

A source is written `package:NAME`, `bentoml:TAG`, `hub:ORG/NAME[@REVISION]` or as a path, optionally followed by `@sha256:HEX`, the digest of
the weights that is checked when they are loaded.
"""

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from core.errors import ModelUnavailable

_CHECKSUM_MARK = "@sha256:"
_WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
# What a repository holds of the same model for other libraries.
_FOREIGN_FILES = ["*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "*.gguf", "*.mlmodel", "onnx/*", "openvino/*", "coreml/*"]
_READ_BYTES = 1 << 20


def resolve(source: str, hub_token: str | None = None) -> Path:
    """The local folder of `source`, its weights checked where the source names a digest. Raises ModelUnavailable with the way out.

    Only `hub:` reaches the network, and not even that with HF_HUB_OFFLINE=1 or when the model is cached.
    """
    location, mark, expected = source.partition(_CHECKSUM_MARK)
    scheme, colon, name = location.partition(":")
    finders: dict[str, Callable[[str], Path]] = {"package": _in_package, "bentoml": _in_store, "hub": lambda name: _on_hub(name, hub_token)}
    folder = finders[scheme](name) if colon and scheme in finders else _in_folder(location)
    if mark and (found := weights_sha256(folder)) != expected:
        raise ModelUnavailable(
            f"the weights of {location} have SHA-256 {found}, expected {expected or 'nothing'}: install the model again, or change the setting"
        )
    return folder


def weights_sha256(folder: Path) -> str:
    """SHA-256 (hex) over the weight files of a model folder, in the order of their names. Raises ModelUnavailable where there are none."""
    files = next((found for pattern in _WEIGHT_PATTERNS if (found := sorted(folder.rglob(pattern)))), [])
    if not files:
        raise ModelUnavailable(f"{folder} holds no weights (looked for {', '.join(_WEIGHT_PATTERNS)})")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(_READ_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _in_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise ModelUnavailable(f"{name!r} is no model folder (no config.json in it); other sources are package:NAME, bentoml:TAG and hub:ORG/NAME")
    return folder


def _in_package(name: str) -> Path:
    try:
        # find_spec does not run the package, whose __init__ may import the model libraries.
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a dotted name whose parent is missing, or no name at all
        spec = None
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    folders = [file.parent for root in roots for file in sorted(root.rglob("config.json"))]
    if not folders:
        raise ModelUnavailable(f"no installed package {name!r} with a model inside: pip install {name.replace('_', '-')}")
    return min(folders, key=lambda folder: len(folder.parts))


def _in_store(tag: str) -> Path:
    import bentoml  # noqa: PLC0415 - the store is needed for this source only
    from bentoml.exceptions import BentoMLException  # noqa: PLC0415

    try:
        return Path(bentoml.models.get(tag).path)
    except ValueError as error:
        raise ModelUnavailable(f"{tag!r} is no tag of the BentoML model store: {error}") from error
    except BentoMLException as error:
        raise ModelUnavailable(f"the BentoML model store has no {tag!r}; `ekiben models list` shows what it has") from error


def _on_hub(name: str, token: str | None) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - comes with transformers
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, token=token, ignore_patterns=_FOREIGN_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelUnavailable(f"can't get {repository!r} from the Hugging Face hub, and it is not in the local cache: {error}") from error
