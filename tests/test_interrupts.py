"""Graceful stops, tested with real signals sent to this process."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

from fast_style.interrupts import Interrupted, SignalHandler

SIGNALS = [signal.SIGINT, signal.SIGTERM]
both = pytest.mark.parametrize("number", SIGNALS)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Signals that reached the previous handlers. Without handlers a failing test would end the whole test run."""
    numbers: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        numbers.append(number)

    before = {number: signal.signal(number, hear) for number in SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


@both
def test_the_first_signal_is_only_recorded(
    number: signal.Signals, heard: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with SignalHandler() as request:
        assert request.signal_number is None
        assert not caplog.messages
        send(number)
        assert request.signal_number == number
    assert request.signal_number == number
    assert heard == []
    assert caplog.messages == ["Finishing this step and saving. Send the signal again to stop at once."]


@both
@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_acts_as_before(number: signal.Signals, second: signal.Signals, heard: list[int]) -> None:
    before = handlers()
    with SignalHandler() as request:
        send(number)
        assert handlers() == before
        send(second)
        assert heard == [second]
        assert request.signal_number == number


@pytest.mark.usefixtures("heard")
def test_a_second_ctrl_c_stops_at_once() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with SignalHandler() as request:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert request.signal_number == signal.SIGINT


@both
def test_the_previous_handlers_are_restored_at_the_end(number: signal.Signals, heard: list[int]) -> None:
    before = handlers()
    with SignalHandler() as request:
        assert all(now != then for now, then in zip(handlers(), before, strict=True))
    assert handlers() == before
    send(number)
    assert heard == [number]
    assert request.signal_number is None


@pytest.mark.usefixtures("heard")
def test_the_previous_handlers_are_restored_after_a_failure() -> None:
    before = handlers()
    with pytest.raises(ValueError, match="wrong"), SignalHandler():
        raise ValueError("wrong")
    assert handlers() == before


@pytest.mark.usefixtures("heard")
def test_a_handler_set_after_the_first_signal_stays() -> None:
    with SignalHandler():
        send(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@both
def test_in_another_thread_signals_reach_the_previous_handlers(number: signal.Signals, heard: list[int]) -> None:
    before = handlers()

    def work() -> tuple[list[object], int | None]:
        with SignalHandler() as request:
            send(number)
            return handlers(), request.signal_number

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(work).result() == (before, None)
    assert heard == [number]
    assert handlers() == before


@both
def test_a_reused_handler_starts_without_a_signal(number: signal.Signals, heard: list[int]) -> None:
    before, request = handlers(), SignalHandler()
    with request:
        send(number)
    with request:
        assert request.signal_number is None
        send(number)
        assert request.signal_number == number
    assert heard == []
    assert handlers() == before


def test_an_interruption_has_its_signal_and_saved_file() -> None:
    plain = Interrupted("Stopped.", signal.SIGTERM)
    assert (str(plain), plain.signal_number, plain.saved) == ("Stopped.", signal.SIGTERM, None)
    assert Interrupted("Stopped.", signal.SIGINT, saved=Path("here")).saved == Path("here")
