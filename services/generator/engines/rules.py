"""Greedy choice under the rules of a model's generation settings, each row under its own, whatever rows come with it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    GenerationConfig,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from services.generator.engines.requests import Request


class Rules:
    """What `generate(do_sample=False, num_beams=1)` makes of a model's settings; those of sampling and of beams have no meaning here.

    `history` gives the tokens that the rules look at: prompt and text for a decoder, start and text for the decoder of an encoder-decoder.
    """

    def __init__(self, config: GenerationConfig, stop_tokens: frozenset[int], history: Callable[[Request], Sequence[int]], device: str) -> None:
        self._config = config
        self._stop = torch.tensor(sorted(stop_tokens), device=device)
        self._history = history
        self._device = device
        self._together = not self._rules_of_a_row(1, 2)
        self._looks_back = bool(config.repetition_penalty) and config.repetition_penalty != 1.0
        self._shared = self._shared_rules()

    def choose(self, requests: Sequence[Request], scores: torch.Tensor) -> list[int]:
        """The next token of each request, by `scores` float `[rows, vocabulary]` of its last position."""
        scores = scores.float()
        if self._together:
            scores = self._shared(self._padded_histories(requests), scores)
        else:
            scores = torch.cat([self._row(request, scores[row : row + 1]) for row, request in enumerate(requests)])
        tokens: list[int] = scores.argmax(dim=-1).tolist()
        return tokens

    def _padded_histories(self, requests: Sequence[Request]) -> torch.Tensor:
        if not self._looks_back:
            return torch.empty(len(requests), 0, dtype=torch.long)
        # The penalty counts a token once, however often it stands there: a row may be padded with a token of its own.
        histories = [self._history(request) for request in requests]
        longest = max(map(len, histories))
        return torch.tensor([[ids[0]] * (longest - len(ids)) + [*ids] for ids in histories], device=self._device)

    def _row(self, request: Request, scores: torch.Tensor) -> torch.Tensor:
        history = self._history(request)
        started = len(history) - len(request.written)
        rules = LogitsProcessorList([*self._rules_of_a_row(started, started + request.max_new_tokens), *self._shared])
        result: torch.Tensor = rules(torch.tensor([list(history)], device=self._device), scores)
        return result

    def _shared_rules(self) -> LogitsProcessorList:
        rules: list[Any] = []
        if self._looks_back:
            rules.append(RepetitionPenaltyLogitsProcessor(self._config.repetition_penalty))
        if self._config.suppress_tokens is not None:
            rules.append(SuppressTokensLogitsProcessor(self._config.suppress_tokens, device=self._device))
        return LogitsProcessorList(rules)

    def _rules_of_a_row(self, started: int, max_length: int) -> list[Any]:
        """The rules that count: n-grams and lengths. `started` is the length of the history before the first token was written."""
        config, rules = self._config, []
        if config.no_repeat_ngram_size:
            rules.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
        if config.bad_words_ids:
            rules.append(NoBadWordsLogitsProcessor(config.bad_words_ids, self._stop))
        if config.min_length:
            rules.append(MinLengthLogitsProcessor(config.min_length, self._stop, device=self._device))
        if config.min_new_tokens:
            rules.append(MinNewTokensLengthLogitsProcessor(started, config.min_new_tokens, self._stop, device=self._device))
        if config.forced_bos_token_id is not None:
            rules.append(ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
        if config.forced_eos_token_id is not None:
            rules.append(ForcedEOSTokenLogitsProcessor(max_length, config.forced_eos_token_id, device=self._device))
        if config.begin_suppress_tokens:
            begin = started if started > 1 or config.forced_bos_token_id is None else started + 1
            rules.append(SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin, device=self._device))
        return rules
