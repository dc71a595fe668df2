"""What may be imported where. The layers are checked statically by import-linter; these tests import for real."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL_LIBRARIES = ("torch", "transformers", "sentence_transformers", "faiss")


def _import_without(blocked: tuple[str, ...], modules: list[str]) -> None:
    """Import `modules` in a new process where `blocked` can't be imported."""
    code = f"import sys, importlib\nsys.modules.update(dict.fromkeys({blocked!r}))\nfor name in {modules!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _modules_of(package: str) -> list[str]:
    files = sorted((ROOT / package).rglob("*.py"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files if file.stem != "__main__"]


@pytest.mark.parametrize(
    "modules", [["services.gateway.service"], ["clients.cli", "clients.http_client", "clients.ingest_command"]], ids=["gateway", "clients"]
)
def test_the_gateway_and_the_clients_need_no_model_library(modules: list[str]) -> None:
    _import_without(MODEL_LIBRARIES, modules)


def test_the_clients_need_no_framework_either() -> None:
    _import_without((*MODEL_LIBRARIES, "bentoml", "starlette", "tokenizers"), ["clients.cli", "clients.http_client", "clients.ingest_command"])


@pytest.mark.parametrize("service", ["embedder", "retriever", "generator"])
def test_the_module_of_a_service_needs_no_model_library(service: str) -> None:
    _import_without(MODEL_LIBRARIES, [f"services.{service}.service"])


def test_core_and_pipelines_need_neither_framework_nor_model_library() -> None:
    modules = _modules_of("core") + _modules_of("pipelines")
    assert {"core.schemas", "pipelines.answering.answer", "pipelines.ingestion.ingest"} <= set(modules)
    _import_without((*MODEL_LIBRARIES, "bentoml", "_bentoml_impl", "starlette"), modules)


def test_blocking_a_library_really_blocks_it() -> None:
    with pytest.raises(AssertionError, match="torch"):
        _import_without(MODEL_LIBRARIES, ["services.embedder.encoder"])
