"""Reading ahead and writing behind keep the order, overlap with the work between them, and pass errors on."""

import threading

import numpy as np
import pytest

from fast_style.stylize.video.frame import Frame
from fast_style.stylize.video.pipeline import WAITING, ReadAhead, WriteBehind
from fast_style.stylize.video.stylize_video import MOST_PACKETS, with_sound

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


def test_calls_that_have_not_begun_are_dropped_after_an_error_of_the_work():
    begun, may_end, seen = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        assert may_end.wait(SECONDS)
        seen.append("slow")

    def work():
        with WriteBehind() as written:
            written.add(slow)
            written.add(seen.append, "next")
            assert begun.wait(SECONDS)
            threading.Timer(0.2, may_end.set).start()
            raise ValueError("The photo is too small.")

    with pytest.raises(ValueError, match="too small"):
        work()
    assert seen == ["slow"]
    assert threads() == []


def test_the_call_that_has_begun_ends_before_ctrl_c_goes_on(monkeypatch):
    """A second Ctrl-C while the last calls are awaited: the file is closed next, so no thread may use it."""
    ended, may_end = threading.Event(), threading.Event()
    wait = WriteBehind.__init__.__globals__["ThreadPoolExecutor"].shutdown
    interrupts = [KeyboardInterrupt()]

    def shutdown(thread, **settings):
        if interrupts:
            threading.Timer(0.2, may_end.set).start()
            raise interrupts.pop()
        wait(thread, **settings)

    monkeypatch.setattr("fast_style.stylize.video.pipeline.ThreadPoolExecutor.shutdown", shutdown)

    def slow():
        assert may_end.wait(SECONDS)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        write(slow)
    assert ended.is_set()


@pytest.mark.parametrize("packets", [0, 1, 3])
def test_the_next_frame_is_read_ahead_whatever_sound_lies_between(packets):
    frames = [Frame(np.zeros((2, 2, 3), np.uint8), start, 1) for start in range(4)]
    read = []

    def parts():
        for frame in frames:
            yield from [f"sound {frame.start}"] * packets
            read.append(frame.start)
            yield frame
        yield from ["the end"] * packets

    assert [frame for _, frame in with_sound(parts()) if frame] == frames
    assert [packet for sound, _ in with_sound(parts()) for packet in sound].count("the end") == packets
    read.clear()
    with ReadAhead(with_sound(parts())) as ahead:
        sound, frame = next(ahead)
        assert (sound, frame) == (["sound 0"] * packets, frames[0])
        next(ahead)
        assert len(read) >= 2


def test_sound_without_frames_does_not_pile_up():
    parts = list(with_sound(["sound"] * (2 * MOST_PACKETS + 1)))
    assert [(len(sound), frame) for sound, frame in parts] == [(MOST_PACKETS, None)] * 2 + [(1, None)]
