import threading
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.http_client import MAX_SYNC_DOCUMENTS
from clients.ingesting.outcomes import Outcome
from clients.ingesting.sending import IN_FLIGHT, MAX_BATCH_CHARS, MAX_WAITING, Item, send_all
from core.errors import Internal
from core.schemas import Document, DocumentResult

Batches = list[list[Document]]


def _created(documents: Sequence[Document]) -> list[DocumentResult]:
    return [DocumentResult(id=document.id, state="created") for document in documents]


def _documents(count: int, chars: int = 1) -> list[Document]:
    return [Document(id=str(number), text="x" * chars) for number in range(count)]


def _no_need() -> None:
    raise AssertionError("nothing went wrong")


@given(sizes=st.lists(st.sampled_from([0, 1, 30_000, 70_000, 100_000, 450_000]), max_size=120))
def test_every_item_is_reported_once_in_order_and_batches_are_bounded(sizes: list[int]) -> None:
    """A size of 0 stands for an item that isn't sent."""
    items: list[Item] = [
        Document(id=str(number), text="x" * size) if size else Outcome(id=str(number), state="unchanged") for number, size in enumerate(sizes)
    ]
    batches: Batches = []
    reported: list[Outcome] = []

    def send(documents: Sequence[Document]) -> list[DocumentResult]:
        batches.append(list(documents))
        return _created(documents)

    send_all(items, send, reported.append, _no_need)
    assert [(one.id, one.state) for one in reported] == [(str(number), "created" if size else "unchanged") for number, size in enumerate(sizes)]
    assert all(len(batch) <= MAX_SYNC_DOCUMENTS for batch in batches)
    assert all(len(batch) == 1 or sum(len(one.text) for one in batch) <= MAX_BATCH_CHARS for batch in batches)
    assert all(batches)


def test_several_batches_are_in_flight_at_once_and_no_more() -> None:
    meeting = threading.Barrier(IN_FLIGHT, timeout=10)
    in_flight: list[int] = []
    lock = threading.Lock()
    count = 0

    def send(documents: Sequence[Document]) -> list[DocumentResult]:
        nonlocal count
        with lock:
            count += 1
            in_flight.append(count)
        meeting.wait()
        with lock:
            count -= 1
        return _created(documents)

    # One document a batch, in whole rounds of the barrier.
    send_all(_documents(3 * IN_FLIGHT, MAX_BATCH_CHARS), send, lambda _: None, _no_need)
    assert max(in_flight) == IN_FLIGHT


def test_no_more_is_taken_from_the_loader_than_a_slow_server_leaves_room_for() -> None:
    taken = 0
    go_on = threading.Event()
    at_bound = threading.Event()
    bound = MAX_WAITING + 1

    def loading() -> Iterator[Document]:
        nonlocal taken
        for document in _documents(30, MAX_BATCH_CHARS):
            taken += 1
            if taken == bound:
                at_bound.set()
            assert taken <= bound or go_on.is_set()
            yield document

    def send(documents: Sequence[Document]) -> list[DocumentResult]:
        assert go_on.wait(10)
        return _created(documents)

    reported: list[Outcome] = []
    sending = threading.Thread(target=send_all, args=(loading(), send, reported.append, _no_need))
    sending.start()
    assert at_bound.wait(10)
    assert (taken, reported) == (bound, [])
    go_on.set()
    sending.join(10)
    assert len(reported) == 30


def test_an_idle_server_is_given_a_small_batch_instead_of_none() -> None:
    batches: Batches = []

    def loading() -> Iterator[Document]:
        yield from _documents(20)
        assert batches, "nothing was sent while documents were waiting"

    def send(documents: Sequence[Document]) -> list[DocumentResult]:
        batches.append(list(documents))
        return _created(documents)

    send_all(loading(), send, lambda _: None, _no_need)


def test_after_an_error_the_others_in_flight_are_reported_and_nothing_more_is_sent() -> None:
    first_may_fail = threading.Event()
    sent: list[str] = []
    gave_up: list[bool] = []
    reported: list[Outcome] = []

    def send(documents: Sequence[Document]) -> list[DocumentResult]:
        sent.append(documents[0].id)
        if documents[0].id == "0":
            assert first_may_fail.wait(10)
            raise Internal("a fault")
        if documents[0].id == "2":
            first_may_fail.set()
        return _created(documents)

    with pytest.raises(Internal, match="a fault"):
        send_all(_documents(50, MAX_BATCH_CHARS), send, reported.append, lambda: gave_up.append(True))
    assert gave_up == [True]
    assert "0" not in {one.id for one in reported}
    assert {"1", "2"} <= {one.id for one in reported} == set(sent) - {"0"}
    assert len(sent) < 50


def test_ctrl_c_gets_through_after_what_is_in_flight() -> None:
    reported: list[Outcome] = []
    gave_up: list[bool] = []

    def loading() -> Iterator[Document]:
        yield from _documents(20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_all(loading(), _created, reported.append, lambda: gave_up.append(True))
    assert gave_up == [True]
    assert [one.id for one in reported] == [str(number) for number in range(len(reported))]
    assert reported
