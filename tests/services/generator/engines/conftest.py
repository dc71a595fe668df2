from collections.abc import Iterator

import pytest

from tests.services.generator.engines.loading import Bench


@pytest.fixture(params=["t5", "bart", "qwen", "ctranslate2"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Each engine in turn, over a tiny model of its kind."""
    if request.param == "ctranslate2":
        pytest.importorskip("ctranslate2")
    folder = "tiny_t5" if request.param == "ctranslate2" else f"tiny_{request.param}"
    with Bench(request.param, request.getfixturevalue(folder)) as bench:
        yield bench


@pytest.fixture(params=["t5", "bart", "qwen"])
def torch_bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Each engine that runs its model through torch, and joins and parts rows itself."""
    with Bench(request.param, request.getfixturevalue(f"tiny_{request.param}")) as bench:
        yield bench
