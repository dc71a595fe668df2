from pathlib import Path

from prometheus_client import REGISTRY

from services.generator.engines.engine import Prompt, Written
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
