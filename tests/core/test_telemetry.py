import json
import logging
from collections.abc import Iterator

import pytest

from core.settings import LoggingSettings
from core.telemetry import configure_logging, new_request_id, request_id


@pytest.fixture(autouse=True)
def _restored_logger() -> Iterator[None]:
    logger = logging.getLogger("ekiben")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def _logged(capsys: pytest.CaptureFixture[str], format_name: str, level: str = "INFO") -> str:
    configure_logging(LoggingSettings.model_validate({"level": level, "format": format_name}), "gateway")
    token = request_id.set("request-1")
    try:
        logging.getLogger("ekiben.request").info('said "%s"\nand more', "x", extra={"status": 200, "ms": 1.5, "path": "/v1/a b"})
        logging.getLogger("ekiben.request").debug("a text of a user")
    finally:
        request_id.reset(token)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize("proposed", ["a", "A-1_b.2", "x" * 128])
def test_a_harmless_request_id_is_kept(proposed: str) -> None:
    assert new_request_id(proposed) == proposed


@pytest.mark.parametrize("proposed", [None, "", "x" * 129, "a b", "a\n", "a\r\nSet-Cookie: x", "é", "a/b", "\x00"])
def test_any_other_request_id_is_replaced_by_a_new_one(proposed: str | None) -> None:
    first, second = new_request_id(proposed), new_request_id(proposed)
    assert first != second
    assert new_request_id(first) == first
    assert proposed not in (first, second)


def test_a_json_log_line_is_one_object_with_all_fields(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _logged(capsys, "json").splitlines()
    record = json.loads(line)
    assert record.pop("time")
    assert record == {
        "level": "INFO",
        "logger": "ekiben.request",
        "message": 'said "x"\nand more',
        "request_id": "request-1",
        "service": "gateway",
        "status": 200,
        "ms": 1.5,
        "path": "/v1/a b",
    }


def test_a_console_line_names_service_message_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    text = _logged(capsys, "console")
    assert " INFO    gateway   said" in text
    assert text.endswith("and more status=200 ms=1.5 path=/v1/a b request_id=request-1\n")


def test_debug_lines_appear_at_debug_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert "a text of a user" not in _logged(capsys, "json")
    assert "a text of a user" in _logged(capsys, "json", "DEBUG")


def test_configuring_twice_does_not_log_twice(capsys: pytest.CaptureFixture[str]) -> None:
    _logged(capsys, "json")
    assert len(_logged(capsys, "json").splitlines()) == 1
