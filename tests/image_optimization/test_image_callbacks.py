"""Callbacks: what they show and write, and that they are closed at the end."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator
from torch import Tensor

from fast_style import load_image
from fast_style.image_optimization.callbacks import (
    CallbackList,
    ProgressBarCallback,
    SnapshotCallback,
    TensorBoardCallback,
    by_kind,
)
from fast_style.image_optimization.method import Iterate, Size

WEIGHTS = {"content/relu2": 2.0, "style/relu1": 5.0, "style/relu2": 10.0, "tv": 0.5}


def shade(step: int) -> float:
    """Return the grey value of the image after this step."""
    return step % 100 / 100


def iterate(step: int, steps: int, size: Size = (6, 8), *, picture: Callable[[], Tensor] | None = None) -> Iterate:
    """Return an iterate; all its terms differ, and all change with the step."""
    terms = {name: torch.tensor((index + 1) / step) for index, name in enumerate(WEIGHTS)}
    weighted = {name: WEIGHTS[name] * term for name, term in terms.items()}
    return Iterate(step, steps, size, terms, weighted, picture or (lambda: torch.full((1, 3, *size), shade(step))))


def show(callback: Callable[[Iterate], None], steps: int, *, until: int | None = None) -> None:
    for step in range(1, (until or steps) + 1):
        callback(iterate(step, steps))


def lines(text: str) -> list[str]:
    """Split the terminal output into the successive drawings of the bar."""
    return [line.rstrip() for line in text.replace("\n", "\r").split("\r") if line.strip()]


# ---- ProgressBarCallback


def test_there_is_one_bar_over_all_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBarCallback(refresh_seconds=0)
    for step, size in ((1, (6, 8)), (2, (6, 8)), (3, (12, 16)), (4, (12, 16))):
        bar(iterate(step, 4, size))
    bar.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert lines(err)[-1].startswith("16x12: 100%")
    assert "4/4" in lines(err)[-1]
    assert any(line.startswith("8x6:") and "2/4" in line for line in lines(err))


def test_the_bar_shows_the_weighted_terms_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBarCallback(refresh_seconds=0)
    bar(iterate(1, 4))
    err = capsys.readouterr().err
    bar.close()
    # The terms are 1, 2, 3 and 4 times the weights.
    assert "content=2, style=40, tv=2]" in lines(err)[-1]


def test_the_last_terms_are_shown_however_seldom_the_bar_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBarCallback(refresh_seconds=1000)
    show(bar, 8)
    bar.close()
    last = lines(capsys.readouterr().err)[-1]
    assert "8/8" in last
    assert "content=0.25, style=5, tv=0.25]" in last


def test_terms_are_read_only_when_the_bar_is_drawn() -> None:
    read = []

    class Terms(dict[str, Tensor]):
        def items(self):
            read.append(1)
            return super().items()

    bar = ProgressBarCallback(refresh_seconds=1000)
    for step in range(1, 101):
        seen = iterate(step, 100)
        bar(Iterate(step, 100, seen.size, seen.terms, Terms(seen.weighted), seen.picture))
    bar.close()
    assert len(read) == 2


def test_the_bar_never_asks_for_the_picture() -> None:
    def forbidden() -> Tensor:
        raise AssertionError("made a picture")

    bar = ProgressBarCallback(refresh_seconds=0)
    bar(iterate(1, 1, picture=forbidden))
    bar.close()


def test_a_bar_that_stops_halfway_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBarCallback(refresh_seconds=0)
    show(bar, 4, until=2)
    bar.close()
    assert "2/4" in lines(capsys.readouterr().err)[-1]


def test_a_closed_bar_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBarCallback(refresh_seconds=0)
    show(bar, 4, until=3)
    bar.close()
    assert capsys.readouterr().err
    bar.close()
    bar(iterate(4, 4))
    assert capsys.readouterr() == ("", "")


def test_a_bar_that_was_shown_nothing_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressBarCallback().close()
    assert capsys.readouterr() == ("", "")


# ---- TensorBoardCallback


def read_back(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={IMAGES: 0, SCALARS: 0}).Reload()


def draw(folder: Path, *, steps: int, every: int) -> EventAccumulator:
    curves = TensorBoardCallback(folder, every=every)
    show(curves, steps)
    curves.close()
    return read_back(folder)


def points(events: EventAccumulator, name: str) -> dict[int, float]:
    return {point.step: point.value for point in events.Scalars(name)}


def test_every_term_has_a_curve_plain_and_weighted(tmp_path: Path) -> None:
    events = draw(tmp_path, steps=7, every=3)
    assert set(events.Tags()["scalars"]) == {
        "loss/total",
        *(f"loss/{name}" for name in WEIGHTS),
        *(f"raw/{name}" for name in WEIGHTS),
    }
    for index, (name, weight) in enumerate(WEIGHTS.items()):
        expected = {step: (index + 1) / step for step in (1, 3, 6, 7)}
        assert points(events, f"raw/{name}") == pytest.approx(expected)
        assert points(events, f"loss/{name}") == pytest.approx({step: weight * v for step, v in expected.items()})


def test_the_weighted_terms_add_up_to_the_total(tmp_path: Path) -> None:
    events = draw(tmp_path, steps=7, every=2)
    for step, total in points(events, "loss/total").items():
        assert total == pytest.approx(sum(points(events, f"loss/{name}")[step] for name in WEIGHTS))


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(23, 5, [1, 5, 10, 15, 20, 23]), (4, 1, [1, 2, 3, 4]), (3, 10, [1, 3]), (1, 10, [1]), (20, 10, [1, 10, 20])],
)
def test_the_first_and_the_last_point_are_there_once(
    tmp_path: Path, steps: int, every: int, expected: list[int]
) -> None:
    events = draw(tmp_path, steps=steps, every=every)
    for name in ("loss/total", "loss/tv", "raw/tv"):
        assert [point.step for point in events.Scalars(name)] == expected


@pytest.mark.parametrize(
    ("steps", "every", "expected"), [(43, 2, [1, 20, 40, 43]), (9, 1, [1, 9]), (10, 1, [1, 10]), (5, 100, [1, 5])]
)
def test_pictures_come_ten_times_rarer_than_points(tmp_path: Path, steps: int, every: int, expected: list[int]) -> None:
    events = draw(tmp_path / "runs", steps=steps, every=every)
    assert events.Tags()["images"] == ["picture"]
    pictures = events.Images("picture")
    assert [picture.step for picture in pictures] == expected
    for picture in pictures:
        assert (picture.width, picture.height) == (8, 6)
        file = tmp_path / "picture.png"
        file.write_bytes(picture.encoded_image_string)
        assert load_image(file).mean().item() == pytest.approx(shade(picture.step), abs=1.01 / 255)


def test_a_picture_is_made_only_where_it_is_written(tmp_path: Path) -> None:
    made = []

    def make() -> Tensor:
        made.append(1)
        return torch.zeros(1, 3, 6, 8)

    curves = TensorBoardCallback(tmp_path, every=1)
    for step in range(1, 16):
        curves(iterate(step, 15, picture=make))
    curves.close()
    assert len(made) == 3


def test_a_run_that_stops_keeps_its_curves_so_far(tmp_path: Path) -> None:
    curves = TensorBoardCallback(tmp_path, every=2)
    show(curves, 100, until=5)
    curves.close()
    assert list(points(read_back(tmp_path), "loss/total")) == [1, 2, 4]


@pytest.mark.parametrize("every", [0, -1])
def test_curves_without_points_are_refused_before_a_folder_is_made(tmp_path: Path, every: int) -> None:
    with pytest.raises(ValueError, match="log_every"):
        TensorBoardCallback(tmp_path / "runs", every=every)
    assert not list(tmp_path.iterdir())


# ---- SnapshotCallback


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("out.png", ["out_00003.png", "out_00006.png"]),
        ("my.two words.JPG", ["my.two words_00003.JPG", "my.two words_00006.JPG"]),
    ],
)
def test_snapshots_are_named_by_their_step(tmp_path: Path, output: str, expected: list[str]) -> None:
    show(SnapshotCallback(tmp_path / output, every=3), 7)
    assert names(tmp_path) == expected
    for name, step in zip(expected, (3, 6), strict=True):
        picture = load_image(tmp_path / name)
        assert picture.shape == (1, 3, 6, 8)
        assert picture.mean().item() == pytest.approx(shade(step), abs=2 / 255)


def test_snapshots_sort_in_the_order_they_were_made(tmp_path: Path) -> None:
    snapshots = SnapshotCallback(tmp_path / "out.png", every=1)
    files = [snapshots.file(step).name for step in (1, 9, 10, 99, 100, 1234, 99999)]
    assert all(one < other for one, other in pairwise(files))


def test_a_snapshot_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = SnapshotCallback(tmp_path / "out.png", every=1)
    snapshots(iterate(1, 3))
    before = (tmp_path / "out_00001.png").read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"out_00002\.png can't be written"):
        snapshots(iterate(2, 3))
    with pytest.raises(OSError, match=r"out_00001\.png can't be written"):
        snapshots(iterate(1, 3, picture=lambda: torch.ones(1, 3, 6, 8)))
    assert names(tmp_path) == ["out_00001.png"]
    assert (tmp_path / "out_00001.png").read_bytes() == before


@pytest.mark.parametrize("every", [0, -1])
def test_snapshots_never_taken_are_refused(tmp_path: Path, every: int) -> None:
    with pytest.raises(ValueError, match="save_every"):
        SnapshotCallback(tmp_path / "out.png", every=every)


# ---- CallbackList


class Recorder:
    def __init__(self, *, fails: str = "") -> None:
        self.seen: list[int] = []
        self.closed, self.fails = 0, fails

    def __call__(self, iterate: Iterate) -> None:
        self.seen.append(iterate.step)
        if self.fails == "watching":
            raise OSError("watching")

    def close(self) -> None:
        self.closed += 1
        if self.fails == "closing":
            raise OSError("closing")


def test_all_callbacks_see_everything_in_order() -> None:
    order: list[str] = []
    with CallbackList([lambda i: order.append(f"a{i.step}"), lambda i: order.append(f"b{i.step}")]) as every:
        show(every, 2)
    assert order == ["a1", "b1", "a2", "b2"]


def test_all_callbacks_are_closed_once_at_the_end() -> None:
    callbacks = [Recorder(), Recorder()]
    with CallbackList([callbacks[0], lambda _: None, callbacks[1]]) as every:
        show(every, 2)
        assert [callback.closed for callback in callbacks] == [0, 0]
    assert [callback.closed for callback in callbacks] == [1, 1]
    assert [callback.seen for callback in callbacks] == [[1, 2], [1, 2]]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_all_callbacks_are_closed_after_a_failure_which_goes_on(failure: type[BaseException]) -> None:
    callbacks = [Recorder(), Recorder()]
    with pytest.raises(failure), CallbackList(callbacks):
        raise failure
    assert [callback.closed for callback in callbacks] == [1, 1]


@pytest.mark.parametrize("failing", [0, 1])
def test_all_callbacks_are_closed_after_one_of_them_fails(failing: int) -> None:
    callbacks = [Recorder(fails="watching" if index == failing else "") for index in range(2)]
    with pytest.raises(OSError, match="watching"), CallbackList(callbacks) as every:
        show(every, 2)
    assert [callback.closed for callback in callbacks] == [1, 1]


def test_all_callbacks_are_closed_even_if_one_can_not_be() -> None:
    callbacks = [Recorder(fails="closing"), Recorder()]
    with pytest.raises(OSError, match="closing"), CallbackList(callbacks) as every:
        show(every, 1)
    assert [callback.closed for callback in callbacks] == [1, 1]


def test_terms_are_summed_by_kind() -> None:
    terms = {"content/a": torch.tensor(1.0), "style/a": torch.tensor(2.0), "style/b": torch.tensor(4.0)}
    assert by_kind(terms | {"tv": torch.tensor(8.0)}) == {"content": 1.0, "style": 6.0, "tv": 8.0}
    assert by_kind({}) == {}
