import asyncio
import json
import logging
from collections.abc import AsyncGenerator

import pytest

from core.errors import GenerationFailed, Internal
from services.gateway import streaming
from services.gateway.streaming import KEEP_ALIVE, EventStream, fault_in_stream, sse
from tests.services.gateway.asgi import Reader


class Source:
    """Yields its messages, then waits for ever where it `hangs`."""

    def __init__(self, *messages: str, hangs: bool = False, error: Exception | None = None) -> None:
        self._messages = messages
        self._hangs = hangs
        self._error = error
        self.closed = asyncio.Event()

    async def read(self) -> AsyncGenerator[str, None]:
        try:
            for message in self._messages:
                yield message
            if self._hangs:
                await asyncio.Event().wait()
            if self._error:
                raise self._error
        finally:
            await asyncio.sleep(0)  # closing takes a moment
            self.closed.set()


@pytest.mark.parametrize("text", ["plain", "a\nb\r\nc\rd", "\x0b\x0c\x1c\x85\u2028\u2029", "駅弁🍱", 'quote " and \\'])
def test_a_message_is_two_lines_whatever_its_text(text: str) -> None:
    message = sse({"text": text}, "token")
    name, data, *rest = message.splitlines()
    assert (name, rest, message.isascii(), message[-2:]) == ("event: token", [""], True, "\n\n")
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


async def test_messages_are_sent_as_they_are_and_never_stored_or_buffered_on_their_way() -> None:
    source = Source("one", "two")
    reader = await Reader().read(EventStream(source.read()))
    assert reader.text == "onetwo"
    assert reader.headers["content-type"].startswith("text/event-stream")
    assert (reader.headers["cache-control"], reader.headers["x-accel-buffering"]) == ("no-store", "no")
    assert source.closed.is_set()


async def test_silence_is_filled_with_comments() -> None:
    reader = Reader(lambda text: text.count(KEEP_ALIVE) == 3)
    await reader.read(EventStream(Source("one", hangs=True).read(), keep_alive_s=0.01))
    assert reader.text.startswith("one" + KEEP_ALIVE * 3)
    assert KEEP_ALIVE.startswith(":")


async def test_a_reader_that_goes_away_closes_the_source() -> None:
    source = Source("one", hangs=True)
    await Reader(lambda text: text == "one").read(EventStream(source.read()))
    async with asyncio.timeout(5.0):
        await source.closed.wait()
    await asyncio.sleep(0)
    assert not streaming._writers


async def test_a_slow_reader_does_not_hold_the_source_up() -> None:
    source = Source("one", "two", "three")

    class Slow(Reader):
        async def _send(self, message: object) -> None:
            await super()._send(message)  # type: ignore[arg-type]
            if self.text:
                await source.closed.wait()

    assert (await Slow().read(EventStream(source.read()))).text == "onetwothree"


async def test_what_the_source_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="a bug"):
        await Reader().read(EventStream(Source("one", error=ValueError("a bug")).read()))


def test_an_error_of_ours_is_told_and_a_bug_is_not(caplog: pytest.LogCaptureFixture) -> None:
    ours = GenerationFailed("why")
    with caplog.at_level(logging.WARNING, "ekiben.stream"):
        assert fault_in_stream(ours) is ours
        hidden = fault_in_stream(ValueError("secret"))
    assert isinstance(hidden, Internal)
    assert "secret" not in hidden.message
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
