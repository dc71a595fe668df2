"""Many clients at once: no request fails, and requests share batches."""

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.servers import Server

CLIENTS = 40
NONE = {"sum": 0.0, "count": 0.0}
REQUESTS = 320
PASSAGES = 2
# Few, so that the test is about serving and not about how fast a CPU embeds.
QUESTIONS = 40
_SAMPLE = re.compile(r'^ekiben_batch_items_(sum|count)\{operation="(\w+)",service="(\w+)"\} ([\d.e+]+)$', re.MULTILINE)


@pytest.mark.timeout(400)
def test_320_questions_of_40_clients_all_succeed_and_share_batches(server: Server, questions: list[dict]):
    before = _batches(server)

    def ask(number: int) -> int:
        body = {"question": questions[number % QUESTIONS]["question"], "top_k": PASSAGES}
        return http.post(f"{server.url}/v1/answer", json=body).status_code

    with httpx.Client(timeout=120, limits=httpx.Limits(max_connections=CLIENTS)) as http, ThreadPoolExecutor(CLIENTS) as pool:
        statuses = list(pool.map(ask, range(REQUESTS)))
    assert statuses == [200] * REQUESTS
    after = _batches(server)
    # More than one question has: its passages here, itself there. (Other tests may have left the sentences in the cache.)
    for operation, shared in ((("generator", "summarize"), 2 * PASSAGES), (("embedder", "embed"), 1.5)):
        items = after[operation]["sum"] - before.get(operation, NONE)["sum"]
        batches = after[operation]["count"] - before.get(operation, NONE)["count"]
        # The Embedder remembers the questions that it has embedded.
        assert items >= (QUESTIONS if operation[0] == "embedder" else REQUESTS)
        assert items / batches > shared


def _batches(server: Server) -> dict[tuple[str, str], dict[str, float]]:
    """Sum and count of items a batch, by service and operation."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for kind, operation, service, value in _SAMPLE.findall(httpx.get(f"{server.url}/metrics").text):
        found.setdefault((service, operation), {})[kind] = float(value)
    return found
