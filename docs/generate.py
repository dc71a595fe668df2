"""Writes the generated tables of the docs from the code, so that every fact has one home.

python -m docs.generate           write them
python -m docs.generate --check   fail where one is out of date
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import prometheus_client
from pydantic.fields import FieldInfo

from clients.exit_codes import ExitCode
from core import schemas, telemetry
from core.errors import DocumentError, EkibenError, StartupError, all_errors
from core.settings import BASE_FILE, PREFIX, load_settings
from pipelines.ingestion.loading.registry import FORMATS

ROOT = Path(__file__).resolve().parent.parent
FILES = (ROOT / "README.md",)
_TYPES = {int: "integer", float: "number", Path: "path"}
_SYMBOLS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def main() -> None:
    """Write or check every generated part."""
    check = "--check" in sys.argv[1:]
    # The tables show the defaults, whatever is set where they are made.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    stale = [path for path in FILES if _rewritten(path) != path.read_text(encoding="utf-8")]
    for path in stale:
        if check:
            sys.exit(f"{path.relative_to(ROOT)} is out of date: run `make docs`")
        path.write_text(_rewritten(path), encoding="utf-8")


def _rewritten(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        block = f"<!-- generated: {name} -->\n{table()}\n<!-- end -->"
        text = re.sub(rf"<!-- generated: {name} -->\n.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
    return text


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings_table() -> str:
    """Every setting: its default and meaning from configs/base.yaml, its bounds from the types."""
    return _table(("setting", "default", "takes", "meaning"), _setting_rows())


def _setting_rows() -> Iterator[tuple[str, ...]]:
    defaults = load_settings()
    comments = setting_comments()
    for section, branch in defaults:
        for key, field in type(branch).model_fields.items():
            name = f"{section}.{key}"
            value = getattr(branch, key)
            shown = json.dumps(str(value) if isinstance(value, Path) else value)
            yield f"`{name}`", f"`{shown}`", _bounds(field), comments[name]


def setting_comments() -> dict[str, str]:
    """What stands above each key of configs/base.yaml, by `section.key`."""
    comments: dict[str, str] = {}
    section, pending = "", []
    for line in BASE_FILE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"^(\w+):\s*$", line):
            section = match[1]
        elif match := re.match(r"^  # ?(.*)$", line):
            pending.append(match[1])
        elif match := re.match(r"^  (\w+):", line):
            comments[f"{section}.{match[1]}"] = " ".join(pending)
            pending = []
    return comments


def _bounds(field: FieldInfo) -> str:
    parts = [_type_name(field.annotation)]
    parts += [f"{symbol} {getattr(bound, name):g}" for bound in field.metadata for name, symbol in _SYMBOLS.items() if hasattr(bound, name)]
    return " ".join(parts)


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, get_args(annotation)))
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    if arguments:
        optional = " or null" if type(None) in get_args(annotation) else ""
        return " or ".join(dict.fromkeys(_type_name(argument) for argument in arguments)) + optional
    return _TYPES.get(annotation, "text")


def errors_table() -> str:
    """Every error that can be answered."""
    rows = (
        (f"`{cls.code}`", str(cls.status), "yes" if cls.retryable else "no", _where(cls), (cls.__doc__ or "").strip())
        for cls in sorted(all_errors(), key=lambda cls: (cls.status or 0, cls.code))
        if cls.status is not None
    )
    return _table(("code", "status", "retryable", "in", "meaning"), rows)


def _where(cls: type[EkibenError]) -> str:
    return "a document's result" if issubclass(cls, DocumentError) else "the answer"


def startup_errors_table() -> str:
    """Every reason not to start."""
    return _table(("code", "meaning"), ((f"`{cls.code}`", (cls.__doc__ or "").strip()) for cls in all_errors(StartupError)))


def limits_table() -> str:
    """The limits of the wire types and the settings that bound a request."""
    settings = load_settings()
    rows = [
        ("characters of a question", f"{schemas.MAX_QUESTION_CHARS:,}", "fixed"),
        ("`top_k`", f"1 to {schemas.MAX_TOP_K}", "fixed"),
        ("documents of one request", f"{schemas.MAX_DOCUMENTS_PER_REQUEST:,}", "fixed"),
        ("characters of a document id", f"{schemas.MAX_ID_CHARS:,}", "fixed"),
        ("characters of a title", f"{schemas.MAX_TITLE_CHARS:,}", "fixed"),
        ("keys of a document's metadata", f"{schemas.MAX_METADATA_KEYS:,}", "fixed"),
        ("rows of one page of the document list", f"{schemas.MAX_PAGE_SIZE:,}", "fixed"),
        ("bytes of a request body", f"{settings.gateway.max_body_bytes:,}", "`gateway.max_body_bytes`"),
        ("requests in work at once", f"{settings.gateway.max_concurrency:,}", "`gateway.max_concurrency`"),
        ("bytes of a file", f"{settings.ingestion.max_file_bytes:,}", "`ingestion.max_file_bytes`"),
        ("characters of a document", f"{settings.ingestion.max_text_chars:,}", "`ingestion.max_text_chars`"),
        ("files of an archive", f"{settings.ingestion.max_archive_files:,}", "`ingestion.max_archive_files`"),
        ("bytes an archive unpacks to", f"{settings.ingestion.max_unpacked_bytes:,}", "`ingestion.max_unpacked_bytes`"),
        ("seconds to parse a file", f"{settings.ingestion.parse_timeout_s:g}", "`ingestion.parse_timeout_s`"),
        ("bytes of memory to parse a file", f"{settings.ingestion.parse_memory_bytes:,}", "`ingestion.parse_memory_bytes`"),
        ("files and documents that wait for their job", f"{settings.jobs.max_queued_items:,}", "`jobs.max_queued_items`"),
        ("pages of a PDF", f"{settings.ingestion.max_pdf_pages:,}", "`ingestion.max_pdf_pages`"),
    ]
    return _table(("what", "limit", "set by"), iter(rows))


def formats_table() -> str:
    """Every format that can be loaded, and what of it is kept."""
    rows = ((", ".join(f"`{suffix}`" for suffix in known.suffixes), ", ".join(known.keeps) or "—", known.note) for known in FORMATS)
    return _table(("files", "kept beside the text", "notes"), rows)


def exit_codes_table() -> str:
    """The exit codes of the command line."""
    source = (ROOT / "clients" / "exit_codes.py").read_text(encoding="utf-8")
    meanings = dict(re.findall(r'^    ([A-Z_]+) = \d+\n    """(.+?)"""', source, flags=re.MULTILINE))
    return _table(("exit code", "meaning"), ((str(code.value), meanings[code.name]) for code in ExitCode))


def metrics_table() -> str:
    """The metrics of our own."""
    own = [value for value in vars(telemetry).values() if isinstance(value, prometheus_client.metrics.MetricWrapperBase)]
    rows = ((f"`{_exposed(metric)}`", metric._type, ", ".join(f"`{label}`" for label in metric._labelnames), metric._documentation) for metric in own)
    return _table(("metric", "type", "labels", "meaning"), rows)


def _exposed(metric: prometheus_client.metrics.MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else metric._name


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "errors": errors_table,
    "startup errors": startup_errors_table,
    "limits": limits_table,
    "formats": formats_table,
    "exit codes": exit_codes_table,
    "metrics": metrics_table,
}

if __name__ == "__main__":
    main()
