import asyncio

import pytest

from core.schemas import CollectionSettings, EncoderInfo
from pipelines.ingestion.splitters import Splitters


class Encoders:
    """Describes an encoder, and counts how often it is asked."""

    def __init__(self, encoder: EncoderInfo) -> None:
        self.now = encoder
        self.asked = 0

    async def encoder(self) -> EncoderInfo:
        self.asked += 1
        await asyncio.sleep(0)
        return self.now


@pytest.fixture
def encoders(encoder) -> Encoders:
    return Encoders(encoder)


def sizes(tokens: int | None = None, overlap: int | None = None) -> CollectionSettings:
    return CollectionSettings(chunk_tokens=tokens, overlap_tokens=overlap)


async def test_equal_sizes_share_a_splitter(encoders, limits):
    splitters = Splitters(encoders, limits)
    described = sizes(40).model_copy(update={"description": "Meals"})
    one, other = await asyncio.gather(splitters.current(sizes(40)), splitters.current(described))
    assert one is other
    assert one.window.tokens == 40
    assert await splitters.current(sizes(40, 0)) is not one
    assert await splitters.current(sizes()) is not one
    assert encoders.asked == 1


async def test_the_splitters_used_last_are_kept(encoders, limits):
    splitters = Splitters(encoders, limits)
    first = await splitters.current(sizes(20))
    second = await splitters.current(sizes(21))
    for tokens in range(22, 28):
        await splitters.current(sizes(tokens))
        assert await splitters.current(sizes(20)) is first
    await splitters.current(sizes(28))
    assert await splitters.current(sizes(20)) is first
    assert await splitters.current(sizes(21)) is not second


async def test_an_outdated_splitter_is_renewed_once_for_all(encoders, encoder, limits):
    splitters = Splitters(encoders, limits)
    outdated = await splitters.current(sizes())
    encoders.now = encoder.model_copy(update={"fingerprint": "new"})
    renewed = await asyncio.gather(*(splitters.renewed(sizes(tokens), outdated) for tokens in (None, 20, None)))
    assert {splitter.encoder for splitter in renewed} == {"new"}
    assert encoders.asked == 2
    assert await splitters.current(sizes()) is renewed[0]
