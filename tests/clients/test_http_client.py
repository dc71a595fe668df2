from pathlib import Path

import httpx
import pytest

from clients.connection import Unreachable
from clients.http_client import LONG_PATIENCE_S, MAX_SYNC_CHARS, MAX_SYNC_DOCUMENTS, PATIENCE_S, EkibenClient
from core.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    DocumentNotFound,
    EkibenError,
    Internal,
    InvalidRequest,
    JobNotFound,
    NotReady,
    Overloaded,
    QueueFull,
    all_errors,
)
from core.schemas import AnswerRequest, CollectionSettings, Document, FieldMap, ReindexStatus, SearchRequest
from core.settings import load_settings
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
    gateway.failures = [error_answer(cls("the reason")) for _ in range(50)]
    with pytest.raises(cls, match="the reason") as caught:
        _ask(client)
    assert type(caught.value) is cls
    assert len(gateway.requests) == (6 if cls.retryable and cls is not DeadlineExceeded else 1)


@pytest.mark.parametrize("failure", [Overloaded("busy"), NotReady("soon"), DependencyUnavailable("down")])
def test_what_passes_is_tried_again_and_waited_for_longer_each_time(
    gateway: FakeGateway, client: EkibenClient, waits: list[float], failure: EkibenError
) -> None:
    gateway.failures = [error_answer(failure) for _ in range(5)]
    _ask(client)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0]


def _patient(gateway: FakeGateway) -> EkibenClient:
    return EkibenClient(patience_s=LONG_PATIENCE_S, transport=httpx.MockTransport(gateway))


def test_retry_after_is_honoured_up_to_a_bound(gateway: FakeGateway, waits: list[float]) -> None:
    asked = ["3", "0", "3600", "Wed, 21 Oct 2026 07:28:00 GMT", "-1"]
    gateway.failures = [error_answer(Overloaded("busy"), {"Retry-After": value}) for value in asked]
    _ask(_patient(gateway))
    assert waits == [3.0, 0.25, 10.0, 2.0, 4.0]


def test_a_full_queue_is_waited_for_up_to_a_minute_a_time(gateway: FakeGateway, waits: list[float]) -> None:
    gateway.failures = [error_answer(QueueFull("full"), {"Retry-After": value}) for value in ("45", "3600")]
    _ask(_patient(gateway))
    assert waits == [45.0, 60.0]


@pytest.mark.parametrize("retry_after", [None, "0", "1", "7"])
@pytest.mark.parametrize("patience_s", [PATIENCE_S, LONG_PATIENCE_S])
def test_patience_bounds_the_pauses_of_a_call_in_all(gateway: FakeGateway, waits: list[float], retry_after: str | None, patience_s: float) -> None:
    headers = {"Retry-After": retry_after} if retry_after else None
    gateway.failures = [error_answer(Overloaded("busy"), headers) for _ in range(2_000)]
    with pytest.raises(Overloaded):
        _ask(EkibenClient(patience_s=patience_s, transport=httpx.MockTransport(gateway)))
    assert patience_s - 10 <= sum(waits) <= patience_s


def test_a_gateway_that_answered_before_and_is_gone_is_waited_for(gateway: FakeGateway, waits: list[float]) -> None:
    client = _patient(gateway)
    _ask(client)
    gateway.failures = [httpx.ReadError("reset"), *[httpx.ConnectError("refused")] * 5, error_answer(NotReady("starting"))]
    _ask(client)
    assert len(waits) == 7


def test_who_gave_up_tries_nothing_again(gateway: FakeGateway, waits: list[float]) -> None:
    client = _patient(gateway)
    client.give_up()
    gateway.failures = [error_answer(Overloaded("busy"))]
    with pytest.raises(Overloaded):
        _ask(client)
    assert (len(gateway.requests), waits) == (1, [])


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


# -- adding -----------------------------------------------------------------------------------------------------------------------


def test_batches_stay_below_what_the_gateway_stores_before_it_answers() -> None:
    limits = load_settings().jobs
    assert limits.sync_documents > MAX_SYNC_DOCUMENTS
    assert limits.sync_chars > MAX_SYNC_CHARS


def test_many_documents_are_added_in_pieces_and_answered_in_order(client: EkibenClient, gateway: FakeGateway) -> None:
    documents = [Document(id=f"s{number}", text="x") for number in range(100)] + [
        Document(id=f"l{number}", text="x" * 150_000) for number in range(5)
    ]
    results = client.add(documents).documents
    assert [result.id for result in results] == [document.id for document in documents]
    assert [len(batch) for batch in gateway.batches] == [48, 48, 6, 2, 1]
    assert client.add([]).documents == ()


@pytest.mark.parametrize(("text", "expected"), [("x", "created"), ("POISON", "failed")])
def test_a_document_that_becomes_a_job_is_waited_for(
    client: EkibenClient, gateway: FakeGateway, waits: list[float], text: str, expected: str
) -> None:
    gateway.sync_chars = 0
    (result,) = client.add([Document(id="a", text=text)]).documents
    assert (result.id, result.state) == ("a", expected)
    assert (result.error is not None) == (expected == "failed")
    assert waits == pytest.approx([0.1, 0.15])


def test_a_batch_that_becomes_a_job_has_the_right_number_of_each_state(client: EkibenClient, gateway: FakeGateway) -> None:
    client.add([Document(id="old", text="x")])
    gateway.sync_chars = 0
    batch = [Document(id="old", text="x"), Document(id="bad", text="POISON"), Document(id="new", text="y")]
    results = client.add(batch).documents
    assert [result.id for result in results] == ["old", "bad", "new"]
    assert sorted(result.state for result in results) == ["created", "failed", "unchanged"]
    assert results[1].state == "failed"


def test_the_documents_that_a_cancelled_job_did_not_come_to_have_failed(client: EkibenClient, gateway: FakeGateway) -> None:
    gateway.sync_chars, gateway.polls = 0, 1
    start = gateway._start_job

    def cancelled(*arguments: object) -> object:
        job = start(*arguments)  # type: ignore[arg-type]
        gateway.jobs[job.id] = job.model_copy(update={"state": "cancelled"})
        return job

    gateway._start_job = cancelled  # type: ignore[assignment, method-assign]
    (result,) = client.add([Document(id="a", text="x")]).documents
    assert result.error is not None
    assert "cancelled without this document; send it again" in result.error.message


# -- jobs, collections, maintenance -----------------------------------------------------------------------------------------------


def test_files_are_uploaded_with_collection_and_fields_and_again_after_a_lost_connection(
    client: EkibenClient, gateway: FakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "größe.txt").write_text("Some text.")
    (tmp_path / "b.json").write_text("{}")
    gateway.failures = [httpx.ReadError("reset")]
    job = client.upload([tmp_path / "größe.txt", tmp_path / "b.json"], "mine", FieldMap(text="body"))
    assert job.state == "queued"
    first, second = (request.content for request in gateway.requests)
    for content in (first, second):
        for part in (b"Some text.", "größe.txt".encode(), b'"b.json"', b'{"text":"body"}', b"mine"):
            assert part in content


def test_a_job_is_watched_with_growing_pauses_until_it_is_finished(
    client: EkibenClient, gateway: FakeGateway, waits: list[float], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("x")
    job = client.upload([tmp_path / "a.txt"])
    gateway.polls = 12
    assert client.wait(job.id).state == "done"
    assert len(waits) == 11
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.1, 2.0)


def test_jobs_are_listed_page_by_page_shown_and_cancelled(client: EkibenClient, gateway: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    jobs = [client.upload([tmp_path / "a.txt"]) for _ in range(1_001)]
    assert [job.id for job in client.all_jobs()] == [job.id for job in jobs]
    assert client.cancel_job(jobs[0].id).state == "cancelled"
    assert [job.id for job in client.all_jobs(state="cancelled")] == [jobs[0].id]
    with pytest.raises(JobNotFound):
        client.job("a/../b")


def test_collections_are_created_listed_and_deleted(client: EkibenClient) -> None:
    settings = CollectionSettings(description="mails", chunk_tokens=64)
    assert client.put_collection("mine", settings).settings == settings
    assert [collection.name for collection in client.collections()] == ["mine"]
    assert client.delete_collection("mine").documents == 2
    assert client.collections() == ()


def test_long_work_has_a_time_of_its_own(client: EkibenClient, gateway: FakeGateway) -> None:
    client.compact()
    client.put_collection("mine", CollectionSettings())
    client.delete_collection("mine")
    assert [request.extensions["timeout"]["read"] for request in gateway.requests] == [3600.0, 180.0, 3600.0]


def test_a_reindexing_is_watched_until_it_is_gone_or_has_failed(client: EkibenClient, gateway: FakeGateway) -> None:
    states = [ReindexStatus(state="running", target="t", documents_done=done, documents_total=2) for done in range(2)]
    gateway.reindexing = [*states, None]
    assert list(client.watch_reindex()) == states
    gateway.reindexing = [states[0], states[1].model_copy(update={"state": "failed"}), states[0]]
    assert [state.state for state in client.watch_reindex()] == ["running", "failed"]


def test_who_gave_up_waits_for_no_job(client: EkibenClient, gateway: FakeGateway, waits: list[float], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    job = client.upload([tmp_path / "a.txt"])
    client.give_up()
    with pytest.raises(DependencyUnavailable, match=f"ekiben jobs show {job.id}"):
        client.wait(job.id)
    assert len(waits) <= 1
