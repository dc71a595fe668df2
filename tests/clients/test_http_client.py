import httpx
import pytest

from clients.http_client import MAX_ATTEMPTS, EkibenClient, Unreachable
from core.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    DocumentNotFound,
    EkibenError,
    Internal,
    InvalidRequest,
    NotReady,
    Overloaded,
    all_errors,
)
from core.schemas import AnswerRequest, Document, SearchRequest
from tests.clients.fake_gateway import ANSWER, PASSAGE, FakeGateway, error_answer


@pytest.fixture
def client(gateway: FakeGateway, waits: list[float]) -> EkibenClient:
    return EkibenClient(transport=httpx.MockTransport(gateway))


def _ask(client: EkibenClient) -> None:
    client.answer(AnswerRequest(question="What?"))


def test_answers_and_passages_come_back_as_they_were_sent(client: EkibenClient, gateway: FakeGateway) -> None:
    assert client.answer(AnswerRequest(question="What?", filters={"year": 1901, "old": True}, top_k=3)) == ANSWER
    assert (gateway.asked["filters"], gateway.asked["top_k"]) == ({"year": 1901, "old": True}, 3)
    assert client.search(SearchRequest(query="text", mode="dense")).passages == (PASSAGE,)
    assert gateway.asked["mode"] == "dense"


@pytest.mark.parametrize(
    "identifier", ["a", "folder/a b.md", "日本/😀.txt", "a?b=c&d#e", "100%", "%2F", "a/", "/a", "a//b", ".", "..", "a/../b", "./a", "+"]
)
def test_a_document_is_got_and_deleted_by_any_id(client: EkibenClient, gateway: FakeGateway, identifier: str) -> None:
    document = Document(id=identifier, text="x", metadata={"k": 1})
    other = Document(id="b", text="y")
    assert [result.state for result in client.add([document, other], "mine").documents] == ["created", "created"]
    assert client.get(identifier, "mine").metadata == {"k": 1}
    assert client.delete(identifier, "mine").id == identifier
    assert list(gateway.stored) == [("mine", "b")]


def test_all_documents_are_listed_page_by_page(client: EkibenClient, gateway: FakeGateway) -> None:
    gateway.stored = {("c", f"{number:04}"): Document(id=f"{number:04}", text="x") for number in range(2500)}
    assert [row.id for row in client.all_documents()] == [f"{number:04}" for number in range(2500)]
    assert len(gateway.requests) == 3
    assert list(client.all_documents("other")) == []


@pytest.mark.parametrize("cls", list(all_errors()))
def test_every_error_of_the_tree_is_raised_as_what_it_is(gateway: FakeGateway, client: EkibenClient, cls: type[EkibenError]) -> None:
    gateway.failures = [error_answer(cls("the reason")) for _ in range(MAX_ATTEMPTS)]
    with pytest.raises(cls, match="the reason") as caught:
        _ask(client)
    assert type(caught.value) is cls
    assert len(gateway.requests) == (MAX_ATTEMPTS if cls.retryable and cls is not DeadlineExceeded else 1)


@pytest.mark.parametrize("failure", [Overloaded("busy"), NotReady("soon"), DependencyUnavailable("down")])
def test_what_passes_is_tried_again_and_waited_for_longer_each_time(
    gateway: FakeGateway, client: EkibenClient, waits: list[float], failure: EkibenError
) -> None:
    gateway.failures = [error_answer(failure) for _ in range(MAX_ATTEMPTS - 1)]
    _ask(client)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0]


def test_retry_after_is_honoured_up_to_a_bound(gateway: FakeGateway, client: EkibenClient, waits: list[float]) -> None:
    asked = ["3", "0", "3600", "Wed, 21 Oct 2026 07:28:00 GMT", "-1"]
    gateway.failures = [error_answer(Overloaded("busy"), {"Retry-After": value}) for value in asked]
    _ask(client)
    assert waits == [3.0, 0.0, 10.0, 2.0, 4.0]


def test_a_lost_connection_is_tried_again(gateway: FakeGateway, client: EkibenClient, waits: list[float]) -> None:
    gateway.failures = [httpx.ReadError("reset"), httpx.RemoteProtocolError("closed")]
    _ask(client)
    assert len(waits) == 2


@pytest.mark.parametrize("failure", [InvalidRequest("no"), DocumentNotFound("none"), Internal("a fault")])
def test_what_does_not_pass_is_not_tried_again(gateway: FakeGateway, client: EkibenClient, failure: EkibenError) -> None:
    gateway.failures = [error_answer(failure)]
    with pytest.raises(type(failure)):
        _ask(client)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ConnectTimeout("no route")])
def test_where_nothing_answers_the_way_out_is_named_at_once(gateway: FakeGateway, client: EkibenClient, failure: Exception) -> None:
    gateway.failures = [failure]
    with pytest.raises(Unreachable, match="ekiben serve"):
        _ask(client)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("url", ["localhost:3000", "nonsense", "ftp://host", "http://host:port", ""])
def test_an_address_that_is_none_is_refused_at_once_by_name(waits: list[float], url: str) -> None:
    with pytest.raises(Unreachable, match="is no address of a gateway"), EkibenClient(url) as client:
        _ask(client)
    assert waits == []


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(500, text="<html>"), httpx.Response(404, json={"detail": "x"}), httpx.Response(200, text="<html>"), httpx.Response(200, json={})],
)
def test_what_is_no_gateway_is_told_apart(gateway: FakeGateway, client: EkibenClient, answer: httpx.Response) -> None:
    gateway.failures = [answer]
    with pytest.raises(Internal, match=r"127\.0\.0\.1:3000"):
        _ask(client)


def test_a_call_that_ran_out_of_time_is_not_repeated(gateway: FakeGateway, client: EkibenClient) -> None:
    gateway.failures = [httpx.ReadTimeout("late")]
    with pytest.raises(DeadlineExceeded, match="did not answer in time"):
        _ask(client)
    assert len(gateway.requests) == 1
