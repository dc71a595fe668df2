"""How one answer to a question differs from another."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from core.schemas import (
    Answer,
    Citation,
    CitationDifference,
    ConditionDifference,
    Conditions,
    Difference,
    GeneratorInfo,
    OutcomeDifference,
    Passage,
    PassageDifference,
    SentenceDifference,
    Setting,
)


def differences(before: Answer, after: Answer) -> tuple[Difference, ...]:
    """Every difference, what the answers were made with first; none where nothing but ids, times and notes differs.

    Scores count where they change an order or the confidence.
    """
    return (
        *_conditions(before.conditions, after.conditions),
        *_passages(before.passages, after.passages),
        *_sentences(before.sentences, after.sentences),
        *_citations(before.citations, after.citations),
        *_outcome(before, after),
    )


def are_identical(found: Iterable[Difference]) -> bool:
    """Whether two answers with these differences are the same answer, whatever each was made with."""
    return all(isinstance(difference, ConditionDifference) for difference in found)


def _conditions(before: Conditions, after: Conditions) -> Iterator[Difference]:
    for kind in ("version", "index_version", "encoder"):
        if getattr(before, kind) != getattr(after, kind):
            yield ConditionDifference(kind=kind, name=kind, before=getattr(before, kind), after=getattr(after, kind))
    for name, old, new in _changed(_parts(before.generator), _parts(after.generator)):
        yield ConditionDifference(kind="generator", name=name, before=old, after=new)
    for name, old, new in _changed(_settings(before), _settings(after)):
        yield ConditionDifference(kind="setting", name=name, before=old, after=new)


def _parts(generator: GeneratorInfo | None) -> dict[str, Setting]:
    return generator.model_dump(exclude={"settings"}) if generator else {}


def _settings(conditions: Conditions) -> dict[str, Setting]:
    return {**conditions.settings, **(conditions.generator.settings if conditions.generator else {})}


def _changed(before: Mapping[str, Setting], after: Mapping[str, Setting]) -> Iterator[tuple[str, Setting, Setting]]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield name, before.get(name), after.get(name)


def _passages(before: tuple[Passage, ...], after: tuple[Passage, ...]) -> Iterator[Difference]:
    """In the order of the ranks, those of `after` first."""
    old = {(one.collection, one.chunk_id): (rank, one) for rank, one in enumerate(before, 1)}
    new = {(one.collection, one.chunk_id): (rank, one) for rank, one in enumerate(after, 1)}
    for collection, chunk_id in {**new, **old}:
        rank_before, was = old.get((collection, chunk_id), (None, None))
        rank_after, is_now = new.get((collection, chunk_id), (None, None))
        changed = bool(was and is_now) and _place(was) != _place(is_now)
        if changed or rank_before != rank_after:
            yield PassageDifference(
                change="gained" if was is None else "lost" if is_now is None else "changed" if changed else "moved",
                collection=collection,
                chunk_id=chunk_id,
                rank_before=rank_before,
                rank_after=rank_after,
                score_before=was.score if was else None,
                score_after=is_now.score if is_now else None,
            )


def _place(passage: Passage | None) -> tuple[int, int, str] | None:
    return (passage.start, passage.end, passage.text) if passage else None


def _sentences(before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[Difference]:
    """The nth time a sentence is said before is compared with the nth time it is said after."""
    old, new = _places(before), _places(after)
    for text, nth in {**new, **old}:
        place_before, place_after = old.get((text, nth)), new.get((text, nth))
        if place_before != place_after:
            change = "gained" if place_before is None else "lost" if place_after is None else "moved"
            yield SentenceDifference.model_validate({"change": change, "text": text, "place_before": place_before, "place_after": place_after})


def _places(sentences: tuple[str, ...]) -> dict[tuple[str, int], int]:
    seen: defaultdict[str, int] = defaultdict(int)
    places: dict[tuple[str, int], int] = {}
    for place, text in enumerate(sentences):
        places[text, seen[text]] = place
        seen[text] += 1
    return places


def _citations(before: tuple[Citation, ...], after: tuple[Citation, ...]) -> Iterator[Difference]:
    old, new = Counter(before), Counter(after)
    for citation in (new - old).elements():
        yield CitationDifference(change="gained", citation=citation)
    for citation in (old - new).elements():
        yield CitationDifference(change="lost", citation=citation)


def _outcome(before: Answer, after: Answer) -> Iterator[Difference]:
    for kind in ("abstained", "degraded", "confidence"):
        if getattr(before, kind) != getattr(after, kind):
            yield OutcomeDifference(kind=kind, before=getattr(before, kind), after=getattr(after, kind))
    if before.sentences == after.sentences and before.answer != after.answer:
        yield OutcomeDifference(kind="answer", before=before.answer, after=after.answer)
