"""`kill -9` of all services, and of the command line, at random moments: what was acknowledged is there once, with its text."""

import random
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.settings import load_settings
from services.retriever.engine import RetrievalEngine
from tests.faults.conftest import tally
from tests.faults.siege import Corpus, Siege
from tests.faults.tiny_encoder import save_tiny_encoder
from tests.servers import Server, ekiben

SEED = 7
LONGEST_DELAY_S = 4.0
DOCUMENTS = 300
ACTIONS = ("add", "ingest", "delete", "sync", "upload")
COMMANDS = ("ingest", "sync")
MANY_DOCUMENTS = 900
MOST_ON_THE_WAY = 3 * 64
SHORT = (1, 1)
LONG = pytest.param((25, 10), marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(DOCUMENTS)


@pytest.fixture(scope="module")
def environment(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small encoder, and a snapshot of the vector index every few documents."""
    model = save_tiny_encoder(tmp_path_factory.mktemp("model"), corpus.paragraphs)
    return {"EKIBEN_EMBEDDER__MODEL": str(model), "EKIBEN_RETRIEVER__COMPACT_AFTER": "50"}


def _verify(data: Path) -> tuple[str, ...]:
    engine = RetrievalEngine.open(load_settings({"retriever": {"data_dir": str(data)}}).retriever)
    try:
        return engine.verify()
    finally:
        engine.close()


@pytest.mark.parametrize("kills", [SHORT, LONG])
def test_kills_of_server_and_command_lose_and_repeat_nothing(
    kills: tuple[int, int], corpus: Corpus, environment: dict[str, str], tmp_path: Path
) -> None:
    server_kills, command_kills = kills
    siege = Siege(corpus, tmp_path, random.Random(SEED))
    order = [ACTIONS[number % len(ACTIONS)] for number in range(server_kills)]
    for number, action in enumerate(order):
        with ekiben(tmp_path, **environment) as server:
            if number == 0:
                siege.ingest(server)
            assert list(siege.faults(server)) == []
            if number < command_kills:
                delay_s = siege.random.uniform(0.5, LONGEST_DELAY_S)
                killed = siege.kill_command(server, getattr(siege, COMMANDS[number % 2]), delay_s=delay_s)
                tally("services, command", COMMANDS[number % 2], int(killed))
                assert list(siege.faults(server)) == []
            siege.kill_server(server, getattr(siege, action), siege.random.uniform(0, LONGEST_DELAY_S))
            tally("services, server", action, 1)
        assert _verify(server.data) == ()
    with ekiben(tmp_path, **environment) as server:
        assert list(siege.faults(server)) == []
    assert siege.ledger.acknowledged > DOCUMENTS // 3


@pytest.mark.slow
def test_an_ingestion_that_was_killed_and_is_run_again_embeds_only_what_was_on_its_way_twice(environment: dict[str, str], tmp_path: Path) -> None:
    siege = Siege(Corpus(MANY_DOCUMENTS), tmp_path, random.Random(SEED))
    with ekiben(tmp_path, **environment) as server:
        siege.kill_command(server, siege.ingest_all, until=lambda: _count(server, "documents") >= MANY_DOCUMENTS // 3)
        chunks = _count(server, "chunks")
        assert _count(server, "documents") == MANY_DOCUMENTS
        assert chunks <= _embedded(server) <= chunks + MOST_ON_THE_WAY


def _count(server: Server, what: str) -> int:
    return int(httpx.get(f"{server.url}/v1/status", timeout=30.0).json()["store"][what])


def _embedded(server: Server) -> int:
    """How many texts the Embedder has embedded."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics", timeout=30.0).text)
    samples = [sample for family in families for sample in family.samples if sample.name == "ekiben_batch_items_sum"]
    return int(sum(sample.value for sample in samples if sample.labels["service"] == "embedder"))
