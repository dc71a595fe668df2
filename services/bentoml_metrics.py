"""BentoML's request metrics by route, cured as the traps in `services.bentoml_runtime` are.

As it comes, their label `endpoint` is the path as it was sent, so each document id and each unknown path makes twenty new series, which stay in
memory, on the disk and in Prometheus. Here it is the route's template, such as /v1/documents/{id}, or `other` where no route has the path.
"""

from collections.abc import Iterable
from typing import Any, Final

from bentoml._internal.server.http import instruments
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from services import bentoml_runtime  # noqa: F401 - guards the version

OTHER: Final = "other"
"""The label of all paths that no route has; templates begin with a slash."""

_SENT = "ekiben.scope_as_sent"


def endpoint(routes: Iterable[BaseRoute], path: str) -> str:
    """The template of the first of `routes` that has `path`, for whatever method; OTHER where none has."""
    return _template(routes, path) or OTHER


def _template(routes: Iterable[BaseRoute], path: str) -> str | None:
    for route in routes:
        if isinstance(route, Route | WebSocketRoute):
            if route.path_regex.match(path):
                return route.path_format
        elif isinstance(route, Mount) and (below := route.path_regex.match(path)):
            if not route.routes:  # an app whose routes can't be asked for, such as files
                return route.path_format
            if found := _template(route.routes, "/" + below["path"]):
                return route.path + found
    return None


class _TrafficByRoute(instruments.RunnerTrafficMetricsMiddleware):
    """BentoML's middleware, which takes the label from the scope's path, with a scope of its own; the app behind it gets the one that was sent."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        async def as_sent(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope.get(_SENT, scope), receive, send)

        super().__init__(as_sent, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "path": endpoint(scope["app"].routes, scope["path"]), _SENT: scope}
        await super().__call__(scope, receive, send)


instruments.RunnerTrafficMetricsMiddleware = _TrafficByRoute  # type: ignore[assignment, misc]
