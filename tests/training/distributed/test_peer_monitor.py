"""Connections between processes, here between threads: who learns what when one of them ends."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Queue
from typing import Any

import pytest

from fast_style.training.distributed.peer_monitor import DONE, FAILED, PeerMonitor, connect, listen

COUNT = 3


class Meeting:
    """Three connected ends over real sockets, and what each `on_end` was called with."""

    def __init__(self) -> None:
        shared: list[Queue[Any]] = [Queue() for _ in range(COUNT)]
        self.told: list[Queue[int]] = [Queue() for _ in range(COUNT)]

        def share(value: Any) -> Any:
            for queue in shared:
                queue.put(value)

        with ThreadPoolExecutor() as pool:
            first = pool.submit(listen, COUNT, share)
            others = [pool.submit(connect, rank, "127.0.0.1", lambda _, r=rank: shared[r].get()) for rank in (1, 2)]
            self.lines = [first.result(10), *(other.result(10) for other in others)]
        self.ends: dict[int, PeerMonitor] = {}

    def live(self, *ranks: int) -> None:
        for rank in ranks:
            self.ends[rank] = PeerMonitor(self.lines[rank], self.told[rank].put)

    def die(self, rank: int) -> None:
        for line in self.lines[rank].values():
            line.close()


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    meeting = Meeting()
    yield meeting
    # Shut down before closing: a listener that is about to read a socket must find it open.
    for line in (line for lines in meeting.lines for line in lines.values()):
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
    for end in meeting.ends.values():
        end._listener.join(10)
    for rank in range(COUNT):
        meeting.die(rank)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_all_others_learn_which_process_died(meeting: Meeting, lost: int) -> None:
    others = {0, 1, 2} - {lost}
    meeting.live(*others)
    meeting.die(lost)
    for rank in others:
        assert meeting.told[rank].get(timeout=5) == lost
        assert meeting.ends[rank].ended(0) == lost


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_all_others_learn_that_a_process_failed(meeting: Meeting, failing: int) -> None:
    meeting.live(0, 1, 2)
    meeting.ends[failing].leave(FAILED)
    for rank in {0, 1, 2} - {failing}:
        assert meeting.told[rank].get(timeout=5) == FAILED


def test_an_orderly_end_is_not_reported(meeting: Meeting) -> None:
    meeting.live(0, 1, 2)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda end: end.leave(DONE), meeting.ends.values()))
    for rank in range(COUNT):
        meeting.die(rank)
        assert meeting.ends[rank].ended(0.05) is None
        assert meeting.told[rank].empty()


def test_a_death_is_reported_after_another_process_ended_orderly(meeting: Meeting) -> None:
    meeting.live(0, 1)
    threading.Thread(target=meeting.ends[1].leave, args=[DONE], daemon=True).start()
    meeting.die(2)
    assert meeting.told[0].get(timeout=5) == 2


def test_a_connection_without_the_token_is_closed() -> None:
    shared: Queue[Any] = Queue()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(listen, 2, shared.put)
        port, token = shared.get(timeout=5)
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(bytes(16))
            assert stranger.recv(1) == b""
        friend = connect(1, "127.0.0.1", lambda _: (port, token))
        lines = first.result(5)
    assert lines.keys() == {1}
    for line in (*lines.values(), *friend.values()):
        line.close()


def test_listening_for_a_missing_process_times_out() -> None:
    with pytest.raises(TimeoutError):
        listen(2, lambda _: None, timeout=0.1)
