"""The four services as a child of a command that needs them, such as `ekiben demo`."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

from core.errors import NotReady

LOCALHOST = "127.0.0.1"
_READY_WITHIN_S = 180.0
_STOP_WITHIN_S = 30.0

Server = subprocess.Popen[bytes]


@contextmanager
def local_server(host: str, port: int, data: Path, output: IO[bytes] | None = None) -> Iterator[Server]:
    """`ekiben serve` with its state in `data`, being started; stopped at the end. It writes to `output`, or where this process does.

    From now on SIGINT and SIGTERM raise KeyboardInterrupt in this process. The server is in a session of its own, so that Ctrl-C reaches this
    process alone, which stops the server in order.
    """
    command = [sys.executable, "-m", "clients", "serve", "--host", host, "--port", str(port), "--data", str(data)]
    server = subprocess.Popen(command, start_new_session=True, stdout=output, stderr=output)  # noqa: S603 - our own command line
    for stop in (signal.SIGINT, signal.SIGTERM):
        # SIGINT as well: a shell that starts this in the background has it ignored.
        signal.signal(stop, signal.default_int_handler)
    try:
        yield server
    finally:
        server.terminate()
        server.wait(_STOP_WITHIN_S)


def wait_until_ready(url: str, server: Server) -> bool:
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
    raise NotReady(f"the services were not ready within {_READY_WITHIN_S:g} s; their log says why")


def free_port() -> int:
    """A TCP port of localhost on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])
