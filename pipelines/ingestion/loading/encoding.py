"""Bytes to text."""

import codecs
import re

from charset_normalizer import from_bytes

from core.errors import DocumentUnreadable
from pipelines.ingestion.normalizing import normalize

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_DECLARED_WITHIN_BYTES = 2_048
# Pages that say so are in its superset, as the WHATWG Encoding Standard has it.
_MEANT = {"iso8859-1": "cp1252", "ascii": "cp1252"}
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # ESC is left out: terminal logs are text
_MAX_CONTROL_SHARE = 0.01
_PROBE_CHARS = 100_000


def decode(content: bytes, name: str, charset: str | None = None) -> str:
    """`content` as normalized text; `charset` is what the mail around it declares.

    Its byte order mark decides, then `charset`; else it is UTF-8, else what a `charset=` near its top declares, else what
    charset-normalizer detects. Raises DocumentUnreadable where it looks binary.
    """
    text = _decode_marked(content)
    if text is None and charset:
        text = _decode_as(content, charset)
    if text is None:
        text = _decode_strictly(content, "utf-8")
    if text is None or "\x00" in text[:_PROBE_CHARS]:  # ASCII in UTF-16 is valid UTF-8 with every second character a NUL
        text = _decode_declared(content)
    if text is None or "\x00" in text[:_PROBE_CHARS]:
        text = _detect(content)
    if text is None or _looks_binary(text):
        raise DocumentUnreadable(f"{name}: looks binary, no text encoding fits; convert it to UTF-8 text first")
    return normalize(text)


def _decode_marked(content: bytes) -> str | None:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    return None


def _decode_declared(content: bytes) -> str | None:
    declared = _DECLARED.search(content, 0, _DECLARED_WITHIN_BYTES)
    return None if declared is None else _decode_as(content, declared[1].decode("ascii", errors="replace"))


def _decode_as(content: bytes, label: str) -> str | None:
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):  # ValueError: a NUL in the label
        return None
    return _decode_strictly(content, _MEANT.get(name, name))


def _decode_strictly(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (LookupError, ValueError):  # LookupError: a codec that makes no text of bytes, such as zlib
        return None


def _detect(content: bytes) -> str | None:
    best = from_bytes(content).best()
    # Where it can't tell, it takes the first in the alphabet, cp1250; files that say nothing are in the encoding of Western Windows far more often.
    western = from_bytes(content, cp_isolation=["cp1252"]).best()
    if best and western and western.encoding == "cp1252" and western.chaos <= best.chaos:
        return str(western)
    return None if best is None else str(best)


def _looks_binary(text: str) -> bool:
    probe = text[:_PROBE_CHARS]
    return "\x00" in probe or len(_CONTROLS.findall(probe)) > _MAX_CONTROL_SHARE * len(probe)
