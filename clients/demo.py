"""`ekiben demo`: the main job end to end, on the sample documents."""

from pathlib import Path

import typer

from clients.http_client import EkibenClient
from clients.ingest_command import IngestOptions, ingest_paths
from clients.local_server import local_server, wait_until_ready
from clients.rendering import render_answer
from core.schemas import AnswerRequest

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample" / "documents"
QUESTION = "Who appointed a cat as stationmaster?"


def demo(host: str, port: int, data: Path) -> int:
    """Serve, ingest the sample, ask, print the cited answer, and stay up until Ctrl-C or SIGTERM. Returns the server's exit status."""
    url = f"http://{host}:{port}"
    with local_server(host, port, data) as server:
        try:
            if wait_until_ready(url, server):
                _show(url)
            return server.wait()
        except KeyboardInterrupt:
            return 0


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
