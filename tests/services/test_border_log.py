"""One line a request, at the level that says where it came from and how it ended."""

import json
import logging
from collections.abc import Iterator

import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tests.services.border_client import answering, ask, bordered, echo


class Lines(logging.Handler):
    """Keeps the records of the border's logger, whatever the level and whoever configured logging before."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def levels(self) -> list[str]:
        return [record.levelname for record in self.records]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("ekiben.request")
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.manager._clear_cache()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("status", "level"), [(200, "INFO"), (404, "INFO"), (422, "INFO"), (429, "INFO"), (500, "WARNING"), (503, "WARNING")])
async def test_request_at_the_entrance_is_one_line(lines: Lines, status: int, level: str) -> None:
    response = await ask(bordered(answering(status)), "GET", "/v1/answer")
    assert lines.levels == [level]
    fields = vars(lines.records[0])
    assert (fields["method"], fields["path"], fields["status"]) == ("GET", "/v1/answer", response.status_code)
    assert 0 <= fields["ms"] < 5_000


async def test_call_between_services_is_logged_at_debug(lines: Lines, baggage_of_a_caller: str) -> None:
    await ask(bordered(answering(200), entrance=False))
    await ask(bordered(answering(500), entrance=False))
    assert lines.levels == ["DEBUG", "DEBUG"]


async def test_caller_can_not_silence_the_entrance(lines: Lines, baggage_of_a_caller: str) -> None:
    await ask(bordered(answering(200)))
    assert lines.levels == ["INFO"]


async def test_request_that_reaches_a_service_from_elsewhere_is_logged(lines: Lines) -> None:
    await ask(bordered(answering(200), entrance=False))
    assert lines.levels == ["INFO"]


async def test_probes_are_logged_at_debug(lines: Lines) -> None:
    await ask(bordered(answering(503)), "GET", "/readyz")
    assert lines.levels == ["DEBUG"]


async def test_text_of_a_user_is_not_in_the_log(lines: Lines) -> None:
    body = {"question": "a very private question"}
    for app in (echo, JSONResponse(body, 500), JSONResponse({"detail": [{"loc": ["question"], "msg": "no", "input": body}]}, 400)):
        await ask(bordered(app), "POST", "/", json=body)
    await ask(bordered(echo), "POST", "/", content=json.dumps(body), headers={"content-type": "text/plain"})
    assert len(lines.records) == 4
    assert "private" not in "".join(str(vars(record)) for record in lines.records)


async def test_failure_is_logged_with_its_traceback(lines: Lines) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("the reason")

    await ask(bordered(app))
    assert lines.levels == ["ERROR", "WARNING"]
    assert lines.records[0].exc_info
    assert str(lines.records[0].exc_info[1]) == "the reason"
