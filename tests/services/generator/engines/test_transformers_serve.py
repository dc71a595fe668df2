"""The remote engine against a server that others wrote: `transformers serve`, which ends streams without `[DONE]` and tells no usage in them."""

import importlib.util
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.errors import DependencyUnavailable
from core.schemas import GenerationDone, GenerationText
from services.generator.backends.writing import WritingBackend
from services.generator.engines.engine import Prompt, Written
from services.generator.engines.remote import RemoteEngine
from services.generator.prompting import load_prompts
from tests.servers import Server, free_port, running
from tests.services.generator.samples import OTHER_TEXT, TEXT, facts, item

MISSING = [name for name in ("fastapi", "uvicorn", "accelerate") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}: pip install 'transformers[serving]'"),
]
PROMPT = Prompt("Be brief.", TEXT, 24)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from tests.tiny_models import save_tiny_qwen

    return save_tiny_qwen(tmp_path / "qwen", [TEXT, OTHER_TEXT])


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[Server]:
    port = free_port()
    arguments = ["-m", "transformers.cli.transformers", "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with running(arguments, port, tmp_path / "serve", {"OMP_NUM_THREADS": "1"}) as server:
        server.wait_for("/health")
        yield server


@pytest.fixture
async def engine(server: Server, folder: Path) -> AsyncIterator[RemoteEngine]:
    engine = RemoteEngine(f"{server.url}/v1", str(folder), context_tokens=4096, max_new_tokens=24, max_retries=0)
    yield engine
    await engine.close()


async def test_it_writes_and_streams_the_same_text_and_its_death_is_told(engine: RemoteEngine, server: Server) -> None:
    assert await engine.is_ready(5.0)
    first, second = await engine.write([PROMPT, Prompt("", OTHER_TEXT, 24)])
    assert isinstance(first, Written)
    assert isinstance(second, Written)
    *pieces, last = [piece async for piece in engine.stream(PROMPT)]
    assert "".join(map(str, pieces)) == first.text
    assert isinstance(last, Written)
    assert (last.text, last.finish) == (first.text, first.finish)
    server.kill_all()
    with pytest.raises(DependencyUnavailable):
        await engine.write([PROMPT])


async def test_it_serves_the_backend(engine: RemoteEngine) -> None:
    writer = WritingBackend(engine, load_prompts("chat.1"), max_new_tokens=24)
    results = await writer.summarize([item(TEXT), item(OTHER_TEXT)])
    assert [result.error for result in results] == [None, None]
    one = facts(*TEXT.split(". "))
    (whole,) = await writer.compose([one])
    *events, done = [event async for event in writer.stream(one)]
    assert done == GenerationDone(result=whole)
    assert "".join(event.text for event in events if isinstance(event, GenerationText)) == whole.text
