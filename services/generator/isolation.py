"""Keeps what is wrong with one item of a batch from the others."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from core.errors import EkibenError, GenerationFailed
from core.schemas import GenerationItem, GenerationResult

Work = Callable[[Sequence[GenerationItem]], Awaitable[Sequence[GenerationResult]]]

log = logging.getLogger("ekiben.generator")


async def run_isolated(work: Work, items: Sequence[GenerationItem]) -> list[GenerationResult]:
    """`work(items)`; where that raises, each half on its own, down to single items, whose results then say what failed.

    An EkibenError (a dependency is down, say) would befall the halves as well, so every item gets it at once.
    """
    try:
        results = list(await work(items))
        if len(results) == len(items):
            return results
        failure: EkibenError = GenerationFailed(f"the backend gave {len(results)} results for {len(items)} items")
    except EkibenError as error:
        return [GenerationResult(error=error.info())] * len(items)
    except Exception as error:
        # The outermost edge of foreign model code, which raises anything.
        log.exception("a batch failed", extra={"items": len(items)})
        failure = GenerationFailed(f"the backend failed on this item ({type(error).__name__})")
    if len(items) == 1:
        return [GenerationResult(error=failure.info())]
    middle = len(items) // 2
    return await run_isolated(work, items[:middle]) + await run_isolated(work, items[middle:])
