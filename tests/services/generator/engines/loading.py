"""Engines over tiny models, and what plain transformers writes with the same models."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from services.generator.engines.causal import CausalEngine
from services.generator.engines.engine import Prompt, Read, Written
from services.generator.engines.running import ScheduledEngine
from services.generator.engines.seq2seq import Seq2SeqEngine

MAX_NEW_TOKENS = 40


@dataclass
class Recorder:
    """An Observer that keeps what it is told."""

    reads: list[Read] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)

    def read(self, read: Read, seconds: float) -> None:
        assert seconds > 0
        self.reads.append(read)

    def stepped(self, rows: int, seconds: float) -> None:
        assert seconds > 0
        self.steps.append(rows)

    def ended(self, new_tokens: int) -> None:
        self.ends.append(new_tokens)

    def first_token(self, seconds: float) -> None:
        self.first_tokens.append(seconds)


@dataclass
class Bench:
    """Engines of one kind over one folder; all of them end with the `with`."""

    kind: str
    folder: Path
    recorder: Recorder = field(default_factory=Recorder)
    _engines: list[ScheduledEngine] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            engine.close()
            assert not engine._runner._thread.is_alive()  # type: ignore[attr-defined]

    def load(self, **options: Any) -> ScheduledEngine:
        settings = {
            "name": "tiny",
            "max_new_tokens": MAX_NEW_TOKENS,
            "max_batch_tokens": 4096,
            "max_running": 64,
            "observer": self.recorder,
            **options,
        }
        engine = self._converted(settings) if self.kind == "ctranslate2" else self._in_torch(settings)
        self._engines.append(engine)
        return engine

    def _in_torch(self, settings: dict[str, Any]) -> ScheduledEngine:
        kind = CausalEngine if self.kind == "qwen" else Seq2SeqEngine
        return kind(self.folder, device="cpu", dtype=torch.float32, **{"kv_tokens": 65_536, **settings})

    def _converted(self, settings: dict[str, Any]) -> ScheduledEngine:
        from services.generator.engines.ctranslate2 import Ctranslate2Engine

        # Without rounding it writes what transformers does.
        own = {"cache": self.folder.parent / "converted", "threads": 1, "quantization": "float32", **settings}
        return Ctranslate2Engine(self.folder, **own)

    @cached_property
    def engine(self) -> ScheduledEngine:
        return self.load()

    @cached_property
    def tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(str(self.folder))

    @cached_property
    def _model(self) -> Any:
        auto = AutoModelForCausalLM if self.kind == "qwen" else AutoModelForSeq2SeqLM
        return auto.from_pretrained(str(self.folder)).eval()

    def plain(self, prompt: Prompt) -> tuple[str, int]:
        """Text and number of tokens that `generate` writes for a prompt alone."""
        (ids,) = self.engine._encode([prompt])
        output = self._model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=prompt.max_new_tokens, do_sample=False, num_beams=1
        )[0]
        tokens = output[len(ids) if self.kind == "qwen" else 1 :].tolist()
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip(), len(tokens)

    def fail_when(self, engine: ScheduledEngine, fails: Callable[[torch.Tensor], Exception | None], *, reading: bool = False) -> None:
        """Have the model raise what `fails(ids)` returns, `ids` being `[rows, tokens]` of a pass; `reading`: of those over prompts."""

        def hook(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
            if error := fails(kwargs["decoder_input_ids"] if "decoder_input_ids" in kwargs else kwargs["input_ids"]):
                raise error

        model = engine._runner._decoder._model  # type: ignore[attr-defined]
        (model.get_encoder() if reading and self.kind != "qwen" else model).register_forward_pre_hook(hook, with_kwargs=True)


async def streamed(engine: ScheduledEngine, prompt: Prompt) -> tuple[list[str], Written]:
    """The pieces of a stream, and its end."""
    *pieces, last = [event async for event in engine.stream(prompt)]
    assert isinstance(last, Written)
    return [piece for piece in pieces if isinstance(piece, str)], last


async def until(holds: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    for _ in range(5000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen within 5 s")


def texts(results: Sequence[object]) -> list[str]:
    return [result.text if isinstance(result, Written) else repr(result) for result in results]
