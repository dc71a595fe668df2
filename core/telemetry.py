"""Request ids, log lines and metric definitions that all services share."""

import logging
import re
import uuid
from contextvars import ContextVar
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from pythonjsonlogger.json import JsonFormatter

from core.settings import LoggingSettings

request_id: ContextVar[str] = ContextVar("request_id", default="")

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

ITEM_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
TOKEN_BUCKETS = (16, 64, 256, 1024, 4096, 16_384, 65_536)
RATIO_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
SECOND_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

BATCH_ITEMS = Histogram("ekiben_batch_items", "Items (texts or passages, not requests) of one batch", ["service", "operation"], buckets=ITEM_BUCKETS)
BATCH_TOKENS = Histogram("ekiben_batch_tokens", "Tokens of one batch without padding", ["service", "operation"], buckets=TOKEN_BUCKETS)
BATCH_PADDING = Histogram(
    "ekiben_batch_padding_ratio",
    "Share of padding in the tokens a batch computes",
    ["service", "operation"],
    buckets=RATIO_BUCKETS,
)
BATCH_SECONDS = Histogram("ekiben_batch_compute_seconds", "Compute time of one batch", ["service", "operation"], buckets=SECOND_BUCKETS)
SENTENCE_VECTORS = Counter("ekiben_sentence_vectors", "Vectors of sentences and questions that the extractive backend used, by origin", ["origin"])
QUERY_VECTORS = Counter("ekiben_query_vectors", "Vectors of questions that the Embedder gave, by origin (embedded, remembered)", ["origin"])
BATCH_WAIT_SECONDS = Histogram(
    "ekiben_batch_wait_seconds", "Time an item waited for its batch to begin", ["service", "operation"], buckets=SECOND_BUCKETS
)
RUNNING_SEQUENCES = Histogram("ekiben_running_sequences", "Sequences that share one step of a language model", ["service"], buckets=ITEM_BUCKETS)
STEP_SECONDS = Histogram(
    "ekiben_step_seconds", "Time of one step of a language model: a token for each sequence", ["service"], buckets=SECOND_BUCKETS
)
WRITTEN_TOKENS = Counter("ekiben_written_tokens", "Tokens that a language model wrote", ["service"])
MODEL_FIRST_TOKEN_SECONDS = Histogram(
    "ekiben_model_first_token_seconds", "Time from a stream's start to the first token of its language model", ["service"], buckets=SECOND_BUCKETS
)
GPU_MEMORY = Gauge(
    "ekiben_gpu_memory_bytes",
    "Memory of a GPU that a language model's process has, by state: allocated for tensors, or reserved, allocated included",
    ["service", "device", "state"],
    # Of two processes, or one and its successor, the last one speaks: a worker has a device for itself.
    multiprocess_mode="mostrecent",
)
STAGE_SECONDS = Histogram("ekiben_stage_seconds", "Time of one stage of a journey", ["stage"], buckets=SECOND_BUCKETS)
FIRST_TOKEN_SECONDS = Histogram("ekiben_first_token_seconds", "Time from a streamed question to the first text of its answer", buckets=SECOND_BUCKETS)
ANSWERS = Counter("ekiben_answers", "Answers by outcome", ["outcome"])
RECORDS = Counter("ekiben_answer_records", "Records of answers by what became of them (kept, lost)", ["outcome"])
DOCUMENTS = Counter("ekiben_documents", "Documents by what became of them", ["state"])


def new_request_id(proposed: str | None = None) -> str:
    """`proposed` where it is a harmless token of at most 128 characters, else a new id."""
    if proposed and _ACCEPTABLE_ID.fullmatch(proposed):
        return proposed
    return uuid.uuid4().hex


class _WithRequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def configure_logging(settings: LoggingSettings, service: str) -> None:
    """Send the `ekiben` loggers to stderr in the format asked for. Log calls pass fields with `extra=`, never texts of users above DEBUG."""
    handler = logging.StreamHandler()
    handler.addFilter(_WithRequestId())
    handler.setFormatter(_formatter(settings, service))
    root = logging.getLogger("ekiben")
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    root.propagate = False


def _formatter(settings: LoggingSettings, service: str) -> logging.Formatter:
    if settings.format == "json":
        return JsonFormatter(
            "{asctime}{levelname}{name}{message}{request_id}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
        )
    return _ConsoleFormatter(f"%(asctime)s %(levelname)-7s {service:<9} %(message)s", "%H:%M:%S")


class _ConsoleFormatter(logging.Formatter):
    """`time level service message key=value ...`"""

    _standard = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {key: value for key, value in vars(record).items() if key not in self._standard and value != ""}
        suffix = "".join(f" {key}={value}" for key, value in fields.items())
        return super().format(record) + suffix
