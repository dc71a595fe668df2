"""`transformers serve`, an OpenAI-compatible server that others wrote, over a model in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import Server, running


@contextmanager
def transformers_serve(model: Path, folder: Path, port: int) -> Iterator[Server]:
    """The server on `port`, being started when this yields. There is no cache of the hub, so that its list of models is an error."""
    arguments = ["-m", "transformers.cli.transformers", "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with running(arguments, port, folder, {"OMP_NUM_THREADS": "1", "HF_HUB_CACHE": str(folder / "none")}) as server:
        yield server
