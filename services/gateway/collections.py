"""The HTTP API of collections."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import CollectionNotFound
from core.schemas import CollectionChange, CollectionRef, CollectionSettings
from services.gateway.parts import RetrieverPart
from services.gateway.routing import json_response, parse, read_json, route

COLLECTIONS_PATH = "/v1/collections"


class CollectionsApi:
    """Handlers over the Retriever."""

    def __init__(self, retriever: RetrieverPart) -> None:
        self._retriever = retriever

    def routes(self) -> list[Route]:
        """What the gateway serves."""
        one = COLLECTIONS_PATH + "/{name}"
        return [
            route("GET", COLLECTIONS_PATH, self.list),
            route("PUT", one, self.put),
            route("GET", one, self.get),
            route("DELETE", one, self.delete),
        ]

    async def list(self, _: Request) -> Response:
        """All collections."""
        return json_response(await self._retriever.collections())

    async def put(self, request: Request) -> Response:
        """Create a collection, or give it other settings."""
        settings = parse(CollectionSettings, await read_json(request))
        return json_response(await self._retriever.put_collection(CollectionChange(name=_ref(request).name, settings=settings)))

    async def get(self, request: Request) -> Response:
        """One collection. Asked of the list, because a single one is answered for as it will be, whether it exists or not."""
        name = _ref(request).name
        for collection in (await self._retriever.collections()).collections:
            if collection.name == name:
                return json_response(collection)
        raise CollectionNotFound(f"there is no collection {name!r}: PUT creates it, and so does its first document")

    async def delete(self, request: Request) -> Response:
        """Remove a collection with all its documents."""
        return json_response(await self._retriever.delete_collection(_ref(request)))


def _ref(request: Request) -> CollectionRef:
    return parse(CollectionRef, {**request.query_params, **request.path_params})
