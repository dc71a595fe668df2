"""The remote engine against a server that others wrote: `transformers serve`, which ends streams without `[DONE]`."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import DependencyUnavailable
from core.schemas import GenerationDone, GenerationText
from services.generator.backends.writing import WritingBackend
from services.generator.engines.engine import Prompt, Written
from services.generator.engines.remote import RemoteEngine
from services.generator.prompting import load_prompts
from tests.servers import Server, free_port
from tests.services.generator.samples import OTHER_TEXT, TEXT, facts, item
from tests.tiny_models import save_tiny_qwen
from tests.transformers_serve import transformers_serve

PROMPT = Prompt("Be brief.", TEXT, 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # In a stream this server keeps back half a character at the end of a text.
    return save_tiny_qwen(tmp_path_factory.mktemp("model") / "qwen", [TEXT, OTHER_TEXT], legible=True)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with transformers_serve(folder, folder.parent / "serve", free_port()) as server:
        server.wait_for("/health")
        yield server


@pytest.fixture
async def engine(server: Server, folder: Path) -> AsyncIterator[RemoteEngine]:
    engine = RemoteEngine(f"{server.url}/v1", str(folder), context_tokens=4096, max_new_tokens=24)
    yield engine
    await engine.close()


async def test_it_writes_and_streams_the_same_text(engine: RemoteEngine) -> None:
    assert await engine.is_ready(30.0)
    first, second = await engine.write([PROMPT, Prompt("", OTHER_TEXT, 24)])
    assert isinstance(first, Written)
    assert isinstance(second, Written)
    *pieces, last = [piece async for piece in engine.stream(PROMPT)]
    assert isinstance(last, Written)
    assert "".join(map(str, pieces)) == last.text
    # A text that comes whole is stripped by this server.
    assert replace(last, text=last.text.strip()) == first


async def test_it_serves_the_backend(engine: RemoteEngine) -> None:
    writer = WritingBackend(engine, load_prompts("chat.1"), max_new_tokens=24)
    results = await writer.summarize([item(TEXT), item(OTHER_TEXT)])
    assert [result.error for result in results] == [None, None]
    one = facts(*TEXT.split(". "))
    (whole,) = await writer.compose([one])
    *events, done = [event async for event in writer.stream(one)]
    assert done == GenerationDone(result=whole)
    assert "".join(event.text for event in events if isinstance(event, GenerationText)) == whole.text


async def test_its_death_is_told(engine: RemoteEngine, server: Server) -> None:
    """Last: it kills what the others need."""
    server.kill_all()
    with pytest.raises(DependencyUnavailable):
        await engine.write([PROMPT])
    assert not await engine.is_ready(30.0)
