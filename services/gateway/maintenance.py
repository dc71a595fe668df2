"""The HTTP API of the store as a whole: its state, its disk space and its encoder."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.gateway.parts import GeneratorPart, RetrieverPart, status_of
from services.gateway.routing import json_response, route


class MaintenanceApi:
    """Handlers over the parts."""

    def __init__(self, retriever: RetrieverPart, generator: GeneratorPart, probe_timeout_s: float) -> None:
        self._retriever = retriever
        self._generator = generator
        self._probe_timeout_s = probe_timeout_s

    def routes(self) -> list[Route]:
        """What the gateway serves."""
        return [
            route("GET", "/v1/status", self.status),
            route("POST", "/v1/compact", self.compact),
            route("POST", "/v1/reindex", self.reindex),
        ]

    async def status(self, _: Request) -> Response:
        """State of all parts; 200 whether they are ready or not."""
        return json_response(await status_of(self._retriever, self._generator, self._probe_timeout_s))

    async def compact(self, _: Request) -> Response:
        """Give the space of deleted documents back."""
        return json_response(await self._retriever.compact())

    async def reindex(self, _: Request) -> Response:
        """Begin to move the index over to the Embedder's newest encoder; the status tells how far it is."""
        return json_response(await self._retriever.reindex(), HTTPStatus.ACCEPTED)
