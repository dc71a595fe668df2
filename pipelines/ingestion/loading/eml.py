"""Mails as files (EML): what was said, and each attachment as a document of its own."""

from collections.abc import Iterator, Mapping
from email import policy
from email.errors import MessageError
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import PurePosixPath

from core.errors import DocumentEmpty, DocumentError, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.composing import Composition
from pipelines.ingestion.loading.encoding import decode
from pipelines.ingestion.loading.html import extract_page
from pipelines.ingestion.loading.nesting import Members
from pipelines.ingestion.loading.registry import is_supported
from pipelines.ingestion.loading.source import Source, finish, printable
from pipelines.ingestion.refusing import Loaded, refuse

_SHOWN_HEADERS = ("From", "To", "Cc", "Date")
_TEXTS = ("text/plain", "text/html")
_MAX_LISTED_CHARS = 1_000
_MAX_HEADER_CHARS = 20_000

# What the standard library raises over headers and parts that are broken. Found by fuzzing; tests go on with it.
_MALFORMED = (MessageError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """The mail with its sender, receivers and date on top, then its attachments, named `mail/attachment`.

    Its title is the subject. Of a text that comes plain and as HTML the plain one is taken. Attachments of other formats are named in the
    metadata (`attachments_left_out`).
    """
    members = Members(source, limits)
    try:
        mail = BytesParser(EmailMessage, policy=policy.default).parsebytes(source.content)
        if not mail.keys():
            raise DocumentUnreadable(f"{source}: not a mail, it begins with no header")
        parts = list(_leaves(mail))
        texts = [part for part, is_text in parts if is_text]
        attachments = [(_attachment_name(part), part) for part, is_text in parts if not is_text]
    except _MALFORMED as error:
        raise _broken(str(source), error) from error
    source.budget.take_files(len(attachments), str(source))
    supported = [(name, part) for name, part in attachments if is_supported(name)]
    left_out = [name for name, _ in attachments if not is_supported(name)]
    return [
        _load_text(mail, texts, left_out, bool(supported), source, limits),
        *(item for name, part in supported for item in _load_attachment(members, name, part, source)),
    ]


def _leaves(part: EmailMessage, wanted: bool = True) -> Iterator[tuple[EmailMessage, bool]]:
    """(part, whether it is text to be read) of all parts without parts; texts that aren't `wanted` are left out."""
    if part.get_content_maintype() == "multipart":
        children = [child for child in part.get_payload() if isinstance(child, EmailMessage)]
        best = _best(children) if part.get_content_type() == "multipart/alternative" else None
        for child in children:
            # The other forms of a text may hold attachments of their own.
            yield from _leaves(child, wanted and (best is None or child is best))
    elif part.get_content_type() not in _TEXTS or part.get_filename() or part.get_content_disposition() == "attachment":
        yield part, False
    elif wanted:
        yield part, True


def _best(alternatives: list[EmailMessage]) -> EmailMessage | None:
    """The plain text that isn't blank, else the last one that can hold a text: the best is last (RFC 2046, 5.1.4)."""
    plain = [part for part in alternatives if part.get_content_type() == "text/plain" and _content(part).strip()]
    rich = [part for part in alternatives if part.get_content_type() in _TEXTS or part.get_content_maintype() == "multipart"]
    return next(iter([*plain, *reversed(rich)]), None)


def _content(part: EmailMessage) -> bytes:
    if part.get_content_type() == "message/rfc822":
        return bytes(part.get_payload()[0].as_bytes())  # type: ignore[index,union-attr]
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _attachment_name(part: EmailMessage) -> str:
    """The last part of its file name: what stands before has no meaning here, and may be meant to mislead."""
    named = PurePosixPath((part.get_filename() or "").replace("\\", "/")).name
    if part.get_content_type() == "message/rfc822":
        return f"{named.removesuffix('.eml') or 'message'}.eml"
    return named or part.get_content_type()


def _load_text(
    mail: EmailMessage, texts: list[EmailMessage], left_out: list[str], has_others: bool, source: Source, limits: IngestionSettings
) -> Loaded:
    try:
        composition = Composition(source, limits)
        composition.add_text("\n".join(f"{name}: {value}" for name in _SHOWN_HEADERS if (value := _header(mail, name))))
        for part in texts:
            composition.add_text(_read(part, source))
        return finish(source, "eml", composition.finished(_header(mail, "Subject"), _note(left_out)), limits)
    except DocumentError as error:
        if not has_others:
            raise
        return refuse(source.id, error)


def _load_attachment(members: Members, name: str, part: EmailMessage, source: Source) -> list[Loaded]:
    unique = members.name(name)
    try:
        content = _content(part)
    except _MALFORMED as error:
        return [members.refused(unique, _broken(f"{source}/{printable(name)}", error))]
    return members.load(unique, name, content)


def _read(part: EmailMessage, source: Source) -> str:
    try:
        text = decode(_content(part), str(source), part.get_content_charset())
    except _MALFORMED as error:
        raise _broken(str(source), error) from error
    if part.get_content_type() == "text/plain":
        return text
    try:
        return extract_page(text, str(source)).text
    except DocumentEmpty:
        return ""


def _header(mail: EmailMessage, name: str) -> str:
    raw = next((str(value) for key, value in mail.raw_items() if key.lower() == name.lower()), "")
    # Decoding takes 100 kB of memory a word.
    decoded = _decoded(mail, name) if 0 < len(raw) <= _MAX_HEADER_CHARS else None
    return " ".join((decoded or raw).split())


def _decoded(mail: EmailMessage, name: str) -> str | None:
    try:
        return str(mail[name])
    except _MALFORMED:
        return None


def _note(left_out: list[str]) -> Mapping[str, str]:
    return {"attachments_left_out": printable(", ".join(left_out))[:_MAX_LISTED_CHARS]} if left_out else {}


def _broken(name: str, error: Exception) -> DocumentUnreadable:
    return DocumentUnreadable(f"{name}: not a mail, or a damaged one ({type(error).__name__}: {error})")
