"""`ekiben verify`, `repair`, `backup` and `restore` on a folder that no service runs on."""

import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clients.cli import app
from clients.exit_codes import ExitCode
from core.errors import InvalidSettings, StoreLocked
from core.schemas import DocumentRef
from services.retriever.engine import RetrievalEngine
from tests.services.retriever.samples import ENCODER, retriever_settings, split, vectors_of

DOCUMENT = split("lunch", "a box of lunch")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    engine = RetrievalEngine.open(retriever_settings(tmp_path / "data"))
    engine.bind_encoder(ENCODER)
    engine.add(DOCUMENT, vectors_of(DOCUMENT))
    engine.close()
    return tmp_path / "data"


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_sound_store_is_called_sound(data: Path) -> None:
    verified = _run("verify", "--data", data)
    assert verified.exit_code == ExitCode.OK
    assert "is sound" in verified.stdout


def test_a_fault_is_told_and_gone_after_repair(data: Path) -> None:
    connection = sqlite3.connect(data / "store-1.db", isolation_level=None)
    connection.execute("UPDATE collections SET documents = 9")
    connection.close()
    verified = _run("verify", "--data", data)
    assert verified.exit_code == ExitCode.FAULTS
    assert "counts 9 documents" in verified.stdout
    assert _run("repair", "--data", data).exit_code == ExitCode.OK
    assert _run("verify", "--data", data).exit_code == ExitCode.OK


def test_a_backup_comes_back(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert "bytes" in _run("backup", copy, "--data", data).stdout
    assert _run("restore", copy, "--data", tmp_path / "other").exit_code == ExitCode.OK
    engine = RetrievalEngine.open(retriever_settings(tmp_path / "other"))
    assert engine.get(DocumentRef(id="lunch")).text == "a box of lunch"
    engine.close()
    assert isinstance(_run("backup", copy, "--data", data).exception, InvalidSettings)


def test_a_store_in_use_is_left_alone(data: Path) -> None:
    engine = RetrievalEngine.open(retriever_settings(data))
    for command in ("verify", "repair"):
        assert isinstance(_run(command, "--data", data).exception, StoreLocked)
    engine.close()
