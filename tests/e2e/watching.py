"""What the services' metrics say about the work that a language model does."""

import re
import time
from collections.abc import Callable

import httpx

from tests.servers import Server

WITHIN_S = 60.0


def written(server: Server) -> tuple[float, float]:
    """Tokens of the texts that have ended so far, and steps of the model."""
    metrics = httpx.get(f"{server.url}/metrics", timeout=WITHIN_S).text
    (tokens,) = re.findall(r'^ekiben_written_tokens_total\{service="generator"\} (\S+)$', metrics, re.MULTILINE)
    (steps,) = re.findall(r'^ekiben_step_seconds_count\{service="generator"\} (\S+)$', metrics, re.MULTILINE)
    return float(tokens), float(steps)


def in_work(server: Server, endpoint: str) -> int:
    """Requests that the Generator is working on."""
    metrics = httpx.get(f"{server.url}/metrics", timeout=WITHIN_S).text
    found = re.findall(rf'^bentoml_service_request_in_progress\{{endpoint="{endpoint}".*runner_name="Generator".*\}} (\S+)$', metrics, re.MULTILINE)
    return int(sum(map(float, found)))


def wait_until(holds: Callable[[], bool], within_s: float = WITHIN_S) -> float:
    """Seconds until it holds."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < within_s
        time.sleep(0.02)
    return time.monotonic() - started
