"""Ekiben's Embedder as a plain object, without BentoML and a wire: for each line (a JSON string) the seconds its embedding took."""

import asyncio
import json
import sys
import time

from core.schemas import EmbedItem
from services.embedder.service import Embedder


async def main() -> None:
    """Until standard input ends. The thread that computes has its own event loop beside it, as in the service."""
    embedder = Embedder.inner()
    for line in sys.stdin:
        items = [EmbedItem(text=json.loads(line), kind="query")]
        started = time.perf_counter()
        await embedder.embed(items)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
