"""A Bento of this tree, built without network: what is in it, and that it serves."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.http_client import EkibenClient
from core.schemas import AnswerRequest, Document
from deploy.requirements import REQUIREMENTS
from tests.servers import ROOT, Server, free_port, running

FOLDERS = ("clients", "configs", "core", "pipelines", "services")
STAMP = "9.8.7"
TEXT = "The Cycloped was driven by a horse that walked on a belt. It left the contest early."


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("bentoml")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "UV_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    environment = {**os.environ, **offline, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag"]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return home / "bentos" / "ekiben" / re.search(r"__tag__:ekiben:(\w+)", built.stdout).group(1)


@pytest.fixture(scope="module")
def server(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # With a version that is nowhere else, the answers tell whose code runs.
    project = bento / "src" / "pyproject.toml"
    project.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{STAMP}"', project.read_text(encoding="utf-8")), encoding="utf-8")
    port, folder = free_port(), tmp_path_factory.mktemp("bento")
    arguments = ["-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", str(port)]
    with running(arguments, port, folder, {"EKIBEN_RETRIEVER__DATA_DIR": str(folder / "data")}) as started:
        started.wait_for("/readyz")
        yield started


def test_it_holds_the_source_of_the_services_and_nothing_else(bento: Path) -> None:
    source = bento / "src"
    held = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    tree = {path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()}

    assert held == {str(path) for path in tree if "__pycache__" not in path.parts} | {"LICENSE", "bentofile.yaml", "pyproject.toml"}


def test_it_asks_for_the_pinned_versions_alone(bento: Path) -> None:
    asked = (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8").split()

    assert set(asked) == set(REQUIREMENTS.read_text(encoding="utf-8").split())


def test_its_image_is_slim_and_takes_the_cpu_build_of_torch_unless_told_otherwise(bento: Path) -> None:
    dockerfile = (bento / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8")

    assert "FROM python:3.11-slim " in dockerfile
    assert "ARG UV_TORCH_BACKEND=cpu\n" in dockerfile
    assert "ARG BENTOML_DO_NOT_TRACK=true\n" in dockerfile


def test_it_names_all_four_services(bento: Path) -> None:
    schema = json.loads((bento / "apis" / "schema.json").read_text(encoding="utf-8"))
    listed = re.findall(r"(?m)^- name: (\w+)$", (bento / "bento.yaml").read_text(encoding="utf-8").split("\nenvs:")[0])

    assert schema["name"] == "Gateway"
    assert sorted(listed) == ["Embedder", "Gateway", "Generator", "Retriever"]


def test_it_serves_its_own_code_stores_a_document_and_answers_from_it(server: Server) -> None:
    with EkibenClient(server.url) as client:
        status = client.status()
        (stored,) = client.add([Document(id="rainhill", text=TEXT)]).documents
        answer = client.answer(AnswerRequest(question="What was the Cycloped driven by?"))

    assert (status.version, status.ready) == (STAMP, True)
    assert stored.state == "created"
    assert "horse" in answer.answer
    assert answer.citations
    assert all(citation.verified and TEXT[citation.start : citation.end] == citation.quote for citation in answer.citations)
    assert (server.data / "store-1.db").is_file()
