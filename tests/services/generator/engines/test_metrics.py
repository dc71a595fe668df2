from pathlib import Path

import pytest
import torch
from prometheus_client import REGISTRY

from services.generator.engines.engine import Prompt, Read, Written
from services.generator.engines.metrics import EngineMetrics
from tests.services.generator.engines.loading import Bench, streamed
from tests.services.generator.samples import OTHER_TEXT, TEXT

READING = {"service": "generator", "operation": "read"}


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"service": "generator", **labels}) or 0.0


def figures() -> list[float]:
    counts = [value(f"ekiben_batch_{name}", operation="read") for name in ("items_sum", "tokens_sum", "padding_ratio_count", "compute_seconds_count")]
    return [*counts, value("ekiben_written_tokens_total"), value("ekiben_running_sequences_sum"), value("ekiben_model_first_token_seconds_count")]


async def test_metrics_count_what_an_engine_reads_and_writes(tiny_qwen: Path) -> None:
    before = figures()
    with Bench("qwen", tiny_qwen) as bench:
        engine = bench.load(observer=EngineMetrics())
        written = [one for one in await engine.write([Prompt("", TEXT, 9), Prompt("", OTHER_TEXT, 5)]) if isinstance(one, Written)]
        written.append((await streamed(engine, Prompt("", TEXT, 4)))[1])
        items, tokens, paddings, passes, new_tokens, rows, first = (after - was for after, was in zip(figures(), before, strict=True))
    assert (items, tokens) == (3, sum(one.prompt_tokens for one in written))
    assert 2 <= paddings == passes <= 3
    assert new_tokens == sum(one.new_tokens for one in written)
    assert rows == new_tokens - 3, "the first token of each comes with the reading"
    assert first == 1


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices whose memory was asked for; each look finds a byte more."""
    asked: list[str] = []

    def allocated(device: str) -> int:
        asked.append(device)
        return 1000 + len(asked)

    monkeypatch.setattr(torch.cuda, "memory_allocated", allocated)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 5000)
    return asked


def test_memory_of_a_gpu_is_told_after_a_pass_at_most_once_a_second(looks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("services.generator.engines.metrics.time.monotonic", lambda: now)
    metrics = EngineMetrics("cuda:1")
    metrics.read(Read(1, 9, 9), 0.1)
    metrics.stepped(1, 0.1)
    assert looks == ["cuda:1"]
    now += 1.5
    metrics.stepped(1, 0.1)
    assert looks == ["cuda:1"] * 2
    states = [value("ekiben_gpu_memory_bytes", device="cuda:1", state=state) for state in ("allocated", "reserved")]
    assert states == [1002, 5000]


def test_without_a_gpu_nobody_asks_for_its_memory(looks: list[str]) -> None:
    for device in ("cpu", "mps"):
        EngineMetrics(device).stepped(1, 0.1)
    assert looks == []
