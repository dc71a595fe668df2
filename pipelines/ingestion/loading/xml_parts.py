"""XML inside packed formats."""

from xml.parsers import expat

from lxml import etree  # type: ignore[import-untyped]

from core.errors import DocumentUnreadable


class _PrologEndedError(Exception):
    """The root element begins; what follows can't declare anything."""


class _DtdFoundError(Exception):
    """There is a document type declaration."""


def refuse_dtd(content: bytes, name: str) -> None:
    """Raise DocumentUnreadable for a document type declaration: Office and EPUB need none, and all attacks by entities begin with one.

    The prolog is read by expat itself, so that no encoding hides the declaration.
    """
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _on_dtd
    parser.StartElementHandler = _on_element
    try:
        parser.Parse(content, True)
    except _PrologEndedError:
        return
    except _DtdFoundError as error:
        raise DocumentUnreadable(f"{name}: declares a document type (DTD), which such files don't need and attacks use; save it anew") from error
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: unknown and multi-byte encodings
        raise DocumentUnreadable(f"{name}: not well-formed XML ({error})") from error


def parse_xml(content: bytes, name: str) -> etree._Element:
    """The root element. Raises DocumentUnreadable for broken XML, and for any document type declaration."""
    refuse_dtd(content, name)
    try:
        return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
    except (etree.LxmlError, ValueError) as error:
        raise DocumentUnreadable(f"{name}: not well-formed XML ({error})") from error


def _on_dtd(*_: object) -> None:
    raise _DtdFoundError


def _on_element(*_: object) -> None:
    raise _PrologEndedError
