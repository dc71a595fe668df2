"""Names as parts of URLs."""

from urllib.parse import quote


def document_path(document_id: str) -> str:
    """The path of a document, whose id may hold slashes."""
    return "/v1/documents/" + "/".join(map(segment, document_id.split("/")))


def segment(name: str) -> str:
    """`name` as one segment of a path. HTTP clients resolve the segments . and .., so that "a/../b" would mean "b"."""
    return "%2E" * len(name) if name in (".", "..") else quote(name, safe="")
