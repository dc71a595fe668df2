import threading

from services.retriever.read_write_lock import ReadWriteLock

WAIT_S = 10


def test_readers_hold_the_lock_together() -> None:
    lock, both_inside = ReadWriteLock(), threading.Barrier(2)

    def read() -> None:
        with lock.reading():
            both_inside.wait(WAIT_S)

    beside = threading.Thread(target=read)
    beside.start()
    read()
    beside.join(WAIT_S)
    assert not both_inside.broken


def test_a_writer_waits_for_readers_and_goes_before_later_ones() -> None:
    lock, order = ReadWriteLock(), []
    writer_is_due = threading.Event()

    def write() -> None:
        writer_is_due.set()
        with lock.writing():
            order.append("writer")

    def read_later() -> None:
        with lock.reading():
            order.append("later reader")

    writer, later = threading.Thread(target=write), threading.Thread(target=read_later)
    with lock.reading():
        writer.start()
        writer_is_due.wait(WAIT_S)
        while not lock._turnstile.locked():  # the writer has announced itself and waits for this reader
            pass
        later.start()
        order.append("first reader")
    writer.join(WAIT_S)
    later.join(WAIT_S)
    assert order == ["first reader", "writer", "later reader"]


def test_an_error_inside_leaves_the_lock_free() -> None:
    lock = ReadWriteLock()
    for hold in (lock.reading, lock.writing):
        try:
            with hold():
                raise KeyError
        except KeyError:
            pass
    with lock.writing():
        assert lock._readers == 0
