"""A transient error is retried as often and after the pauses that the caller set."""

import pytest

from fast_style.data import retry as retrying
from fast_style.data.retry import retry


class DroppedError(Exception):
    """A retry may succeed."""


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(retrying.time, "sleep", pauses.append)
    return pauses


def failing(*errors: Exception):
    """Raises these, one a call, and then returns `done`."""
    waiting = list(errors)

    def action() -> str:
        if waiting:
            raise waiting.pop(0)
        return "done"

    return action


def with_retries(action):
    return retry(action, backoff=(1.0, 3.0), is_transient=lambda error: isinstance(error, DroppedError))


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_it_waits_longer_each_time(waited: list[float], failures: int) -> None:
    assert with_retries(failing(*[DroppedError()] * failures)) == "done"
    assert waited == [1.0, 3.0][:failures]


def test_the_last_error_is_raised(waited: list[float]) -> None:
    last = DroppedError("last")
    with pytest.raises(DroppedError) as raised:
        with_retries(failing(DroppedError(), DroppedError(), last))
    assert raised.value is last
    assert waited == [1.0, 3.0]


@pytest.mark.parametrize("error", [ValueError("no such URL"), KeyboardInterrupt()], ids=["for good", "Ctrl-C"])
def test_a_permanent_error_is_raised_at_once(waited: list[float], error) -> None:
    with pytest.raises(type(error)):
        with_retries(failing(error))
    assert waited == []
