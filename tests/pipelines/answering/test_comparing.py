from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.schemas import Answer, Citation, Conditions, Difference, GeneratorInfo, Passage
from pipelines.answering.comparing import are_identical, differences
from tests.pipelines.answering.fakes import passage

GENERATOR = GeneratorInfo(backend="extractive", model="", device="cpu", settings={"generator.mmr_lambda": 0.7})
CONDITIONS = Conditions(version="1", index_version=7, encoder="aaaa", generator=GENERATOR, settings={"answering.min_confidence": 0.35})


def _cite(found: Passage, sentence: int) -> Citation:
    return Citation(
        sentence=sentence,
        document_id=found.document_id,
        chunk_id=found.chunk_id,
        collection=found.collection,
        title=found.title,
        page=found.page,
        start=found.start,
        end=found.end,
        quote=found.text,
        verified=True,
    )


def _answer(numbers: tuple[int, ...] = (1, 2, 3), **changed: Any) -> Answer:
    """An answer that quotes the passages of these documents, each in a sentence."""
    passages = tuple(passage(number) for number in numbers)
    content = {
        "id": "ans_1",
        "question": "When?",
        "answer": " ".join(found.text for found in passages),
        "sentences": tuple(found.text for found in passages),
        "abstained": not numbers,
        "confidence": 0.8,
        "degraded": False,
        "citations": tuple(_cite(found, place) for place, found in enumerate(passages)),
        "passages": passages,
        "summaries": (),
        "timings_ms": {"total": 1.0},
        "conditions": CONDITIONS,
    }
    return Answer.model_validate(content | changed)


def _told(before: Answer, after: Answer) -> list[dict[str, Any]]:
    return [difference.model_dump(exclude={"citation"}) for difference in differences(before, after)]


def _conditions(**changed: Any) -> Answer:
    return _answer(conditions=CONDITIONS.model_copy(update=changed))


def test_ids_times_notes_and_scores_that_change_no_order_are_no_difference() -> None:
    rescored = tuple(one.model_copy(update={"score": one.score / 2}) for one in _answer().passages)
    assert differences(_answer(), _answer(id="ans_2", timings_ms={"total": 9.0}, notes=("late",), passages=rescored)) == ()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": "2"}, ("version", "version", "1", "2")),
        ({"index_version": 8}, ("index_version", "index_version", 7, 8)),
        ({"encoder": None}, ("encoder", "encoder", "aaaa", None)),
        ({"generator": GENERATOR.model_copy(update={"model": "t5"})}, ("generator", "model", "", "t5")),
        ({"settings": {"answering.min_confidence": 0.5}}, ("setting", "answering.min_confidence", 0.35, 0.5)),
        ({"settings": {}}, ("setting", "answering.min_confidence", 0.35, None)),
        (
            {"generator": GENERATOR.model_copy(update={"settings": {"generator.mmr_lambda": 0.5}})},
            ("setting", "generator.mmr_lambda", 0.7, 0.5),
        ),
    ],
)
def test_what_an_answer_was_made_with_is_told_and_leaves_it_identical(changed: dict[str, Any], told: tuple[object, ...]) -> None:
    found = differences(_answer(), _conditions(**changed))
    assert [tuple(difference.model_dump().values()) for difference in found] == [told]
    assert are_identical(found)


def test_passages_come_go_and_move_with_their_ranks() -> None:
    told = _told(_answer((1, 2, 3), sentences=(), citations=()), _answer((4, 1, 3), sentences=(), citations=()))
    assert [(one["change"], one["chunk_id"], one["rank_before"], one["rank_after"]) for one in told if one["kind"] == "passage"] == [
        ("gained", "doc-4#0", None, 1),
        ("moved", "doc-1#0", 1, 2),
        ("lost", "doc-2#0", 2, None),
    ]
    assert told[0]["score_before"] is None
    assert told[1]["score_before"] == told[1]["score_after"] == passage(1).score


def test_a_passage_with_another_text_at_its_place_is_told() -> None:
    other = _answer().passages[0].model_copy(update={"text": "Another text."})
    (told,) = _told(_answer(), _answer(passages=(other, *_answer().passages[1:])))
    assert (told["change"], told["chunk_id"], told["rank_before"], told["rank_after"]) == ("changed", "doc-1#0", 1, 1)


def test_sentences_and_citations_come_and_go() -> None:
    found = differences(_answer((1, 2)), _answer((1, 3), passages=_answer((1, 2)).passages))
    assert [(one.kind, one.change) for one in found] == [
        ("sentence", "gained"),
        ("sentence", "lost"),
        ("citation", "gained"),
        ("citation", "lost"),
    ]
    assert not are_identical(found)


def test_a_sentence_that_is_said_twice_counts_twice() -> None:
    told = _told(_answer(sentences=("a", "b", "a")), _answer(sentences=("a", "b")))
    assert told == [{"kind": "sentence", "change": "lost", "text": "a", "place_before": 2, "place_after": None}]


@pytest.mark.parametrize(("name", "value"), [("abstained", True), ("degraded", True), ("confidence", None), ("confidence", 0.8001), ("answer", "x")])
def test_another_outcome_is_told_and_makes_it_another_answer(name: str, value: object) -> None:
    found = differences(_answer(), _answer(**{name: value}))
    assert [(one.kind, one.after) for one in found] == [(name, value)]
    assert not are_identical(found)


_numbers = st.lists(st.integers(1, 9), max_size=6, unique=True).map(tuple)


@settings(deadline=None)
@given(_numbers, _numbers)
def test_what_one_way_is_gained_the_other_way_is_lost(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    there, back = differences(_answer(one), _answer(other)), differences(_answer(other), _answer(one))
    assert (there == ()) == (one == other)
    assert len(there) == len(back)
    assert _changes(there, "gained") == _changes(back, "lost")
    assert _changes(there, "moved") == _changes(back, "moved")


def _changes(found: tuple[Difference, ...], change: str) -> set[tuple[str, str]]:
    return {(one.kind, str(getattr(one, "chunk_id", "") or getattr(one, "text", ""))) for one in found if getattr(one, "change", "") == change}
