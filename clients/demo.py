"""`ekiben demo`: the main job end to end, on the sample documents."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import typer

from clients.http_client import EkibenClient
from clients.ingest_command import IngestOptions, ingest_paths
from clients.rendering import render_answer
from core.errors import NotReady
from core.schemas import AnswerRequest

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample" / "documents"
QUESTION = "Who appointed a cat as stationmaster?"
_READY_WITHIN_S = 180.0
_STOP_WITHIN_S = 30.0


def demo(host: str, port: int, data: Path) -> int:
    """Serve, ingest the sample, ask, print the cited answer, and stay up until Ctrl-C or SIGTERM. Returns the server's exit status."""
    url = f"http://{host}:{port}"
    command = [sys.executable, "-m", "clients", "serve", "--host", host, "--port", str(port), "--data", str(data)]
    # A session of its own: Ctrl-C reaches this process alone, which stops the server in order.
    server = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - our own command line
    for stop in (signal.SIGINT, signal.SIGTERM):
        # SIGINT as well: a shell that starts this in the background has it ignored.
        signal.signal(stop, signal.default_int_handler)
    try:
        if not _wait_until_ready(url, server):
            return server.wait()
        _show(url)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait(_STOP_WITHIN_S)


def _wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> bool:
    """Whether the server became ready; False where it ended instead. Raises NotReady when it takes too long."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            return False
        try:
            if httpx.get(f"{url}/readyz", timeout=5).is_success:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise NotReady(f"the services were not ready within {_READY_WITHIN_S:g} s; their log above says why")


def _show(url: str) -> None:
    typer.echo(f"\ningesting {SAMPLE}")
    ingest_paths([str(SAMPLE)], EkibenClient(url), IngestOptions())
    with EkibenClient(url) as client:
        answer = client.answer(AnswerRequest(question=QUESTION))
    typer.echo(f"\nQ: {QUESTION}\n\n{render_answer(answer)}\n")
    typer.echo(f'The server stays up at {url} until Ctrl-C. In another terminal:\n\n  .venv/bin/ekiben ask "..." --url {url}\n')
    typer.echo(
        f"  curl {url}/v1/answer -H 'Content-Type: application/json' -d '{{\"question\": \"{QUESTION}\"}}'\n\nThe API is described at {url}/docs"
    )
