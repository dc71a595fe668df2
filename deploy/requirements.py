"""Writes deploy/requirements.txt, what a Bento installs: the versions in constraints.txt without those of the development tools.

`make lock` runs it, in an environment that holds everything.
"""

import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"
CONSTRAINTS = ROOT / "constraints.txt"
REQUIREMENTS = ROOT / "deploy" / "requirements.txt"
# With models of transformers, which are a setting away and need nothing that the Embedder does not bring along; with remote models as well.
EXTRAS = ("gateway", "retriever", "embedder", "generator", "generator-transformers", "generator-openai")


def runtime_requirements() -> str:
    """The lines of constraints.txt that the extras in EXTRAS lead to on this platform, as one text."""
    needed = names_needed(EXTRAS)
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return "".join(f"{line}\n" for line in lines if canonicalize_name(Requirement(line).name) in needed)


def names_needed(extras: Iterable[str]) -> set[str]:
    """Canonical names of all packages that Ekiben with these extras depends on here, directly or not."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    own, seen = canonicalize_name(project["name"]), set[tuple[str, str]]()
    pending = [(own, ""), *((own, extra) for extra in extras)]
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        name, extra = node
        declared = _declared_by_project(project, extra) if name == own else _declared_by_installed(name, extra)
        for requirement in declared:
            pending += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in seen} - {own}


def _declared_by_project(project: dict[str, dict[str, list[str]]], extra: str) -> Iterator[Requirement]:
    """From pyproject.toml itself: the metadata of an editable install may be older."""
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return _that_apply(lines, "")


def _declared_by_installed(name: str, extra: str) -> Iterator[Requirement]:
    try:
        return _that_apply(requires(name) or [], extra)
    except PackageNotFoundError:
        return iter(())  # another platform's build of torch needs it; constraints.txt does not name it either


def _that_apply(lines: Iterable[str], extra: str) -> Iterator[Requirement]:
    requirements = map(Requirement, lines)
    return (one for one in requirements if one.marker is None or one.marker.evaluate({"extra": extra}))


if __name__ == "__main__":
    REQUIREMENTS.write_text(runtime_requirements(), encoding="utf-8")
