import pytest

from core.schemas import Passage, SearchResponse, Sentence, Span
from pipelines.answering.evidence import ABOUT, SAYS, evidence
from tests.pipelines.answering.fakes import passage

TEXT = "The Forth Bridge was opened in 1890. It was never painted white. Its towers are 110 metres high."
RARITY = {"forth": 4.0, "bridg": 2.0, "open": 1.0, "paint": 3.0}


def _quoting(found: Passage, quote: str, score: float = 1.0) -> Sentence:
    start = found.start + found.text.index(quote)
    span = Span(document_id=found.document_id, chunk_id=found.chunk_id, collection=found.collection, start=start, end=start + len(quote), quote=quote)
    return Sentence(text=quote, supports=(span,), score=score)


def _signals(question: str, quote: str, **rarity: float) -> dict[str, float]:
    found = passage(1, TEXT, cosine=0.7)
    other = passage(2, "Nothing of the kind.", cosine=0.8)
    signals = evidence(question, SearchResponse(passages=(found, other), rarity=rarity or RARITY), [_quoting(found, quote)])
    assert signals is not None
    return dict(signals)


def test_all_signals_are_there_and_no_others() -> None:
    assert _signals("When was it opened?", "Its towers are 110 metres high.").keys() == {*ABOUT, *SAYS}


def test_the_best_cosine_and_that_of_the_first_passage_are_told_apart() -> None:
    signals = _signals("When was it opened?", "Its towers are 110 metres high.")
    assert (signals["dense"], signals["dense_first"]) == (0.8, 0.7)


def test_words_are_looked_for_in_the_sentence_near_it_and_in_its_passage() -> None:
    signals = _signals("When was the Forth Bridge painted, and opened?", "The Forth Bridge was opened in 1890.")
    assert signals["sentence_coverage"] == pytest.approx(0.7)
    assert signals["near_coverage"] == signals["passage_coverage"] == 1.0
    assert signals["lexical"] == pytest.approx(1.0 / 10)


def test_a_rare_word_that_the_passage_lacks_is_missed_by_its_rarity() -> None:
    assert _signals("Who built the bridge?", "It was never painted white.", built=1.0, bridg=4.0)["rarest_missing"] == 0.25
    assert _signals("Which towers?", "It was never painted white.", tower=4.0)["rarest_missing"] == 0.0


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("When was the Forth Bridge opened?", 0.0),
        ("When was the Tay Bridge opened?", 0.5),
        ("Did it open in 1891?", 1.0),
        ("Did it open in 1890?", 0.0),
        ("Why is it so high?", 0.0),
    ],
)
def test_names_and_numbers_of_the_question_are_looked_for(question: str, missing: float) -> None:
    assert _signals(question, "The Forth Bridge was opened in 1890.")["names_missing"] == missing


@pytest.mark.parametrize(
    ("question", "quote", "missing"),
    [
        ("What wasn't painted white?", "It was never painted white.", 0.0),
        ("What was not opened in 1890?", "The Forth Bridge was opened in 1890.", 1.0),
        ("What was opened in 1890?", "It was never painted white.", 0.0),
    ],
)
def test_a_question_in_the_negative_wants_a_sentence_in_the_negative(question: str, quote: str, missing: float) -> None:
    assert _signals(question, quote)["negation_missing"] == missing


def test_the_sentence_with_the_highest_score_is_the_best() -> None:
    found = passage(1, TEXT)
    sentences = [_quoting(found, "Its towers are 110 metres high.", 0.2), _quoting(found, "The Forth Bridge was opened in 1890.", 0.9)]
    signals = evidence("When was it opened?", SearchResponse(passages=(found,), rarity={"open": 1.0}), sentences)
    assert signals is not None
    assert signals["sentence_coverage"] == 1.0


def test_without_a_sentence_the_passage_alone_speaks() -> None:
    signals = evidence("When was it opened?", SearchResponse(passages=(passage(1, TEXT),), rarity={"open": 1.0}), [])
    assert signals is not None
    assert (signals["sentence_coverage"], signals["passage_coverage"]) == (0.0, 1.0)


def test_there_is_no_evidence_without_a_cosine() -> None:
    assert evidence("When?", SearchResponse(passages=(passage(1, cosine=None),)), []) is None
    assert evidence("When?", SearchResponse(passages=()), []) is None


@pytest.mark.parametrize(
    ("question", "foreign", "names_missing"),
    [
        ("When was the bridge at Kobe opened?", 0.0, 1.0),
        ("Wann wurde die Brücke in Kobe für Züge eröffnet?", 1.0, 0.0),
        ("¿Cuándo se inauguró el puente de Kobe?", 1.0, 0.0),
        ("Bridge Kobe", 0.0, 1.0),
    ],
)
def test_what_reads_english_is_silent_on_other_languages(question: str, foreign: float, names_missing: float) -> None:
    signals = _signals(question, "Its towers are 110 metres high.")
    assert (signals["foreign"], signals["names_missing"]) == (foreign, names_missing)
