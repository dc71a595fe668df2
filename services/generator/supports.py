"""What a written sentence rests on: the spans of the sources that it names, or else the span that shares most words with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.schemas import Source, Span
from core.words import content_words
from services.generator.reading import ReadSentence
from services.generator.sentences import quote, split_sentences


@dataclass(frozen=True)
class Grounds:
    """The spans of each source of a prompt, in order. With `choose` a sentence rests on the closest span of the sources it names, not on all."""

    spans: Sequence[Sequence[Span]]
    choose: bool

    @classmethod
    def of_passage(cls, source: Source) -> "Grounds":
        """One source, whose spans are the sentences of the passage."""
        assert source.span is not None  # checked where the item came in
        extents = split_sentences(source.text)
        return cls([[quote(source.span, extents, index) for index in range(len(extents))]], choose=True)

    @classmethod
    def of_facts(cls, sources: Sequence[Source]) -> "Grounds":
        """Sources that rest on spans already."""
        return cls([source.supports for source in sources], choose=False)

    def supports(self, sentence: ReadSentence) -> tuple[Span, ...]:
        """The spans under `sentence`. A sentence whose markers name no source, or without a marker and a shared word, rests on nothing."""
        named = [self.spans[number - 1] for number in sentence.numbers if 1 <= number <= len(self.spans)]
        if sentence.numbers and not self.choose:
            return tuple(dict.fromkeys(span for spans in named for span in spans))
        return _closest(sentence.text, (span for spans in (named if sentence.numbers else self.spans) for span in spans))


def _closest(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """The span that holds most of the content words of `text`, the first of equals; none where no word is shared."""
    wanted = set(content_words(text))
    best = max(spans, key=lambda span: len(wanted & set(content_words(span.quote))), default=None)
    return (best,) if best and wanted & set(content_words(best.quote)) else ()
