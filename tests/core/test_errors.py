import re

import pytest

from core import errors
from core.errors import EkibenError, ErrorBody, ErrorInfo, Internal, StartupError, UnavailableError, all_errors, error_from

_ROW = re.compile(r"^(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?P<rest>.*)$", re.MULTILINE)


def _drawn() -> dict[str, tuple[str, int | None, str, bool]]:
    """Name -> (parent, status, code, retryable), as the tree in the module's docstring says."""
    tree = (errors.__doc__ or "").partition("\n\n")[2]
    rows: dict[str, tuple[str, int | None, str, bool]] = {}
    path: list[str] = []
    for row in _ROW.finditer(tree):
        depth = len(row["branch"]) // 4
        path[depth:] = [row["name"]]
        facts = re.fullmatch(r"\s*(?P<status>\d{3})?\s*(?P<code>[a-z_]+)(?P<retryable>\s+retryable)?", row["rest"])
        if depth and facts:
            status = int(facts["status"]) if facts["status"] else None
            rows[row["name"]] = (path[depth - 1], status, facts["code"], bool(facts["retryable"]))
    return rows


def test_the_drawn_tree_is_the_tree_of_the_classes() -> None:
    built = {cls.__name__: (cls.__bases__[0].__name__, cls.status, cls.code, cls.retryable) for cls in all_errors()}
    assert _drawn() == built
    assert len(built) > 20


def test_every_code_is_unique_and_says_the_class_name() -> None:
    codes = [cls.code for cls in all_errors()]
    assert len(set(codes)) == len(codes)
    assert {cls.__name__.lower() for cls in all_errors()} == {code.replace("_", "") for code in codes}


@pytest.mark.parametrize("cls", list(all_errors()))
def test_an_error_survives_the_wire(cls: type[EkibenError]) -> None:
    body = ErrorBody(error=cls("what is wrong, and the way out").info("request-1"))
    back = ErrorBody.model_validate_json(body.model_dump_json()).error
    assert type(error_from(back)) is cls
    assert error_from(back).message == str(error_from(back)) == "what is wrong, and the way out"
    assert (back.code, back.retryable, back.request_id) == (cls.code, cls.retryable, "request-1")


@pytest.mark.parametrize("code", ["", "of_another_version"])
def test_an_unknown_code_becomes_internal(code: str) -> None:
    error = error_from(ErrorInfo(code=code, message="kept"))
    assert (type(error), error.message) == (Internal, "kept")


def test_what_may_be_tried_again_is_what_is_unavailable() -> None:
    assert {cls for cls in all_errors() if cls.retryable} == set(all_errors(UnavailableError))


def test_only_startup_errors_have_no_status() -> None:
    assert {cls for cls in all_errors() if cls.status is None} == set(all_errors(StartupError))
