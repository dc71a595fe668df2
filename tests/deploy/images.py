"""deploy/Dockerfile, as its stages."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@dataclass
class Stage:
    """One FROM: the stage or image it starts from, and its instructions as (keyword, arguments)."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def arguments(self, keyword: str) -> list[str]:
        return [text for name, text in self.instructions if name == keyword]


def stages() -> dict[str, Stage]:
    """The stages by name."""
    found: dict[str, Stage] = {}
    for line in DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            stage = found[name] = Stage(base)
        elif keyword and not keyword.startswith("#"):
            stage.instructions.append((keyword, rest))
    return found


def entrypoint() -> list[str]:
    """What every image runs, before the service's name."""
    return json.loads(stages()["runtime"].arguments("ENTRYPOINT")[0])


def served(target: str) -> str:
    """The service an image runs, as module:Class."""
    return json.loads(stages()[target].arguments("CMD")[0])[0]
