"""Embeddings by the encoder that the index belongs to."""

from collections.abc import Sequence
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.schemas import EmbedItem, EmbedResult
from core.vectors import unpack
from services.gateway.openai_api.errors import OPENAI_SHAPE, InvalidParameter, parse_asked, require_model
from services.gateway.openai_api.wire import Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage
from services.gateway.parts import RetrieverPart
from services.gateway.routing import json_response, read_json, route

EMBEDDINGS_PATH = "/v1/embeddings"


class EmbeddingsApi:
    """The handler over the Retriever, which knows the encoder of the index."""

    def __init__(self, retriever: RetrieverPart) -> None:
        self._retriever = retriever

    def routes(self) -> list[Route]:
        """What the gateway serves."""
        return [route("POST", EMBEDDINGS_PATH, self.embed, OPENAI_SHAPE)]

    async def embed(self, request: Request) -> Response:
        """A unit vector for each text, in order."""
        asked = parse_asked(EmbeddingRequest, await read_json(request))
        require_model(asked.model)
        if asked.dimensions is not None:
            raise InvalidParameter("dimensions", "dimensions can't be chosen: vectors have those of the encoder; leave it out")
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        if "" in texts:
            raise InvalidParameter("input", f"input: the text at place {texts.index('')} is empty")
        results = await self._retriever.embed([EmbedItem(text=text, kind=asked.kind, bulk=len(texts) > 1) for text in texts])
        return json_response(_listed(results, asked.encoding_format))


def _listed(results: Sequence[EmbedResult], encoding: Literal["float", "base64"]) -> EmbeddingList:
    tokens = sum(result.tokens for result in results)
    vectors = (result.vector if encoding == "base64" else unpack(result.vector).tolist() for result in results)
    return EmbeddingList(
        data=tuple(Embedding(index=index, embedding=vector) for index, vector in enumerate(vectors)),
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
        encoder=results[0].fingerprint,
    )
