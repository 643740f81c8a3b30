"""Reading ahead and writing behind keep the order, overlap with the work between them, and pass errors on."""

import threading

import pytest

from fast_style.stylize.video.pipeline import WAITING, ReadAhead, WriteBehind

SECONDS = 20  # Until a test without overlap fails instead of waiting for ever.


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("read", "write"))]


def test_parts_and_calls_keep_their_order():
    seen = []
    with ReadAhead(iter(range(20))) as parts, WriteBehind() as written:
        for part in parts:
            written.add(seen.append, part)
    assert seen == list(range(20))
    assert threads() == []


def test_the_next_part_is_read_while_this_one_is_in_work():
    second_is_read = threading.Event()

    def parts():
        yield 1
        second_is_read.set()
        yield 2

    with ReadAhead(parts()) as ahead:
        assert next(ahead) == 1
        assert second_is_read.wait(SECONDS)


def test_a_part_is_written_while_the_next_one_is_in_work():
    may_end, ended = threading.Event(), threading.Event()

    def slow():
        assert may_end.wait(SECONDS)
        ended.set()

    with WriteBehind() as written:
        written.add(slow)
        assert not ended.is_set()
        may_end.set()
    assert ended.is_set()


def test_a_bounded_number_of_parts_is_read_ahead():
    read = []

    def parts():
        for number in range(50):
            read.append(number)
            yield number

    with ReadAhead(parts()) as ahead:
        for number in ahead:
            assert len(read) <= number + 1 + WAITING
            if number == 30:
                break
    assert len(read) <= 31 + WAITING


def test_an_error_while_reading_is_raised_where_the_part_is_needed():
    def parts():
        yield 1
        raise ValueError("The video is damaged.")

    with ReadAhead(parts()) as ahead:
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="damaged"):
            next(ahead)
    assert threads() == []


def fail():
    raise OSError("The disk is full.")


def write(*calls):
    with WriteBehind() as written:
        for call in calls:
            written.add(call)


@pytest.mark.parametrize("calls_after", [0, 1, 2 * WAITING])
def test_an_error_while_writing_is_raised(calls_after):
    with pytest.raises(OSError, match="full"):
        write(fail, *[int] * calls_after)
    assert threads() == []


def test_an_error_of_the_work_is_raised_before_that_of_the_writing():
    def work():
        with WriteBehind() as written:
            written.add(fail)
            raise ValueError("The photo is too small.")

    with pytest.raises(ValueError, match="too small"):
        work()
