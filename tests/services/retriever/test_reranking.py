import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CollectionNotFound, DeadlineExceeded, DependencyUnavailable, EkibenError, Internal, NotReady
from core.schemas import ChannelScores, Passage, RerankerInfo, RerankItem, RerankResult, SearchRequest, SearchResponse
from core.settings import load_settings
from services.retriever.reranking import KNOWN_FOR_S, EmbedderReranks, Reranking

INFO = RerankerInfo(model="tiny", max_tokens=64, weights_sha256="0" * 64, device="cpu", dtype="float32")
CANDIDATES = 8


def _passage(number: int, *, title: str = "", headings: tuple[str, ...] = ()) -> Passage:
    return Passage(
        document_id=f"doc-{number}",
        chunk_id=f"doc-{number}#0",
        collection="default",
        title=title,
        start=0,
        end=6,
        text=f"text {number}",
        headings=headings,
        score=20 - number,
        scores=ChannelScores(dense=0.5, lexical=20 - number),
    )


class Finder:
    """A search that finds `count` passages, the first the best."""

    def __init__(self, count: int = 20, **response: Any) -> None:
        self.requests: list[SearchRequest] = []
        self._passages = [_passage(number) for number in range(count)]
        self._response = {"index_version": 7, "timings_ms": {"embed": 1.0}} | response

    async def __call__(self, request: SearchRequest) -> SearchResponse:
        self.requests.append(request)
        return SearchResponse(passages=tuple(self._passages[: request.top_k]), **self._response)


class FakeReranks:
    """Scores passages by the function; by default the later one found, the better."""

    def __init__(self, score: Callable[[int], RerankResult] | EkibenError | None = None) -> None:
        self.info: RerankerInfo | EkibenError | None = INFO
        self.asked = 0
        self.items: list[RerankItem] = []
        self._score = score or (lambda number: RerankResult(score=number / 100))

    async def reranker(self) -> RerankerInfo | None:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.info, EkibenError):
            raise self.info
        return self.info

    async def rerank(self, items: Sequence[RerankItem]) -> Sequence[RerankResult]:
        self.items += items
        if isinstance(self._score, EkibenError):
            raise self._score
        return [self._score(int(item.text.split()[-1])) for item in items]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _reranking(reranks: FakeReranks, clock: Clock | None = None) -> Reranking:
    return Reranking(reranks, CANDIDATES, clock or Clock())


def _numbers(response: SearchResponse) -> list[int]:
    return [int(passage.document_id.removeprefix("doc-")) for passage in response.passages]


def _failed(number: int) -> RerankResult:
    return RerankResult(error=Internal("no finite number").info())


# -- order ------------------------------------------------------------------------------------------------------------------------


async def test_of_more_candidates_than_wanted_the_best_by_the_reranker_are_kept_in_its_order() -> None:
    finder = Finder()
    response = await _reranking(FakeReranks()).search(SearchRequest(query="x", top_k=3), finder)
    assert [request.top_k for request in finder.requests] == [CANDIDATES]
    assert _numbers(response) == [7, 6, 5]
    assert [passage.score for passage in response.passages] == [0.07, 0.06, 0.05]
    assert [passage.scores for passage in response.passages] == [ChannelScores(dense=0.5, lexical=20 - n, rerank=n / 100) for n in (7, 6, 5)]
    assert (response.degraded, response.notes, response.index_version) == (False, (), 7)
    assert response.timings_ms.keys() == {"embed", "rerank"}


async def test_never_fewer_candidates_than_passages_wanted() -> None:
    response = await _reranking(FakeReranks()).search(SearchRequest(query="x", top_k=15), Finder())
    assert _numbers(response) == list(range(15))[::-1]


@given(scores=st.lists(st.floats(0, 1), min_size=CANDIDATES, max_size=CANDIDATES), top_k=st.integers(1, CANDIDATES))
async def test_passages_are_ordered_by_score_and_those_with_equal_ones_as_found(scores: list[float], top_k: int) -> None:
    response = await _reranking(FakeReranks(lambda number: RerankResult(score=scores[number]))).search(
        SearchRequest(query="x", top_k=top_k), Finder()
    )
    assert _numbers(response) == sorted(range(CANDIDATES), key=lambda number: (-scores[number], number))[:top_k]
    assert [passage.score for passage in response.passages] == sorted(scores, reverse=True)[:top_k]


async def test_the_question_is_read_with_title_section_and_text_of_each_passage() -> None:
    reranks = FakeReranks()

    async def find(_: SearchRequest) -> SearchResponse:
        return SearchResponse(passages=(_passage(0), _passage(1, title="T"), _passage(2, title="T", headings=("T", "A", "B"))))

    await _reranking(reranks).search(SearchRequest(query="the question"), find)
    assert [item.text for item in reranks.items] == ["text 0", "T\ntext 1", "T > A > B\ntext 2"]
    assert {item.query for item in reranks.items} == {"the question"}


async def test_nothing_found_is_nothing_to_score() -> None:
    reranks = FakeReranks()
    response = await _reranking(reranks).search(SearchRequest(query="x"), Finder(count=0))
    assert (response.passages, response.degraded, reranks.items) == ((), False, [])


# -- without a reranker -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
async def test_a_request_can_switch_it_off_and_is_then_passed_on_as_it_is(mode: str) -> None:
    reranks, finder = FakeReranks(), Finder()
    request = SearchRequest.model_validate({"query": "x", "top_k": 3, "mode": mode, "rerank": False})
    response = await _reranking(reranks).search(request, finder)
    assert (_numbers(response), finder.requests, reranks.items, reranks.asked) == ([0, 1, 2], [request], [], 0)
    assert response.passages[0].scores.rerank is None


async def test_without_a_reranker_a_search_is_passed_on_as_it_is() -> None:
    reranks, finder = FakeReranks(), Finder()
    reranks.info = None
    request = SearchRequest(query="x", top_k=3)
    assert await _reranking(reranks).search(request, finder) == await finder(request)
    assert finder.requests[0] is request


async def test_many_searches_at_once_ask_once_which_reranker_runs_and_later_ones_again() -> None:
    reranks, clock = FakeReranks(), Clock()
    reranking = _reranking(reranks, clock)
    responses = await asyncio.gather(*(reranking.search(SearchRequest(query="x"), Finder()) for _ in range(5)))
    assert reranks.asked == 1
    assert [_numbers(response)[0] for response in responses] == [7] * 5
    reranks.info = None
    assert await reranking.reranker() == INFO
    clock.now += KNOWN_FOR_S
    assert await reranking.reranker() is None
    assert reranks.asked == 2


async def test_a_dead_embedder_is_taken_to_run_what_it_ran_and_not_asked_at_every_search() -> None:
    reranks, clock = FakeReranks(), Clock()
    reranking = _reranking(reranks, clock)
    reranks.info = DependencyUnavailable("gone")
    assert await reranking.reranker() is None
    reranks.info = INFO
    clock.now += KNOWN_FOR_S
    assert await reranking.reranker() == INFO
    reranks.info = DependencyUnavailable("gone")
    clock.now += KNOWN_FOR_S
    assert [await reranking.reranker() for _ in range(3)] == [INFO] * 3
    assert reranks.asked == 3


async def test_readiness_hears_that_the_reranker_is_not_known() -> None:
    reranks = FakeReranks()
    reranks.info = DependencyUnavailable("gone")
    with pytest.raises(DependencyUnavailable):
        await _reranking(reranks).ask()


# -- failures ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [DependencyUnavailable("it is gone"), DeadlineExceeded("it is late"), Internal("it is broken")], ids=repr)
async def test_a_failing_reranker_leaves_the_order_found_and_says_so(failure: EkibenError) -> None:
    response = await _reranking(FakeReranks(failure)).search(SearchRequest(query="x", top_k=3), Finder())
    assert (_numbers(response), response.degraded, response.notes) == ([0, 1, 2], True, (f"not reranked: {failure.message}",))
    assert response.passages == tuple(_passage(number) for number in range(3))


async def test_a_passage_without_a_score_stands_last_and_the_others_are_ordered() -> None:
    reranks = FakeReranks(lambda number: _failed(number) if number in (2, 7) else RerankResult(score=number / 100))
    response = await _reranking(reranks).search(SearchRequest(query="x", top_k=8), Finder())
    assert _numbers(response) == [6, 5, 4, 3, 1, 0, 2, 7]
    assert [(passage.score, passage.scores.rerank) for passage in response.passages[-3:]] == [(0.0, 0.0), (0.0, None), (0.0, None)]
    assert response.degraded
    assert response.notes == ("2 of 8 passages could not be reranked and stand last: no finite number",)


async def test_where_no_passage_has_a_score_the_order_found_stays() -> None:
    response = await _reranking(FakeReranks(_failed)).search(SearchRequest(query="x", top_k=3), Finder())
    assert (_numbers(response), response.notes) == ([0, 1, 2], ("not reranked: no finite number",))
    assert response.degraded
    assert response.passages[0].score == 20


async def test_an_embedder_that_came_back_without_its_reranker_is_asked_again_at_once() -> None:
    reranks = FakeReranks(lambda _: RerankResult(error=NotReady("there is none").info()))
    reranking = _reranking(reranks)
    assert (await reranking.search(SearchRequest(query="x"), Finder())).notes == ("not reranked: there is none",)
    reranks.info = None
    assert not (await reranking.search(SearchRequest(query="x"), Finder())).degraded


async def test_an_embedder_that_was_late_for_the_query_is_not_waited_for_again() -> None:
    reranks = FakeReranks()
    found = Finder(degraded=True, notes=("searched by words alone: late",))
    response = await _reranking(reranks).search(SearchRequest(query="x", top_k=2), found)
    assert (_numbers(response), reranks.items) == ([0, 1], [])
    assert response.notes == ("searched by words alone: late", "not reranked for the same reason")


async def test_what_the_search_raises_is_raised() -> None:
    async def find(_: SearchRequest) -> SearchResponse:
        raise CollectionNotFound("there is no such collection")

    with pytest.raises(CollectionNotFound):
        await _reranking(FakeReranks()).search(SearchRequest(query="x"), find)


# -- the Embedder as the port -----------------------------------------------------------------------------------------------------


def _embedder(**methods: Any) -> EmbedderReranks:
    settings = load_settings({"retriever": {"rerank_timeout_s": 0.05}})
    return EmbedderReranks(lambda: SimpleNamespace(to_async=SimpleNamespace(**methods)), settings)


@pytest.mark.parametrize("running", [[INFO], []], ids=["one", "none"])
async def test_the_embedder_runs_one_reranker_or_none(running: list[RerankerInfo]) -> None:
    async def rerankers() -> list[RerankerInfo]:
        return running

    assert await _embedder(rerankers=rerankers).reranker() == (running[0] if running else None)


async def test_the_embedder_scores_within_its_time() -> None:
    async def rerank(items: list[RerankItem]) -> list[RerankResult]:
        if items[0].text == "never":
            await asyncio.Event().wait()
        return [RerankResult(score=0.5)] * (len(items) if items[0].text == "fine" else 1)

    port = _embedder(rerank=rerank)
    fine, never, few = (RerankItem(query="x", text=text) for text in ("fine", "never", "few"))
    assert await port.rerank([fine, fine]) == [RerankResult(score=0.5)] * 2
    with pytest.raises(DeadlineExceeded):
        await port.rerank([never])
    with pytest.raises(Internal, match="1 scores for 2 passages"):
        await port.rerank([few, few])
