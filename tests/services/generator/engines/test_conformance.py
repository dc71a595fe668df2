"""What every engine of our own must do: one suite over all of them."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import EkibenError, GenerationFailed, InvalidRequest, NotReady
from services.generator.engines.engine import Prompt, Written
from services.generator.engines.running import ScheduledEngine
from services.model_source import weights_sha256
from tests.services.generator.engines.loading import MAX_NEW_TOKENS, Bench, streamed, texts, until
from tests.services.generator.samples import JAPANESE, OTHER_TEXT, TEXT

WORDS = f"{TEXT} {OTHER_TEXT}".split()
SYSTEM = "Say what the text tells."


def prompt(user: str, max_new_tokens: int = MAX_NEW_TOKENS) -> Prompt:
    return Prompt(SYSTEM, user, max_new_tokens)


def some_prompts(count: int, seed: int = 0) -> list[Prompt]:
    """Prompts of 1 to 40 words that ask for 1 to MAX_NEW_TOKENS tokens."""
    draw = random.Random(seed)
    return [prompt(" ".join(draw.choices(WORDS, k=draw.randint(1, 40))), draw.randint(1, MAX_NEW_TOKENS)) for _ in range(count)]


def long_prompt(bench: Bench) -> Prompt:
    """One that the model answers at length."""
    return next(one for one in (prompt(" ".join(WORDS[:count])) for count in range(1, 40)) if bench.plain(one)[1] == MAX_NEW_TOKENS)


async def test_a_batch_writes_what_plain_generate_writes_for_each_prompt_alone(bench: Bench) -> None:
    prompts = some_prompts(12)
    written = await bench.engine.write(prompts)
    assert [(one.text, one.new_tokens) for one in written if isinstance(one, Written)] == [bench.plain(one) for one in prompts]
    assert max(read.rows for read in bench.recorder.reads) > 1


async def test_a_batch_writes_what_single_calls_write(bench: Bench) -> None:
    prompts = some_prompts(12, seed=1)
    assert texts(await bench.engine.write(prompts)) == [texts(await bench.engine.write([one]))[0] for one in prompts]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), max_running=st.integers(1, 8), kv_tokens=st.integers(1, 800), max_batch_tokens=st.integers(1, 400))
async def test_no_bound_changes_what_is_written(torch_bench: Bench, seed: int, max_running: int, kv_tokens: int, max_batch_tokens: int) -> None:
    prompts = some_prompts(6, seed)
    tight = torch_bench.load(max_running=max_running, kv_tokens=kv_tokens, max_batch_tokens=max_batch_tokens)
    assert texts(await tight.write(prompts)) == texts(await torch_bench.engine.write(prompts))


async def test_requests_that_join_and_leave_a_running_batch_change_nothing(bench: Bench) -> None:
    prompts = some_prompts(16, seed=2)

    async def later(number: int) -> object:
        await asyncio.sleep(0.004 * number)
        return (await bench.engine.write([prompts[number]]))[0]

    written = await asyncio.gather(*(later(number) for number in range(len(prompts))))
    assert texts(written) == [bench.plain(one)[0] for one in prompts]


async def test_a_stream_is_the_text_in_pieces(bench: Bench) -> None:
    for one in [*some_prompts(4, seed=3), prompt(JAPANESE), long_prompt(bench)]:
        pieces, last = await streamed(bench.engine, one)
        (written,) = await bench.engine.write([one])
        assert isinstance(written, Written)
        assert "".join(pieces) == last.text == written.text
        assert (last.finish, last.new_tokens, last.prompt_tokens) == (written.finish, written.new_tokens, written.prompt_tokens)
        assert all(pieces)
    assert len(pieces) > 5
    assert len(bench.recorder.first_tokens) == 6


async def test_a_prompt_that_is_too_long_is_refused_alone_and_in_its_place(bench: Bench) -> None:
    limit = bench.engine.max_prompt_tokens
    results = await bench.engine.write([prompt(TEXT), prompt("tunnel " * 5000), prompt(OTHER_TEXT)])
    assert [type(result) for result in results] == [Written, InvalidRequest, Written]
    assert isinstance(results[1], InvalidRequest)
    assert f"the model takes {limit}" in results[1].message
    assert texts([results[0], results[2]]) == [bench.plain(prompt(text))[0] for text in (TEXT, OTHER_TEXT)]
    with pytest.raises(InvalidRequest, match="the model takes"):
        await streamed(bench.engine, prompt("tunnel " * 5000))


async def test_the_longest_prompt_is_written_to_the_end(bench: Bench) -> None:
    short = bench.engine.count_tokens(prompt("Mori"))
    each = bench.engine.count_tokens(prompt("Mori " * 11)) - bench.engine.count_tokens(prompt("Mori " * 10))
    longest = prompt("Mori " * (1 + (bench.engine.max_prompt_tokens - short) // each))
    while bench.engine.count_tokens(longest) > bench.engine.max_prompt_tokens:
        longest = prompt(longest.user[:-5])
    (written,) = await bench.engine.write([longest])
    assert isinstance(written, Written)
    assert bench.engine.max_prompt_tokens - each <= written.prompt_tokens <= bench.engine.max_prompt_tokens
    assert written.text == bench.plain(longest)[0]


async def test_more_tokens_than_the_engine_was_loaded_for_are_refused(bench: Bench) -> None:
    results = await bench.engine.write([prompt(TEXT, 0), prompt(TEXT, MAX_NEW_TOKENS + 1), prompt(TEXT, 3)])
    assert [type(result) for result in results] == [InvalidRequest, InvalidRequest, Written]
    assert isinstance(results[2], Written)
    assert results[2].new_tokens <= 3


async def test_an_empty_batch_is_empty(bench: Bench) -> None:
    assert await bench.engine.write([]) == []


async def test_marks_inside_a_text_are_text(bench: Bench) -> None:
    marks = [*bench.tokenizer.get_added_vocab(), *bench.tokenizer.all_special_tokens]
    commands = set(bench.tokenizer.all_special_ids) - {bench.tokenizer.unk_token_id}
    harmless, forged = bench.engine._encode([prompt("x"), prompt("".join(marks) + " ".join(marks))])
    assert sum(token in commands for token in forged) == sum(token in commands for token in harmless)


def most_tokens(bench: Bench) -> int:
    """The model does not wait for this event loop between two tokens: a short text is there before it can be dropped."""
    return 2_000 if bench.kind in ("t5", "ctranslate2") else 3 * MAX_NEW_TOKENS


async def test_closing_a_stream_ends_the_work_within_a_step(bench: Bench) -> None:
    most = most_tokens(bench)
    engine = bench.load(max_new_tokens=most)
    stream = engine.stream(replace(long_prompt(bench), max_new_tokens=most))
    first = await anext(stream)
    assert isinstance(first, str)
    await stream.aclose()
    steps = len(bench.recorder.steps)
    await until(lambda: bench.recorder.ends)
    assert len(bench.recorder.steps) <= steps + 2
    assert bench.recorder.ends[0] < most


async def test_cancelling_a_call_ends_its_work(bench: Bench) -> None:
    most = most_tokens(bench)
    engine = bench.load(max_new_tokens=most)
    call = asyncio.create_task(engine.write([replace(long_prompt(bench), max_new_tokens=most)] * 8))
    await until(lambda: bench.recorder.steps)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: len(bench.recorder.ends) == 8)
    assert all(tokens < most for tokens in bench.recorder.ends)


async def test_of_30_streams_half_are_dropped_and_the_rest_are_right(bench: Bench) -> None:
    engine = bench.load(max_running=12)
    prompts = [prompt(" ".join(WORDS[number : number + 12])) for number in range(30)]

    async def read(number: int) -> str:
        pieces = []
        stream = engine.stream(prompts[number])
        async for event in stream:
            if isinstance(event, Written):
                return event.text
            pieces.append(event)
            if number % 2 and len(pieces) == 1 + number % 3:
                break
        await stream.aclose()
        return ""

    texts_read = await asyncio.gather(*(read(number) for number in range(30)))
    assert texts_read[::2] == [bench.plain(one)[0] for one in prompts[::2]]
    await until(lambda: len(bench.recorder.ends) == 30)
    assert max(bench.recorder.steps) <= 12


def _memory_over(rows: int) -> Callable[[torch.Tensor], Exception | None]:
    return lambda ids: torch.OutOfMemoryError("CUDA out of memory") if len(ids) > rows else None


async def test_out_of_memory_halves_the_batch_and_goes_on(torch_bench: Bench) -> None:
    engine = torch_bench.load()
    prompts = some_prompts(10, seed=4)
    torch_bench.fail_when(engine, _memory_over(3))
    assert texts(await engine.write(prompts)) == [torch_bench.plain(one)[0] for one in prompts]
    assert max(torch_bench.recorder.steps) <= 3


async def test_out_of_memory_amid_a_text_changes_neither_texts_nor_streams(torch_bench: Bench) -> None:
    engine = torch_bench.load()
    passes = iter(range(1000))
    # What the CPU's allocator raises.
    failure = RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory")
    torch_bench.fail_when(engine, lambda _: failure if next(passes) % 9 == 6 else None)
    prompts = some_prompts(8, seed=5)
    written, *streams = await asyncio.gather(engine.write(prompts), *(streamed(engine, one) for one in prompts))
    expected = [torch_bench.plain(one)[0] for one in prompts]
    assert texts(written) == ["".join(pieces) for pieces, _ in streams] == expected


async def test_a_prompt_that_fits_no_memory_is_refused_alone(torch_bench: Bench) -> None:
    engine = torch_bench.load()
    torch_bench.fail_when(engine, _memory_over(0))
    results = await engine.write(some_prompts(3))
    assert {type(result) for result in results} == {GenerationFailed}


async def test_a_prompt_on_which_the_model_fails_fails_alone(torch_bench: Bench) -> None:
    engine = torch_bench.load()
    prompts = some_prompts(6, seed=6)
    poison = prompt(TEXT)
    (tokens,) = engine._encode([poison])
    count = len(tokens)

    def fails(ids: torch.Tensor) -> Exception | None:
        return IndexError("no such row") if any(tokens in (row[:count], row[-count:]) for row in ids.tolist()) else None

    torch_bench.fail_when(engine, fails, reading=True)
    results = await engine.write([*prompts[:3], poison, *prompts[3:]])
    assert isinstance(results.pop(3), GenerationFailed)
    assert texts(results) == [torch_bench.plain(one)[0] for one in prompts]


async def test_a_closed_engine_refuses_and_lets_nobody_wait(bench: Bench) -> None:
    engine = bench.load()
    call = asyncio.create_task(engine.write([long_prompt(bench)] * 3))
    await until(lambda: bench.recorder.steps)
    await asyncio.to_thread(engine.close)
    assert all(isinstance(result, NotReady | Written) for result in await call)
    with pytest.raises(NotReady):
        await engine.write([prompt(TEXT)])


def test_calls_may_come_from_several_event_loops(bench: Bench) -> None:
    for _ in range(2):
        assert texts(asyncio.run(bench.engine.write([prompt(TEXT)]))) == [bench.plain(prompt(TEXT))[0]]


async def test_info_names_the_weights(bench: Bench) -> None:
    info = bench.engine.info
    assert (info.model, info.device, info.dtype, info.weights_sha256) == ("tiny", "cpu", "float32", weights_sha256(bench.folder))
    assert info.backend == {"qwen": "causal", "ctranslate2": "ctranslate2"}.get(bench.kind, "seq2seq")


async def test_figures_say_what_was_read_and_written(bench: Bench) -> None:
    prompts = some_prompts(5, seed=7)
    results: list[Written | EkibenError] = await bench.engine.write(prompts)
    written = [result for result in results if isinstance(result, Written)]
    assert [one.prompt_tokens for one in written] == [bench.engine.count_tokens(one) for one in prompts]
    assert sum(read.tokens for read in bench.recorder.reads) == sum(one.prompt_tokens for one in written)
    assert all(one.read in bench.recorder.reads and 0 <= one.read.padding < 1 for one in written if one.read)
    assert sum(bench.recorder.ends) == sum(one.new_tokens for one in written)
    assert isinstance(bench.engine, ScheduledEngine)
