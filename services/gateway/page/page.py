"""The routes of the page. Its files are read once; browsers keep them and ask by ETag whether they are still the same."""

import hashlib
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent
INDEX = "index.html"
ASSETS_PATH = "/page/"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Documents are hostile: no script but the page's own runs, none can be made from a string, and nothing is sent elsewhere.
_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[Route]:
    """The page, and the files it is made of."""
    return [Route("/", _index), Route(ASSETS_PATH + "{name}", _asset)]


async def _index(request: Request) -> Response:
    return _answer(request, INDEX)


async def _asset(request: Request) -> Response:
    return _answer(request, request.path_params["name"])


def _answer(request: Request, name: str) -> Response:
    if name not in _files():
        raise HTTPException(404)
    content, tag = _files()[name]
    headers = {**_HEADERS, "ETag": tag}
    if tag in [known.strip().removeprefix("W/") for known in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[Path(name).suffix])


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Content and ETag of each file, by its name."""
    contents = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in _TYPES}
    return {name: (content, f'"{hashlib.sha256(content).hexdigest()[:32]}"') for name, content in contents.items()}
