"""Starts the toy services as real servers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import Server, free_port, running

TOYS = "tests.services.toys:Caller"


@contextmanager
def composed(folder: Path, **environment: str) -> Iterator[Server]:
    """`bentoml serve` of Caller with Callee as its child. It is being started when this yields."""
    port = free_port()
    arguments = ["-m", "bentoml", "serve", TOYS, "--host", "127.0.0.1", "--port", str(port)]
    with running(arguments, port, folder, environment) as server:
        yield server


@contextmanager
def alone(service: str, folder: Path, *options: str, **environment: str) -> Iterator[Server]:
    """One worker of one service on a TCP port. Callee is not the entry of its module: BentoML takes pickle from it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        port, descriptor = listener.getsockname()[1], listener.fileno()
        arguments = ["-m", "_bentoml_impl.worker.service", TOYS, "--service-name", service, "--fd", str(descriptor), *options]
        with running(arguments, port, folder, environment, descriptors=[descriptor]) as server:
            listener.close()
            yield server
