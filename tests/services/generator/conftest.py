from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from services.generator.backends.extractive import ExtractiveBackend
from services.generator.backends.seq2seq import Seq2SeqBackend
from services.generator.backends.writing import WritingBackend
from services.generator.prompting import load_prompts
from services.generator.sentence_vectors import SentenceVectors
from tests.services.generator.samples import OTHER_TEXT, TEXT, embed_words
from tests.services.generator.scripted import ScriptedEngine
from tests.tiny_models import save_tiny_bart, save_tiny_t5

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


def load(folder: Path, *, max_batch_tokens: int = 4096, max_new_tokens: int = MAX_NEW_TOKENS) -> Seq2SeqBackend:
    return Seq2SeqBackend(folder, name="tiny", device="cpu", dtype=torch.float32, max_batch_tokens=max_batch_tokens, max_new_tokens=max_new_tokens)


@pytest.fixture(scope="session")
def t5(tiny_t5: Path) -> Seq2SeqBackend:
    return load(tiny_t5)


@pytest.fixture(scope="session")
def bart(tiny_bart: Path) -> Seq2SeqBackend:
    return load(tiny_bart)


@pytest.fixture
def extractive() -> ExtractiveBackend:
    return ExtractiveBackend(SentenceVectors(embed_words, 0), mmr_lambda=0.7)


@pytest.fixture
def chat() -> WritingBackend:
    return WritingBackend(ScriptedEngine(), load_prompts("chat.1"), max_new_tokens=MAX_NEW_TOKENS)


@pytest.fixture
def plain() -> WritingBackend:
    return WritingBackend(ScriptedEngine(), load_prompts("plain.1"), max_new_tokens=MAX_NEW_TOKENS)
