"""The models that clients may choose from: the one."""

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.gateway.openai_api.errors import OPENAI_SHAPE, require_model
from services.gateway.openai_api.wire import MODEL, Model, ModelList
from services.gateway.routing import json_response, route

MODELS_PATH = "/v1/models"


class ModelsApi:
    """Handlers that need nothing."""

    def __init__(self) -> None:
        self._model = Model(id=MODEL, created=int(time.time()))

    def routes(self) -> list[Route]:
        """What the gateway serves."""
        return [route("GET", MODELS_PATH, self.list, OPENAI_SHAPE), route("GET", MODELS_PATH + "/{model:path}", self.get, OPENAI_SHAPE)]

    async def list(self, _: Request) -> Response:
        """All models."""
        return json_response(ModelList(data=(self._model,)))

    async def get(self, request: Request) -> Response:
        """One model."""
        require_model(request.path_params["model"])
        return json_response(self._model)
