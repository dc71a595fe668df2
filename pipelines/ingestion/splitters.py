"""The splitters of the running encoder, one for each pair of sizes that collections ask for."""

import asyncio
from collections import OrderedDict

from core.ports import DescribesEncoder
from core.schemas import CollectionSettings, EncoderInfo
from core.settings import IngestionSettings
from pipelines.ingestion.splitting import TokenSplitter

_Key = tuple[str, int | None, int | None]

# Each holds a tokenizer and the words it remembers: some 30 MB.
_KEPT = 8


class Splitters:
    """Builds splitters in threads, and keeps those used last. The encoder is asked for once, until someone finds it outdated."""

    def __init__(self, encoders: DescribesEncoder, limits: IngestionSettings) -> None:
        self._encoders = encoders
        self._limits = limits
        self._encoder: EncoderInfo | None = None
        self._kept: OrderedDict[_Key, TokenSplitter] = OrderedDict()
        self._building = asyncio.Lock()

    async def current(self, sizes: CollectionSettings) -> TokenSplitter:
        """The splitter for the encoder as last described."""
        async with self._building:
            encoder = self._encoder = self._encoder or await self._encoders.encoder()
            return await self._built(encoder, sizes)

    async def renewed(self, sizes: CollectionSettings, outdated: TokenSplitter) -> TokenSplitter:
        """The splitter for the running encoder. Of requests that find theirs outdated together, the first one asks for all."""
        async with self._building:
            if self._encoder is None or self._encoder.fingerprint == outdated.encoder:
                self._encoder = await self._encoders.encoder()
            return await self._built(self._encoder, sizes)

    async def _built(self, encoder: EncoderInfo, sizes: CollectionSettings) -> TokenSplitter:
        key = (encoder.fingerprint, sizes.chunk_tokens, sizes.overlap_tokens)
        if key not in self._kept:
            self._kept[key] = await asyncio.to_thread(TokenSplitter, encoder, self._limits, sizes)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]
