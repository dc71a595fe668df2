from core.schemas import Source, Span
from services.generator.reading import ReadSentence
from services.generator.supports import Grounds
from tests.services.generator.samples import TEXT, facts, item

SOURCES = facts("It was opened in March of the year 1988.", "Trains run under the Tsugaru Strait.", "The island is cold in winter.").sources
PASSAGE = item(TEXT, start=50).sources[0]


def quotes(grounds: Grounds, text: str, *numbers: int) -> list[str]:
    return [span.quote for span in grounds.supports(ReadSentence(text, numbers))]


def test_a_sentence_rests_on_all_spans_of_the_sources_it_names() -> None:
    spans = SOURCES[0].supports + SOURCES[1].supports
    grounds = Grounds.of_facts([Source(text="Both.", supports=spans), SOURCES[2]])
    assert grounds.supports(ReadSentence("Whatever stands here.", (1,))) == spans
    assert grounds.supports(ReadSentence("Whatever stands here.", (2, 1))) == SOURCES[2].supports + spans


def test_a_span_that_two_sources_share_is_named_once() -> None:
    assert len(Grounds.of_facts([SOURCES[0], SOURCES[0]]).supports(ReadSentence("It was opened.", (1, 2)))) == 1


def test_without_a_marker_the_closest_span_is_taken() -> None:
    grounds = Grounds.of_facts(SOURCES)
    assert quotes(grounds, "Under the Strait run trains.") == [SOURCES[1].text]
    assert quotes(grounds, "Napoleon lost at Waterloo.") == []


def test_markers_that_name_no_source_leave_a_sentence_without_support_and_beside_others_are_dropped() -> None:
    grounds = Grounds.of_facts(SOURCES)
    assert quotes(grounds, "Under the Strait run trains.", 0) == quotes(grounds, "Under the Strait run trains.", 4, 99) == []
    assert quotes(grounds, "Under the Strait run trains.", 4, 2) == [SOURCES[1].text]


def test_of_a_passage_the_closest_sentence_is_taken_whether_it_is_named_or_not() -> None:
    grounds = Grounds.of_passage(PASSAGE)
    for numbers in ((), (1,)):
        (span,) = grounds.supports(ReadSentence("It was opened in 1988.", numbers))
        assert isinstance(span, Span)
        assert span.quote == "It was opened in March of the year 1988."
        assert TEXT[span.start - 50 : span.end - 50] == span.quote
    assert quotes(grounds, "It was opened in 1988.", 2) == []
    assert quotes(grounds, "Napoleon lost at Waterloo.", 1) == []
