from collections.abc import Sequence

import numpy as np
import pytest

from core.schemas import EmbedItem, EmbedResult
from core.vectors import unpack
from services.generator.sentence_vectors import SentenceVectors
from tests.services.generator.samples import embed_words

KIB = 1024


class Embedder:
    """Embeds by words, and records what it was asked."""

    def __init__(self) -> None:
        self.fingerprint = "a"
        self.asked: list[str] = []

    async def __call__(self, items: Sequence[EmbedItem]) -> list[EmbedResult]:
        self.asked += [item.text for item in items]
        vectors = await embed_words(items, self.fingerprint)
        # So that vectors of another encoder can be told from these.
        return [one if self.fingerprint == "a" else one.model_copy(update={"vector": vectors[-1].vector}) for one in vectors]


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


def items(*texts: str, encoder: str | None = "a") -> list[EmbedItem]:
    return [EmbedItem(text=text, encoder=encoder) for text in texts]


async def _expected(asked: Sequence[EmbedItem]) -> list[bytes]:
    return [unpack(result.vector).tobytes() for result in await embed_words(asked)]


async def test_what_was_embedded_is_not_embedded_again(embedder: Embedder) -> None:
    vectors = SentenceVectors(embedder, 100 * KIB)
    await vectors(items("one train", "two trains"))
    got = await vectors(items("two trains", "three trains", "one train"))
    assert embedder.asked == ["one train", "two trains", "three trains"]
    assert [one.tobytes() for one in got] == await _expected(items("two trains", "three trains", "one train"))
    assert await vectors([]) == []


async def test_a_question_and_a_sentence_of_the_same_words_are_two_things(embedder: Embedder) -> None:
    vectors = SentenceVectors(embedder, 100 * KIB)
    await vectors([EmbedItem(text="one", kind="query", encoder="a")])
    await vectors([EmbedItem(text="one", kind="document", encoder="a")])
    assert embedder.asked == ["one", "one"]


async def test_without_knowing_which_encoder_is_wanted_nothing_is_looked_up(embedder: Embedder) -> None:
    vectors = SentenceVectors(embedder, 100 * KIB)
    await vectors(items("one"))
    await vectors(items("one", encoder=None))
    assert embedder.asked == ["one", "one"]


async def test_vectors_of_two_encoders_are_never_mixed(embedder: Embedder) -> None:
    vectors = SentenceVectors(embedder, 100 * KIB)
    await vectors(items("one", "two"))
    embedder.fingerprint = "b"
    # The Embedder was exchanged; the index still names the old one.
    got = await vectors(items("one", "three"))
    assert embedder.asked == ["one", "two", "three", "one", "three"]
    assert vectors.encoder == "b"
    assert got[0].tobytes() == got[1].tobytes() != (await _expected(items("one")))[0]
    # What is wanted of the old one alone is still known, and what the new one made is known under its own name.
    assert [one.tobytes() for one in await vectors(items("two"))] == await _expected(items("two"))
    assert vectors.encoder == "a"
    await vectors(items("three", encoder="b"))
    assert embedder.asked[5:] == []


async def test_memory_is_bounded_and_the_latest_are_kept(embedder: Embedder) -> None:
    vectors = SentenceVectors(embedder, 20 * KIB)
    texts = [f"train number {number}" for number in range(100)]
    await vectors(items(*texts))
    embedder.asked.clear()
    await vectors(items(texts[-1]))
    assert embedder.asked == []
    await vectors(items(texts[0]))
    assert embedder.asked == [texts[0]]


@pytest.mark.parametrize("size", [0, 100])
async def test_a_cache_too_small_for_one_vector_keeps_none(embedder: Embedder, size: int) -> None:
    vectors = SentenceVectors(embedder, size)
    first, second = [await vectors(items("one", "two")) for _ in range(2)]
    assert embedder.asked == ["one", "two", "one", "two"]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


async def test_a_failure_is_the_callers_and_leaves_what_is_known(embedder: Embedder) -> None:
    async def failing(asked: Sequence[EmbedItem]) -> list[EmbedResult]:
        if "bad" in {item.text for item in asked}:
            raise ConnectionError
        return await embedder(asked)

    vectors = SentenceVectors(failing, 100 * KIB)
    await vectors(items("one"))
    with pytest.raises(ConnectionError):
        await vectors(items("one", "bad"))
    await vectors(items("one"))
    assert embedder.asked == ["one"]
