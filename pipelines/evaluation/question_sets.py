"""Question sets in the layout of BEIR: a folder with corpus.jsonl, queries.jsonl and qrels.tsv or qrels/*.tsv.

Layout after Thakur et al., "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models" (2021). A file set.json may
name folders of documents in the place of corpus.jsonl. Anything broken raises BadEvaluation with the file and the line.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from core.errors import BadEvaluation
from core.schemas import Frozen, Identifier
from pipelines.ingestion.refusing import explain

CORPUS, QUERIES, QRELS, SET_FILE = "corpus.jsonl", "queries.jsonl", "qrels", "set.json"
_QRELS_HEAD = ["query-id", "corpus-id", "score"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Relevance = Mapping[str, Mapping[str, int]]
"""Grade of each judged document by question; above 0 is relevant."""


class SetQuestion(Frozen):
    """A line of queries.jsonl.

    `answers` are short texts, any of which is right; `refs` long reference answers. A question without `answerable` counts as answerable.
    `scope` limits the search to the documents whose id starts with it.
    """

    id: Identifier
    text: Text
    answers: tuple[Text, ...] = ()
    answerable: bool = True
    refs: tuple[Text, ...] = ()
    scope: str = ""
    split: str = ""


class SetFile(Frozen):
    """What set.json says: folders of documents, relative to it, that stand in for corpus.jsonl."""

    documents: Annotated[tuple[str, ...], Field(min_length=1)]


@dataclass(frozen=True)
class QuestionSet:
    """A set as read. `document_ids` is empty where the documents are files, whose ids only loading tells.

    `digest` is the SHA-256 over the files that make up the set's questions and judgements, and its corpus.
    """

    name: str
    folder: Path
    documents: tuple[Path, ...]
    document_ids: frozenset[str]
    questions: tuple[SetQuestion, ...]
    relevance: Relevance
    digest: str

    @property
    def corpus(self) -> Path | None:
        """corpus.jsonl; None where the documents are files."""
        return self.folder / CORPUS if self.document_ids else None

    @property
    def scopes(self) -> frozenset[str]:
        """All scopes that questions name."""
        return frozenset(question.scope for question in self.questions if question.scope)

    def relevant(self, question_id: str) -> frozenset[str]:
        """Ids of the documents that are relevant to a question (grade above 0)."""
        return frozenset(document for document, grade in self.relevance.get(question_id, {}).items() if grade > 0)

    def refuse_unknown_documents(self, stored: frozenset[str]) -> None:
        """Raise BadEvaluation where the judgements name a document that is not among those `stored`."""
        for question, grades in self.relevance.items():
            if unknown := sorted(set(grades) - stored):
                raise BadEvaluation(f"{self.folder}: the judgements of question {question!r} name the document {unknown[0]!r}, which there is not")


def read_question_set(folder: Path, split: str | None = None) -> QuestionSet:
    """The set in `folder`, with the questions of one split only where it is named.

    A split is a value of `split` in queries.jsonl, or the name of a file in qrels/. Raises BadEvaluation for whatever is missing or broken.
    """
    name = _name_of(folder)
    documents = _documents_of(folder)
    ids = frozenset(_read_ids(folder / CORPUS)) if documents == (folder / CORPUS,) else frozenset[str]()
    questions = _read_questions(folder / QUERIES)
    files = _qrels_files(folder)
    relevance = _read_relevance(files, {question.id for question in questions})
    digest = _digest([folder / QUERIES, *files, *(path for base in documents for path in _files_below(base))], folder)
    found = QuestionSet(name, folder, documents, ids, questions, relevance, digest)
    if ids:
        found.refuse_unknown_documents(ids)
    _check_scopes(found)
    return found if split is None else _of_split(found, split, files)


def sample_evenly(questions: Sequence[SetQuestion], count: int | None) -> tuple[SetQuestion, ...]:
    """`count` questions at even distances, always the same ones; all of them where there are no more, or `count` is None."""
    if count is None or count >= len(questions):
        return tuple(questions)
    return tuple(questions[number * len(questions) // count] for number in range(count))


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """(line number from 1, object) of every line that is not blank. Raises BadEvaluation."""
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, _parse(line.removeprefix(b"\xef\xbb\xbf"), path, number)
    except OSError as error:
        raise BadEvaluation(f"{path}: {error.strerror}; a set is a folder with {CORPUS} (or {SET_FILE}), {QUERIES} and {QRELS}.tsv") from error


def _parse(line: bytes, path: Path, number: int) -> dict[str, object]:
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadEvaluation(f"{path}, line {number}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadEvaluation(f"{path}, line {number}: a JSON object is expected, not {type(value).__name__}")
    return value


def _name_of(folder: Path) -> str:
    if not folder.is_dir():
        raise BadEvaluation(f"{folder}: there is no such folder")
    name = folder.resolve().name
    if not _NAME.fullmatch(name):
        raise BadEvaluation(f"{folder}: the folder's name becomes that of a collection: use letters, digits and _ . - only, at most 64")
    return name


def _documents_of(folder: Path) -> tuple[Path, ...]:
    path = folder / SET_FILE
    if not path.exists():
        return (folder / CORPUS,)
    try:
        named = SetFile.model_validate_json(path.read_bytes()).documents
    except ValidationError as error:
        raise BadEvaluation(f"{path}: {explain(error)}") from error
    except OSError as error:
        raise BadEvaluation(f"{path}: {error.strerror}") from error
    bases = tuple((folder / base).resolve() for base in named)
    for base in bases:
        if not base.is_dir():
            raise BadEvaluation(f"{path}: {base} is no folder")
    return bases


def _read_ids(path: Path) -> set[str]:
    lines: dict[str, int] = {}
    for number, record in read_lines(path):
        _add_id(lines, record, path, number)
        for key, default in (("title", ""), ("text", None)):
            # BEIR has null for a missing title.
            if not isinstance(record.get(key, default) or "", str) or (default is None and key not in record):
                raise BadEvaluation(f'{path}, line {number}: there is no string under "{key}"')
    if not lines:
        raise BadEvaluation(f"{path}: there is no document in it")
    return set(lines)


def _add_id(lines: dict[str, int], record: Mapping[str, object], path: Path, number: int) -> str:
    given = record_id(record)
    if not isinstance(given, str) or not given:
        raise BadEvaluation(f'{path}, line {number}: there is no id under "_id" or "id"')
    if given in lines:
        raise BadEvaluation(f"{path}, line {number}: the id {given!r} is that of line {lines[given]} already")
    lines[given] = number
    return given


def record_id(record: Mapping[str, object]) -> object:
    """What stands under `_id` or `id`; a number, as some BEIR sets have it, as text."""
    given = record.get("_id", record.get("id"))
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _read_questions(path: Path) -> tuple[SetQuestion, ...]:
    lines: dict[str, int] = {}
    questions = []
    for number, record in read_lines(path):
        id_ = _add_id(lines, record, path, number)
        known = {key: value for key, value in record.items() if key in SetQuestion.model_fields and value is not None}
        try:
            questions.append(SetQuestion.model_validate({**known, "id": id_}))
        except ValidationError as error:
            raise BadEvaluation(f"{path}, line {number}: {explain(error)}") from error
    if not questions:
        raise BadEvaluation(f"{path}: there is no question in it")
    return tuple(questions)


def _qrels_files(folder: Path) -> tuple[Path, ...]:
    single = folder / f"{QRELS}.tsv"
    files = (single,) if single.is_file() else tuple(sorted((folder / QRELS).glob("*.tsv")))
    if not files:
        raise BadEvaluation(f"{folder}: there is neither {QRELS}.tsv nor a file {QRELS}/*.tsv")
    return files


def _read_relevance(files: Sequence[Path], question_ids: set[str]) -> dict[str, dict[str, int]]:
    relevance: dict[str, dict[str, int]] = {}
    for path in files:
        for number, (question, document, grade) in _judgements(path):
            if question not in question_ids:
                raise BadEvaluation(f"{path}, line {number}: there is no question {question!r} in {QUERIES}")
            grades = relevance.setdefault(question, {})
            if document in grades:
                raise BadEvaluation(f"{path}, line {number}: question {question!r} and document {document!r} were judged already")
            grades[document] = grade
    return relevance


def _judgements(path: Path) -> Iterator[tuple[int, tuple[str, str, int]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadEvaluation(f"{path}: can't be read: {error}") from error
    if not lines or lines[0].split("\t") != _QRELS_HEAD:
        raise BadEvaluation(f"{path}, line 1: the head has to be {', '.join(_QRELS_HEAD)}, parted by tabs")
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            yield number, _judgement(line, path, number)


def _judgement(line: str, path: Path, number: int) -> tuple[str, str, int]:
    match line.split("\t"):
        case [question, document, grade] if re.fullmatch(r"-?\d{1,9}", grade.strip()):
            return question, document, int(grade)
    raise BadEvaluation(f"{path}, line {number}: question, document and a whole number are expected, parted by tabs")


def _check_scopes(found: QuestionSet) -> None:
    if found.scopes and found.corpus is None:
        raise BadEvaluation(f"{found.folder}: questions with a scope need a {CORPUS}, whose ids begin with it")
    for shorter, longer in pairwise(sorted(found.scopes)):
        if longer.startswith(shorter):
            raise BadEvaluation(f"{found.folder / QUERIES}: the scope {longer!r} lies inside {shorter!r}; a document can belong to one only")


def _of_split(found: QuestionSet, split: str, files: Sequence[Path]) -> QuestionSet:
    judged: set[str] = set()
    for path in files:
        if path.parent.name == QRELS and path.stem == split:
            judged = {question for _, (question, _, _) in _judgements(path)}
    questions = tuple(question for question in found.questions if question.split == split or (not question.split and question.id in judged))
    if not questions:
        files_of_splits = {path.stem for path in files if path.parent.name == QRELS}
        known = sorted({question.split for question in found.questions if question.split} | files_of_splits)
        raise BadEvaluation(f"{found.folder}: there is no split {split!r}; there is {', '.join(known) or 'none'}")
    return replace(found, questions=questions)


def _files_below(base: Path) -> Iterator[Path]:
    # Ingestion passes hidden files over.
    yield from sorted(path for path in base.rglob("*") if path.is_file() and not path.name.startswith(".")) if base.is_dir() else [base]


def _digest(files: Sequence[Path], folder: Path) -> str:
    """Over names and contents. Names are relative, so that a set may be moved."""
    total = hashlib.sha256()
    for path in files:
        name = path.relative_to(folder) if path.is_relative_to(folder) else path.name
        with path.open("rb") as stream:
            total.update(f"{name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
