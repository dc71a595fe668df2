import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from core.settings import load_settings
from services.gateway.app import gateway_app
from services.gateway.page.page import FOLDER, page_routes
from tests.servers import ROOT

FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js", ".svg"))
CONTENTS = {path: path.read_bytes() for path in FILES}
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=page_routes())), base_url="http://gateway")


async def test_the_gateway_serves_it_at_its_root() -> None:
    app = gateway_app(None, None, None, None, None, None, load_settings())  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.content) == (200, CONTENTS[FOLDER / "index.html"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_every_file_is_served_with_its_type_and_the_policy(path: Path) -> None:
    async with _client() as client:
        answer = await client.get(f"/page/{path.name}")
        head = await client.head(f"/page/{path.name}")
    assert answer.content == CONTENTS[path]
    assert answer.headers["content-type"] == TYPES[path.suffix]
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (head.status_code, head.headers["etag"], head.content) == (200, answer.headers["etag"], b"")


async def test_what_the_browser_has_already_is_not_sent_again() -> None:
    async with _client() as client:
        tag = (await client.get("/")).headers["etag"]
        other = (await client.get("/page/style.css")).headers["etag"]
        again = [await client.get("/", headers={"If-None-Match": known}) for known in (tag, f'"x", W/{tag}', other)]
    assert tag != other
    assert [(answer.status_code, answer.headers["etag"]) for answer in again] == [(304, tag), (304, tag), (200, tag)]
    assert [len(answer.content) > 0 for answer in again] == [False, False, True]
    assert "content-security-policy" in again[0].headers


@pytest.mark.parametrize("name", ["nothing.js", "page.py", "__init__.py", "../app.py", "..%2Fapp.py", "%2e%2e/app.py", "/etc/passwd", ""])
async def test_nothing_else_is_served(name: str) -> None:
    async with _client() as client:
        assert (await client.get(f"/page/{name}")).status_code == 404


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_text_is_read_as_markup_and_no_other_place_is_named(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|createContextualFragment", text) == []
    assert re.findall(r"https?://|[\"'(]//\w", text) == []
    assert re.findall(r"<style|\sstyle=|<script(?! type=\"module\" src=\"/page/)|\son\w+=\"", text) == []


def test_every_module_that_is_imported_is_there_and_every_file_is_used() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in FILES}
    imported = {name for text in texts.values() for name in re.findall(r"(?:from \"\./|\"/page/)([\w.]+)\"", text)}
    assert imported == set(texts) - {"index.html"}


def test_a_wheel_contains_it(tmp_path: Path) -> None:
    build = "from setuptools import setup; setup(script_args=['-q', 'build_py', '--build-lib', r'{}', 'egg_info', '--egg-base', r'{}'])"
    command = [sys.executable, "-c", build.format(tmp_path / "lib", tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "lib/services/gateway/page").iterdir()} >= {path.name for path in FILES}
