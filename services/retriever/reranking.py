"""Reranking: more passages than are wanted are found, a model reads each with the question, and the best by its scores are kept."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from core.errors import EkibenError, Internal, NotReady
from core.ports import Reranks
from core.schemas import Passage, RerankerInfo, RerankItem, RerankResult, SearchRequest, SearchResponse
from core.settings import Settings
from services.bentoml_runtime import call

# How long the Embedder is believed to run the reranker it ran, or none, before it is asked again.
KNOWN_FOR_S = 10.0

log = logging.getLogger("ekiben.retriever")

Find = Callable[[SearchRequest], Awaitable[SearchResponse]]


class EmbedderReranks:
    """The Embedder as Reranks. `dependency` is there only after the service has started."""

    def __init__(self, dependency: Callable[[], Any], settings: Settings) -> None:
        self._dependency = dependency
        self._ask_timeout_s = settings.runtime.probe_timeout_s
        self._timeout_s = settings.retriever.rerank_timeout_s

    async def reranker(self) -> RerankerInfo | None:
        """See `core.ports.Reranks`."""
        running: list[RerankerInfo] = await call("the Embedder", self._dependency().to_async.rerankers, self._ask_timeout_s)
        return running[0] if running else None

    async def rerank(self, items: Sequence[RerankItem]) -> Sequence[RerankResult]:
        """See `core.ports.Reranks`."""
        results: list[RerankResult] = await call("the Embedder", self._dependency().to_async.rerank, self._timeout_s, list(items))
        if len(results) != len(items):
            raise Internal(f"the Embedder gave {len(results)} scores for {len(items)} passages")
        return results


class Reranking:
    """The step between what a search finds and what it answers. Does nothing where there is no reranker."""

    def __init__(self, reranks: Reranks, candidates: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._reranks = reranks
        self._candidates = candidates
        self._clock = clock
        self._known: RerankerInfo | None = None
        self._ask_again_at = clock()
        self._asking = asyncio.Lock()

    async def search(self, request: SearchRequest, find: Find) -> SearchResponse:
        """The passages that `find` gives, the best `request.top_k` of at least `candidates` by the reranker's scores.

        Where the reranker fails they are the first `top_k` as found, marked `degraded` with a note. Raises what `find` raises, nothing else.
        """
        if not request.rerank or await self.reranker() is None:
            return await find(request)
        found = await find(request.model_copy(update={"top_k": max(request.top_k, self._candidates)}))
        if found.degraded:
            # The Embedder, which runs the reranker too, has just used up its time or can't be reached.
            return _as_found(found, request.top_k, "not reranked for the same reason")
        if not found.passages:
            return found
        started = time.perf_counter()
        try:
            results = await self._reranks.rerank([RerankItem(query=request.query, text=_text(passage)) for passage in found.passages])
        except EkibenError as error:
            log.warning("not reranked", extra={"code": error.code})
            return _as_found(found, request.top_k, f"not reranked: {error.message}")
        timings = {**found.timings_ms, "rerank": round((time.perf_counter() - started) * 1000, 2)}
        return self._ordered(found.model_copy(update={"timings_ms": timings}), results, request.top_k)

    def _ordered(self, found: SearchResponse, results: Sequence[RerankResult], top_k: int) -> SearchResponse:
        errors = [result.error for result in results if result.error]
        if errors:
            log.warning("passages without a score", extra={"code": errors[0].code, "passages": len(errors)})
        if any(error.code == NotReady.code for error in errors):
            self._ask_again_at = self._clock()
        if len(errors) == len(results):
            return _as_found(found, top_k, f"not reranked: {errors[0].message}")
        notes = (f"{len(errors)} of {len(results)} passages could not be reranked and stand last: {errors[0].message}",) if errors else ()
        scored = [_scored(passage, result) for passage, result in zip(found.passages, results, strict=True)]
        # Passages with equal scores, and those without one, stay in the order they were found in.
        best = sorted(scored, key=lambda passage: (passage.scores.rerank is None, -passage.score))[:top_k]
        return found.model_copy(update={"passages": tuple(best), "degraded": bool(notes), "notes": (*found.notes, *notes)})

    async def reranker(self) -> RerankerInfo | None:
        """The reranker that runs, as of KNOWN_FOR_S ago at most; what was known last where the Embedder can't be asked."""
        async with self._asking:
            if self._clock() >= self._ask_again_at:
                self._ask_again_at = self._clock() + KNOWN_FOR_S
                with suppress(EkibenError):
                    await self.ask()
        return self._known

    async def ask(self) -> None:
        """Learn which reranker runs; raises what the port raises."""
        self._known = await self._reranks.reranker()


def _text(passage: Passage) -> str:
    """What the reranker reads of a passage: title and section, which tell what "it" is, then the chunk."""
    line = " > ".join(dict.fromkeys(filter(None, (passage.title, *passage.headings))))
    return f"{line}\n{passage.text}" if line else passage.text


def _scored(passage: Passage, result: RerankResult) -> Passage:
    """`passage` with its new score; 0 where there is none, because the old one means something else."""
    scores = passage.scores.model_copy(update={"rerank": result.score})
    return passage.model_copy(update={"score": result.score or 0.0, "scores": scores})


def _as_found(found: SearchResponse, top_k: int, note: str) -> SearchResponse:
    return found.model_copy(update={"passages": found.passages[:top_k], "degraded": True, "notes": (*found.notes, note)})
