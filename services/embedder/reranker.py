"""The reranker: a cross-encoder of sentence-transformers that reads question and passage together, fed with packed batches of tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder
from transformers import BatchEncoding
from transformers.utils.logging import disable_progress_bar

from core.errors import InvalidSettings, ModelUnavailable
from core.schemas import RerankerInfo, RerankItem
from services.embedder.encoder import BatchCost
from services.model_source import weights_sha256
from services.packing import pack_by_tokens

# For a model that states no window.
_USUAL_WINDOW = 512
_LONGEST_WINDOW = 1 << 20
_QUESTION_SHARE = 2
_OVERLAP_SHARE = 8

Logits = npt.NDArray[np.float64]


class Scored(NamedTuple):
    """A score in [0, 1], or None where the model gave no finite number; the tokens of the pair and the windows these took."""

    score: float | None
    tokens: int
    windows: int


class CrossEncoderReranker:
    """Scores pairs of a question and a passage. Not safe for concurrent calls: one batch at a time is what a device is best at."""

    def __init__(self, folder: Path, *, name: str, device: str, dtype: torch.dtype, max_batch_tokens: int) -> None:
        """Load the model. Raises ModelUnavailable where that fails, InvalidSettings for one whose output is not the score of a pair."""
        disable_progress_bar()
        try:
            self._model = CrossEncoder(str(folder), device=device, model_kwargs={"dtype": dtype}, local_files_only=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelUnavailable(f"the reranker {name} can't be loaded: {error}") from error
        _require_scores_of_pairs(self._model, name)
        self._model.eval()
        self._tokenizer = self._model.tokenizer
        self._prompt: str = self._model.prompts.get(self._model.default_prompt_name) or ""
        self._device = device
        self._max_batch_tokens = max_batch_tokens
        stated = int(self._model.max_seq_length or _LONGEST_WINDOW)
        self._window = stated if stated < _LONGEST_WINDOW else _USUAL_WINDOW
        self.info = RerankerInfo(
            model=name,
            max_tokens=self._window,
            weights_sha256=weights_sha256(folder),
            device=device,
            dtype=str(dtype).removeprefix("torch."),
        )

    def score(self, items: Sequence[RerankItem]) -> tuple[list[Scored], BatchCost]:
        """How well each passage answers its question, in order: the sigmoid of the model's logit, whatever activation the model is saved with.

        A passage that is too long is scored in overlapping windows, and the best one counts (MaxP of Dai and Callan, "Deeper Text Understanding
        for IR with Contextual Neural Language Modeling", 2019). A question longer than half the window is cut there.
        """
        if not items:
            return [], BatchCost(tokens=0, padded_tokens=0)
        questions = {query: self._cut(self._prompt + query) for query in {item.query for item in items}}
        windows = self._tokenizer(
            [questions[item.query] for item in items],
            [item.text for item in items],
            truncation="only_second",
            max_length=self._window,
            stride=self._window // _OVERLAP_SHARE,
            return_overflowing_tokens=True,
        )
        lengths = [len(ids) for ids in windows["input_ids"]]
        logits, cost = self._forward(windows, lengths)
        return _best(logits, lengths, windows["overflow_to_sample_mapping"], len(items)), cost

    def _cut(self, question: str) -> str:
        """The beginning of `question` that leaves half of the window to the passage."""
        limit = self._window // _QUESTION_SHARE
        encoded = self._tokenizer(question, add_special_tokens=False, truncation=True, max_length=limit, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        return question if len(offsets) < limit else question[: offsets[-1][1]]

    @torch.inference_mode()
    def _forward(self, windows: BatchEncoding, lengths: Sequence[int]) -> tuple[Logits, BatchCost]:
        logits = np.empty(len(lengths), dtype=np.float64)
        padded = 0
        for group in pack_by_tokens(lengths, self._max_batch_tokens):
            features = self._features(windows, group)
            padded += features["input_ids"].numel()
            logits[group] = self._model(features)["scores"].float().flatten().cpu().numpy()
        return logits, BatchCost(tokens=sum(lengths), padded_tokens=padded)

    def _features(self, windows: BatchEncoding, group: Sequence[int]) -> dict[str, torch.Tensor]:
        """What the model takes of the windows in `group`, int64 `[windows, longest]`, padded at the end."""
        fillers = {"input_ids": self._tokenizer.pad_token_id, "token_type_ids": self._tokenizer.pad_token_type_id, "attention_mask": 0}
        return {
            name: torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(windows[name][index]) for index in group], batch_first=True, padding_value=filler
            ).to(self._device)
            for name, filler in fillers.items()
            if name in windows
        }  # fmt: skip


def _best(logits: Logits, lengths: Sequence[int], owners: Sequence[int], count: int) -> list[Scored]:
    """The best window of each of `count` pairs. What is not finite in one window makes the pair's score None."""
    highest = np.full(count, -np.inf)
    with np.errstate(invalid="ignore"):
        np.maximum.at(highest, owners, logits)
    tokens = np.bincount(owners, weights=lengths, minlength=count)
    windows = np.bincount(owners, minlength=count)
    return [
        Scored(_sigmoid(float(logit)) if np.isfinite(logit) else None, int(length), int(pieces))
        for logit, length, pieces in zip(highest, tokens, windows, strict=True)
    ]


def _sigmoid(logit: float) -> float:
    # In float64, because float32 can't tell logits above 17 apart; written so that nothing overflows.
    return float(np.exp(-np.logaddexp(0.0, -logit)))


def _require_scores_of_pairs(model: CrossEncoder, name: str) -> None:
    """Raise InvalidSettings for a model that would load and score nonsense."""
    if model.num_labels != 1:
        raise InvalidSettings(f"embedder.reranker: {name} has {model.num_labels} labels; a reranker has one, how well a passage answers")
    architectures = getattr(model[0].config, "architectures", None) or ["unknown"]
    if not architectures[0].endswith("ForSequenceClassification"):
        # Its scores would come from random weights, or from a chat template.
        raise InvalidSettings(
            f"embedder.reranker: {name} is a {architectures[0]}; a cross-encoder has an architecture that ends in ForSequenceClassification"
        )
    if "message" in model[0].modality_config or model.tokenizer.pad_token_id is None:
        raise InvalidSettings(f"embedder.reranker: {name} asks for a chat template, or has no padding token; such models don't run here")
