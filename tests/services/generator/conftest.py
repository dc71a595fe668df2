from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from services.generator.backends.extractive import ExtractiveBackend
from services.generator.backends.writing import WritingBackend
from services.generator.prompting import load_prompts
from services.generator.sentence_vectors import SentenceVectors
from tests.services.generator.engines.loading import Bench
from tests.services.generator.samples import JAPANESE, OTHER_TEXT, TEXT, embed_words, ready
from tests.services.generator.scripted import ScriptedEngine
from tests.tiny_models import save_tiny_bart, save_tiny_qwen, save_tiny_t5

MAX_NEW_TOKENS = 24


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_t5(tmp_path_factory.mktemp("t5"), [TEXT, OTHER_TEXT])


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bart(tmp_path_factory.mktemp("bart"), [TEXT, OTHER_TEXT])


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("qwen"), [TEXT, OTHER_TEXT, JAPANESE * 3])


def _writing(kind: str, folder: Path, prompts: str) -> Iterator[WritingBackend]:
    with Bench(kind, folder) as bench:
        yield WritingBackend(bench.load(max_new_tokens=MAX_NEW_TOKENS), load_prompts(prompts), max_new_tokens=MAX_NEW_TOKENS)


@pytest.fixture
def t5(tiny_t5: Path) -> Iterator[WritingBackend]:
    yield from _writing("t5", tiny_t5, "plain.1")


@pytest.fixture
def bart(tiny_bart: Path) -> Iterator[WritingBackend]:
    yield from _writing("bart", tiny_bart, "summarizer.1")


@pytest.fixture(scope="session")
def roomy_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose window holds the prompts, which are many tokens to a tokenizer that knows few words."""
    return save_tiny_qwen(tmp_path_factory.mktemp("roomy-qwen"), [TEXT, OTHER_TEXT], positions=8_192)


@pytest.fixture
def qwen(roomy_qwen: Path) -> Iterator[WritingBackend]:
    yield from _writing("qwen", roomy_qwen, "chat.1")


@pytest.fixture
def extractive() -> ExtractiveBackend:
    return ExtractiveBackend(SentenceVectors(embed_words, 0), 0.7, ready)


@pytest.fixture
def chat() -> WritingBackend:
    return WritingBackend(ScriptedEngine(), load_prompts("chat.1"), max_new_tokens=MAX_NEW_TOKENS)


@pytest.fixture
def plain() -> WritingBackend:
    return WritingBackend(ScriptedEngine(), load_prompts("plain.1"), max_new_tokens=MAX_NEW_TOKENS)
