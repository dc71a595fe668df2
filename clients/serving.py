"""Starts the gateway with everything it depends on, after looking for what would stop it."""

import os
import socket
from pathlib import Path

from core.errors import AddressInUse, InvalidSettings
from core.settings import PREFIX, JobsSettings, RecordsSettings, Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent
GATEWAY = "services.gateway.service:Gateway"
# Longer than any client's pool keeps an idle connection, so that it is the client that lets go.
_KEEP_ALIVE_S = 75


def serve(flags: dict[str, dict[str, object]]) -> None:
    """Run until SIGTERM or Ctrl-C. `flags` are settings by section, given on the command line.

    Raises StartupError, before anything is started, where the settings are not valid, the address is taken, or the store, the jobs or
    the records are in use.
    """
    settings = load_settings(flags)
    folders = {name: getattr(settings, name).data_dir.expanduser().resolve() for name in ("retriever", "jobs", "records")}
    data_dir = folders["retriever"]
    flags = {**flags, **{name: {**flags.get(name, {}), "data_dir": folder} for name, folder in folders.items()}}
    _check_address(settings)
    if settings.retriever.url is None:
        _check_store(data_dir)
    _check_jobs(settings.jobs.model_copy(update={"data_dir": folders["jobs"]}))
    _check_records(settings.records.model_copy(update={"data_dir": folders["records"]}))
    # The services run in processes of their own and read the flags from their environment.
    for section, values in flags.items():
        for key, value in values.items():
            os.environ[f"{PREFIX}{section}__{key}".upper()] = str(value)
    _run(settings, data_dir)


def _check_address(settings: Settings) -> None:
    host, port = settings.gateway.host, settings.gateway.port
    try:
        # BentoML listens on IPv4 alone.
        family, kind, _, _, address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise InvalidSettings(f"gateway.host {host!r} is no IPv4 address of this machine: {error}") from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise AddressInUse(f"can't listen on {host}:{port} ({error.strerror}): stop what runs there, or choose another --port") from error


def _check_store(data_dir: Path) -> None:
    from services.retriever.folder import DataFolder  # noqa: PLC0415 - only a server needs them
    from services.retriever.store import DocumentStore  # noqa: PLC0415

    with DataFolder.open(data_dir) as folder:
        if not folder.is_new:
            DocumentStore.open(folder.database).close()


def _check_jobs(limits: JobsSettings) -> None:
    from services.gateway.jobs.queue import JobQueue  # noqa: PLC0415 - only a server needs it

    JobQueue.open(limits).close()


def _check_records(limits: RecordsSettings) -> None:
    from services.gateway.records.book import RecordBook  # noqa: PLC0415 - only a server needs it

    if limits.keep:
        RecordBook.open(limits).close()


def _run(settings: Settings, data_dir: Path) -> None:
    # Before the import: BentoML reports usage to its makers unless told not to.
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    from _bentoml_impl.loader import load  # noqa: PLC0415 - takes a second, and only a server needs it
    from _bentoml_impl.server import serve_http  # noqa: PLC0415
    from bentoml._internal.configuration.containers import BentoMLContainer  # noqa: PLC0415
    from bentoml._internal.log import configure_server_logging  # noqa: PLC0415

    configure_server_logging()  # type: ignore[no-untyped-call]
    # BentoML keeps its metrics under its home folder, where a second server would wipe them.
    metrics = data_dir / "metrics"
    metrics.mkdir(parents=True, exist_ok=True)
    BentoMLContainer.prometheus_multiproc_dir.set(str(metrics))
    load(GATEWAY, working_dir=str(ROOT)).inject_config()
    host = socket.gethostbyname(settings.gateway.host)
    serve_http(GATEWAY, working_dir=str(ROOT), host=host, port=settings.gateway.port, timeout_keep_alive=_KEEP_ALIVE_S)
