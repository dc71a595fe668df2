"""Prompt files: what a language model is asked, versioned, filled with texts from documents as data.

A file `prompts/NAME.VERSION.md` has four parts under the headings `# summarize, system`, `# summarize, user`, `# compose, system` and
`# compose, user`; what stands before the first is for readers. Places in braces are filled: `{question}`, `{title}`, `{passage}`; `{source}`, whose
line is repeated for each source, with `{number}` from 1; `{sentences}`, how many may be written; `{nothing}`, the word for "says nothing";
`{prefix}`, what the model was given before a text to summarize when it was trained. A part with a prefix is for models that read no question.

The structure of a prompt does not depend on the texts in it: these stand in the user part alone, at the end of a line that something of the prompt
begins, and `as_data` lets them begin no line themselves.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidSettings
from core.schemas import GenerationItem, Source
from services.generator.defusing import as_data
from services.generator.engines.engine import Prompt

FOLDER = Path(__file__).parent / "prompts"
# What a model is told to write where nothing stored answers. `services.generator.reading` knows it.
NOTHING = "NONE"

_HEADING = re.compile(r"^# (summarize|compose), (system|user)$", re.MULTILINE)
_PLACE = re.compile(r"\{(\w+)\}")
_OURS = {"sentences", "nothing", "prefix"}
_TEXTS = {"summarize": {"question", "title", "passage"}, "compose": {"question", "source"}}
_NEEDED = {"summarize": {"question", "passage"}, "compose": {"question", "source"}}


@dataclass(frozen=True)
class PromptSet:
    """The prompts of one file. `version` names the file and its content: `chat.1@` and the first 12 digits of its SHA-256."""

    version: str
    parts: Mapping[tuple[str, str], str]
    prefix: str = ""

    def summarize(self, item: GenerationItem, max_new_tokens: int) -> Prompt:
        """Asks what the passage of `item` says about its question."""
        (passage,) = item.sources
        texts = {"question": item.question, "title": passage.title, "passage": passage.text}
        return self._prompt("summarize", texts, (), item.max_sentences, max_new_tokens)

    def compose(self, question: str, sources: Sequence[Source], max_sentences: int, max_new_tokens: int) -> Prompt:
        """Asks for an answer from `sources`, numbered from 1."""
        return self._prompt("compose", {"question": question}, sources, max_sentences, max_new_tokens)

    def _prompt(self, task: str, texts: Mapping[str, str], sources: Sequence[Source], sentences: int, max_new_tokens: int) -> Prompt:
        values = {"sentences": str(sentences), "nothing": NOTHING, "prefix": self.prefix}
        system = _fill(self.parts[task, "system"], values)
        user = _fill(self.parts[task, "user"], {**values, **{name: as_data(text) for name, text in texts.items()}}, sources)
        return Prompt(system, user, max_new_tokens)


def load_prompts(source: str, prefix: str = "") -> PromptSet:
    """The prompts named `source` (`chat.1`), or of the file at this path, for a model that knows `prefix`. Raises InvalidSettings that says what is
    wrong with them.
    """
    path = Path(source) if source.endswith(".md") else FOLDER / f"{source}.md"
    try:
        content = path.read_bytes()
        parts = _parts(content.decode())
    except (OSError, ValueError) as error:
        shipped = ", ".join(sorted(file.stem for file in FOLDER.glob("*.md")))
        message = f"generator.prompts is {source!r}, whose file can't be used ({error}): name one of {shipped}, or a path that ends in .md"
        raise InvalidSettings(message) from error
    return PromptSet(f"{path.stem}@{hashlib.sha256(content).hexdigest()[:12]}", parts, prefix)


def _fill(template: str, values: Mapping[str, str], sources: Sequence[Source] = ()) -> str:
    return "\n".join(line for part in template.split("\n") for line in _lines(part, values, sources))


def _lines(line: str, values: Mapping[str, str], sources: Sequence[Source]) -> list[str]:
    """`line` filled, once; or for each source where it shows one."""
    if "{source}" not in line:
        return [_filled(line, values)]
    return [_filled(line, {**values, "number": str(number), "source": as_data(source.text)}) for number, source in enumerate(sources, 1)]


def _filled(line: str, values: Mapping[str, str]) -> str:
    """In one pass, so that what a text holds in braces stays as it is."""
    return _PLACE.sub(lambda place: values[place[1]], line)


def _parts(text: str) -> dict[tuple[str, str], str]:
    """The four parts of a file. Raises ValueError where one is missing, or a place is unknown, missing, or such that a text could leave it."""
    _, *found = _HEADING.split(text)
    parts = {(task, role): body.strip() for task, role, body in zip(found[::3], found[1::3], found[2::3], strict=True)}
    for task, texts in _TEXTS.items():
        for role in ("system", "user"):
            if (task, role) not in parts:
                raise ValueError(f"there is no part '# {task}, {role}'")
        _check_places(parts[task, "system"], set(), set())
        _check_places(parts[task, "user"], texts, _NEEDED[task])
    return parts


def _check_places(part: str, texts: set[str], needed: set[str]) -> None:
    names = _PLACE.findall(part)
    if unknown := set(names) - texts - _OURS - ({"number"} if "source" in texts else set()):
        raise ValueError(f"nothing fills {{{min(unknown)}}} there")
    if missing := needed - set(names) - ({"question"} if "prefix" in names else set()):
        raise ValueError(f"there is no {{{min(missing)}}}")
    for line in part.split("\n"):
        shown = [name for name in _PLACE.findall(line) if name in texts]
        if shown and (len(shown) > 1 or not line.endswith(f"{{{shown[0]}}}") or line.startswith(f"{{{shown[0]}}}")):
            raise ValueError(f"{{{shown[0]}}} has to end a line that something else begins")
