from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from core.schemas import EmbedItem
from services.embedder.encoder import SentenceEncoder
from services.embedder.engines.engine import without_pause
from services.embedder.engines.packed import PackedBert
from tests.tiny_models import save_tiny_encoder

TEXT = "the tunnel was opened in 1988 an ekiben is sold at railway stations squid rice bridge steam engine cat"
TEXTS = ("the tunnel", "an ekiben is sold at railway stations", "", "squid " * 30, "cat", "rice bridge")


def _encode(folder: Path, texts: Sequence[str]) -> tuple[str, np.ndarray]:
    encoder = SentenceEncoder(folder, name="tiny", device="cpu", dtype=torch.float32, max_batch_tokens=64)
    return encoder.engine.name, np.stack([one.vector for one in encoder.encode([EmbedItem(text=text) for text in texts])[0]])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta"])
def test_models_of_the_family_have_the_vectors_of_sentence_transformers(kind: str, pooling: str, tmp_path: Path) -> None:
    folder = save_tiny_encoder(tmp_path, [TEXT], kind=kind, pooling=pooling)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS), normalize_embeddings=True, show_progress_bar=False)
    name, ours = _encode(folder, TEXTS)
    assert name == "packed"
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("kind", "pooling"), [("mpnet", "mean"), ("bert", "max"), ("bert", "weightedmean")])
def test_any_other_model_goes_the_ordinary_way(kind: str, pooling: str, tmp_path: Path) -> None:
    folder = save_tiny_encoder(tmp_path, [TEXT], kind=kind, pooling=pooling)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS), normalize_embeddings=True, show_progress_bar=False)
    name, ours = _encode(folder, TEXTS)
    assert name == "padded"
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_model_with_a_layer_behind_its_pooling_goes_the_ordinary_way(tmp_path: Path) -> None:
    folder = save_tiny_encoder(tmp_path, [TEXT])
    transformer = Transformer(str(folder))
    model = SentenceTransformer(modules=[transformer, Pooling(32), Dense(32, 8)], device="cpu")
    assert not PackedBert.can_run(model, "cpu")


def test_other_activations_and_devices_go_the_ordinary_way(tmp_path: Path) -> None:
    relu = SentenceTransformer(str(save_tiny_encoder(tmp_path / "relu", [TEXT], activation="relu")), device="cpu")
    assert not PackedBert.can_run(relu, "cpu")
    gelu = SentenceTransformer(str(save_tiny_encoder(tmp_path / "gelu", [TEXT])), device="cpu")
    assert PackedBert.can_run(gelu, "cpu")
    assert not PackedBert.can_run(gelu, "cuda:0")


def test_it_pauses_between_layers(tmp_path: Path) -> None:
    model = SentenceTransformer(str(save_tiny_encoder(tmp_path, [TEXT])), device="cpu")
    engine = PackedBert(model, torch.float32, 64)
    pauses: list[int] = []
    interrupted, _ = engine.forward([[1, 5, 2], [1, 2]], lambda: pauses.append(len(engine.forward([[1, 6, 7, 2]], without_pause)[0])))
    assert pauses == [1, 1]
    np.testing.assert_array_equal(interrupted, engine.forward([[1, 5, 2], [1, 2]], without_pause)[0])
