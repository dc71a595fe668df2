from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.generator.engines.loading import Bench
from tests.services.generator.samples import OTHER_TEXT, TEXT
from tests.tiny_models import save_tiny_qwen

JAPANESE = "駅弁🍱は鉄道駅で売られている弁当。"


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("qwen"), [TEXT, OTHER_TEXT, JAPANESE * 3])


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
