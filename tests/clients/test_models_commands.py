"""`ekiben models` with a model store of its own; in processes, since BentoML looks for its store once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clients.exit_codes import ExitCode
from tests.tiny_models import save_tiny_t5

TEXTS = ["The bridge was opened in 1908 by the mayor of the town."]


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    return {"BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "true"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_t5(tmp_path / "My Model+5", TEXTS)


def _run(store: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clients", "models", *arguments]
    return subprocess.run(command, env=os.environ | store, capture_output=True, text=True, timeout=60, check=False)


def test_an_added_model_is_listed_and_is_the_one_that_the_printed_setting_names(store: dict[str, str], folder: Path) -> None:
    added = _run(store, "add", str(folder))
    assert added.returncode == ExitCode.OK, added.stderr
    setting = added.stdout.strip()
    (listed,) = [json.loads(line) for line in _run(store, "list", "--json").stdout.splitlines()]
    assert listed["tag"].startswith("my-model-5:")
    assert (listed["setting"], listed["source"], listed["architecture"]) == (setting, str(folder), "T5ForConditionalGeneration")
    assert listed["size"] == pytest.approx(sum(file.stat().st_size for file in folder.iterdir()), abs=4_096)
    shutil.rmtree(folder)
    loads = (
        "import sys; from services.model_source import resolve; from transformers import AutoModelForSeq2SeqLM\n"
        "print(type(AutoModelForSeq2SeqLM.from_pretrained(resolve(sys.argv[1]))).__name__)"
    )
    loaded = subprocess.run([sys.executable, "-c", loads, setting], env=os.environ | store, capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.strip() == "T5ForConditionalGeneration"


def test_a_tag_is_taken_once(store: dict[str, str], folder: Path) -> None:
    assert _run(store, "add", str(folder), "--tag", "tiny:v1").stdout.startswith("bentoml:tiny:v1@sha256:")
    again = _run(store, "add", str(folder), "--tag", "tiny:v1")
    assert again.returncode == ExitCode.STARTUP
    assert "already exists" in again.stderr
    assert _run(store, "list").stdout.count("bentoml:tiny:v1") == 1


@pytest.mark.parametrize(("tag", "named"), [("no tag!", "no tag!"), ("a:b:c", "a:b:c")])
def test_a_tag_that_is_none_is_refused(store: dict[str, str], folder: Path, tag: str, named: str) -> None:
    refused = _run(store, "add", str(folder), "--tag", tag)
    assert refused.returncode == ExitCode.STARTUP
    assert named in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_model_that_can_not_be_copied_whole_is_not_in_the_store(store: dict[str, str], folder: Path) -> None:
    (folder / "vocabulary.txt").symlink_to(folder / "is-gone.txt")
    refused = _run(store, "add", str(folder))
    assert refused.returncode == ExitCode.STARTUP
    assert "can't be copied" in refused.stderr
    assert _run(store, "list").stdout == ""


def test_a_folder_without_weights_is_refused(store: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    refused = _run(store, "add", str(tmp_path))
    assert refused.returncode == ExitCode.STARTUP
    assert "holds no weights" in refused.stderr
