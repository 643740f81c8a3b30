"""optimize_file: results, refused arguments, and files on the disk after errors."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fast_style import load_image, save_image
from fast_style.image_optimization.callbacks import SnapshotCallback
from fast_style.image_optimization.loss import PictureLoss, Style
from fast_style.image_optimization.method import Iterate, PictureOptimization
from fast_style.image_optimization.run import OptimizationResult, StyleFiles, optimize_file
from fast_style.image_optimization.scales import resized
from fast_style.images.tensors import read_picture
from fast_style.interrupts import Interrupted
from fast_style.networks.loss_network import LossNetwork

LOSS = partial(PictureLoss, content_layers=["relu2"], style_layers=["relu1", "relu2"])
SIGNALS = [signal.SIGINT, signal.SIGTERM]
Paint = Callable[..., OptimizationResult]


def lay_out(folder: Path) -> None:
    """Write a photo of 32 x 24 pixels, style images, masks, and unusable files."""
    generator = torch.Generator().manual_seed(3)

    def soft(height: int, width: int) -> torch.Tensor:
        return resized(torch.rand(1, 3, 5, 6, generator=generator), (height, width))

    save_image(soft(24, 32), folder / "photo.png")
    save_image(soft(32, 24), folder / "portrait.png")
    save_image(soft(24, 32), folder / "clear.png", alpha=torch.linspace(0, 1, 32).expand(1, 1, 24, 32))
    save_image(soft(20, 28), folder / "dots.png")
    save_image(soft(28, 20), folder / "lines.png")
    left = (torch.arange(32) < 16).float().expand(1, 3, 24, 32)
    save_image(left, folder / "left.png")
    save_image(1 - left, folder / "right.png")
    save_image(torch.zeros(1, 3, 24, 32), folder / "black.png")
    save_image(torch.ones(1, 3, 12, 16), folder / "small_mask.png")
    save_image(torch.full((1, 3, 24, 32), 0.5), folder / "grey.png")
    (folder / "text.jpg").write_text("no picture")


@pytest.fixture
def paint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_loss_network: LossNetwork) -> Paint:
    """By default, run three evaluations on photo.png with the style dots.png; the output is out.png."""
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(
        recipe: dict[str, Any] | None = None,
        *,
        images: Sequence[str | Path] = ("dots.png",),
        weights: Sequence[float] | None = None,
        masks: Sequence[str | Path] | None = None,
        **changes: Any,
    ) -> OptimizationResult:
        settings = {"loss": LOSS, "steps": 3, "precision": "32-true"} | (recipe or {})
        method = PictureOptimization(loss_network=tiny_loss_network, **settings)
        files = {"content": "photo.png", "output": "out.png", "size": None, "runs": None} | changes
        return optimize_file(method, style_files=StyleFiles(images, weights, masks), **files)

    return run


@pytest.mark.parametrize(("size", "side"), [(None, 20), (12, 12), (40, 20)])
def test_a_painting_is_reduced_by_the_filter_that_training_reads_with(
    paint: Paint, monkeypatch: pytest.MonkeyPatch, size: int | None, side: int
) -> None:
    given: list[Style] = []
    own = PictureOptimization.run

    def run(self: PictureOptimization, content: Any, styles: Sequence[Style], **options: Any) -> torch.Tensor:
        given.extend(styles)
        return own(self, content, styles, **options)

    monkeypatch.setattr(PictureOptimization, "run", run)
    paint({"style_size": size})
    assert torch.equal(given[0].picture, load_image("dots.png", size=side))


def listing() -> set[str]:
    """List all files and folders below the current folder."""
    return {str(path) for path in Path().rglob("*")}


def size_of(path: str | Path) -> tuple[int, int]:
    """Return width and height of an image file."""
    height, width = load_image(path).shape[-2:]
    return width, height


# ---- results


@pytest.mark.parametrize(
    ("content", "size", "expected"),
    [
        ("photo.png", None, (32, 24)),
        ("photo.png", 24, (32, 24)),
        ("photo.png", 12, (16, 12)),
        ("photo.png", 30, (40, 30)),
        ("photo.png", [18], (24, 18)),
        ("portrait.png", 12, (12, 16)),
        ("portrait.png", None, (24, 32)),
        (None, 20, (20, 20)),
        (None, [30, 20], (30, 20)),
        (None, [9, 13], (9, 13)),
    ],
)
def test_the_output_has_the_wanted_size(
    paint: Paint, content: str | None, size: int | list[int] | None, expected: tuple[int, int]
) -> None:
    before = listing()
    outcome = paint(content=content, size=size)
    assert outcome.output == Path("out.png")
    assert size_of(outcome.output) == expected
    assert listing() - before == {"out.png"}


def test_the_file_shows_what_the_method_paints(paint: Paint, tiny_loss_network: LossNetwork) -> None:
    paint(size=18, seed=5, output=Path("out.png"), images=[Path("dots.png")])
    method = PictureOptimization(loss_network=tiny_loss_network, loss=LOSS, steps=3, precision="32-true")
    photo = resized(load_image("photo.png"), (18, 24))
    expected = method.run(photo, [Style(load_image("dots.png"))], seed=5)
    torch.testing.assert_close(load_image("out.png"), expected, rtol=0, atol=0.51 / 255)
    assert (expected - photo).abs().max() > 0.02


def test_the_outcome_names_the_last_terms_and_the_folder_of_curves(paint: Paint) -> None:
    outcome = paint(runs="runs", log_every=2, output="two words.png")
    assert outcome.terms.keys() == {"content/relu2", "style/relu1", "style/relu2", "range"}
    assert outcome.folder is not None
    assert outcome.folder.parent == Path("runs/optimized/two words")
    events = EventAccumulator(str(outcome.folder)).Reload()
    for name, value in outcome.terms.items():
        assert [point.step for point in events.Scalars(f"raw/{name}")] == [1, 2, 3]
        assert events.Scalars(f"raw/{name}")[-1].value == pytest.approx(value)
    assert [picture.step for picture in events.Images("picture")] == [1, 3]


def test_without_runs_no_folder_is_made(paint: Paint) -> None:
    before = listing()
    assert paint(runs=None).folder is None
    assert listing() - before == {"out.png"}


def test_the_folder_of_the_output_is_made(paint: Paint) -> None:
    assert size_of(paint(output="new/folder/out.png").output) == (32, 24)


def test_a_former_output_gives_way(paint: Paint) -> None:
    Path("out.png").write_text("old")
    paint()
    assert size_of("out.png") == (32, 24)


def test_transparency_stays_where_the_format_has_it(paint: Paint) -> None:
    paint(content="clear.png")
    found, wanted = read_picture("out.png"), read_picture("clear.png")
    assert wanted.alpha is not None
    assert found.alpha is not None
    torch.testing.assert_close(found.alpha, wanted.alpha)
    paint(content="clear.png", size=12)
    smaller = read_picture("out.png")
    assert smaller.alpha is not None
    torch.testing.assert_close(smaller.alpha, resized(wanted.alpha, (12, 16)), rtol=0, atol=0.51 / 255)
    assert read_picture(paint(content="clear.png", output="out.jpg").output).alpha is None
    assert read_picture(paint(output="opaque.png").output).alpha is None


def test_the_seed_decides_the_noise(paint: Paint) -> None:
    painted = []
    for seed in (1, 1, 2):
        paint(content=None, size=16, seed=seed)
        painted.append(Path("out.png").read_bytes())
    assert painted[0] == painted[1] != painted[2]


@pytest.mark.slow
def test_weights_belong_to_the_paintings_in_their_order(paint: Paint) -> None:
    painted = {}
    for name, images, weights in (
        ("dots", ["dots.png"], None),
        ("lines", ["lines.png"], None),
        ("nearly dots", ["dots.png", "lines.png"], [1.0, 1e-6]),
        ("nearly lines", ["dots.png", "lines.png"], [1e-6, 1.0]),
        ("alike", ["dots.png", "lines.png"], None),
        ("alike said", ["dots.png", "lines.png"], [2, 2]),
    ):
        paint({"steps": 20}, images=images, weights=weights)
        painted[name] = load_image("out.png")
    for one, other in (("dots", "nearly dots"), ("lines", "nearly lines"), ("alike", "alike said")):
        torch.testing.assert_close(painted[one], painted[other], rtol=0, atol=2 / 255)
    for one, other in (("dots", "lines"), ("dots", "alike"), ("lines", "alike")):
        assert (painted[one] - painted[other]).abs().max() > 6 / 255


def test_a_mask_says_where_the_style_goes(paint: Paint) -> None:
    paint({"steps": 20}, masks=["left.png"])
    difference = (load_image("out.png") - load_image("photo.png")).abs()
    assert difference[..., 16:].max() == 0
    assert difference[..., :16].max() > 0.05


def test_a_style_without_a_mask_goes_everywhere_beside_one_with(paint: Paint) -> None:
    paint({"steps": 20}, images=["dots.png", "lines.png"], masks=["left.png", None])
    difference = (load_image("out.png") - load_image("photo.png")).abs()
    assert difference[..., 16:].max() > 0.05


def test_masks_of_two_styles_are_not_mixed_up(paint: Paint) -> None:
    painted = []
    for masks in (["left.png", "right.png"], ["right.png", "left.png"]):
        paint({"steps": 20}, images=["dots.png", "lines.png"], masks=masks)
        painted.append(load_image("out.png"))
    assert (painted[0] - painted[1]).abs().max() > 0.05


def test_a_mask_is_resized_with_the_photo(paint: Paint) -> None:
    paint({"steps": 20}, masks=["left.png"], size=48)
    photo = resized(load_image("photo.png"), (48, 64))
    difference = (load_image("out.png") - photo).abs()
    assert difference[..., 36:].max() <= 0.51 / 255
    assert difference[..., :28].max() > 0.05


# ---- intermediate images, and start images


def test_pictures_on_the_way_are_kept_beside_the_output(paint: Paint) -> None:
    before = listing()
    paint({"steps": 5}, output="new/out.png", save_every=2)
    assert listing() - before == {"new", "new/out.png", "new/out_00002.png", "new/out_00004.png"}
    assert size_of("new/out_00002.png") == (32, 24)


def test_the_last_picture_on_the_way_is_the_output(paint: Paint) -> None:
    paint(save_every=3)
    assert torch.equal(load_image("out_00003.png"), load_image("out.png"))


def evaluations(paint: Paint, **changes: Any) -> list[tuple[int, int]]:
    """Return the image size at every evaluation of a run with several sizes."""
    for former in Path().glob("count_*.png"):
        former.unlink()
    paint({"smallest": 12}, output="count.png", save_every=1, **changes)
    return [size_of(path) for path in sorted(Path().glob("count_*.png"))]


def test_a_picture_goes_on_from_an_intermediate_one(paint: Paint) -> None:
    every = evaluations(paint)
    assert every == [(16, 12)] * 3 + [(23, 17)] * 3 + [(32, 24)] * 3
    os.replace("count_00006.png", "middle.png")
    os.replace("count_00009.png", "end.png")
    assert evaluations(paint, init_image="middle.png") == every[3:]
    assert evaluations(paint, init_image="end.png") == every[6:]


def test_it_goes_on_from_what_it_is_given(paint: Paint) -> None:
    still = partial(torch.optim.Adam, lr=1e-6)
    save_image(load_image("photo.png").flip(-1), "other.png")
    paint({"optimizer": still}, init_image="other.png")
    torch.testing.assert_close(load_image("out.png"), load_image("other.png"), rtol=0, atol=1.01 / 255)


def test_the_output_may_be_what_it_goes_on_from(paint: Paint) -> None:
    paint()
    first = load_image("out.png")
    paint({"steps": 20}, init_image="out.png")
    assert (load_image("out.png") - first).abs().max() > 0.02


# ---- refused arguments


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"images": ["dots.png", "lines.png"], "weights": [1.0]}, r"style\.weights has 1 .* 2 styles"),
    ({"images": ["dots.png", "lines.png"], "masks": ["left.png"]}, r"style\.masks has 1 .* 2 styles"),
    ({"weights": []}, r"style\.weights has 0"),
    ({"images": []}, r"style\.image="),
    ({"images": [None]}, r"style\.image="),
    ({"weights": [0.0]}, "weights above 0"),
    ({"weights": [-1.0]}, "weights above 0"),
    ({"images": ["nowhere.png"]}, r"nowhere\.png"),
    ({"images": ["text.jpg"]}, r"text\.jpg"),
    ({"images": ["grey.png"]}, "only one colour"),
    ({"content": "nowhere.png"}, r"nowhere\.png"),
    ({"content": "grey.png"}, "only one colour"),
    ({"masks": ["small_mask.png"]}, r"small_mask\.png has 16x12 pixels, but the photo has 32x24"),
    ({"masks": ["black.png"]}, r"black\.png is empty"),
    ({"masks": ["nowhere.png"]}, r"nowhere\.png"),
    ({"content": None, "size": 16, "masks": ["left.png"]}, "texture"),
    ({"size": 0}, "size is"),
    ({"size": -5}, "size is"),
    ({"size": [1, 2, 3]}, "size is"),
    ({"size": []}, "size is"),
    ({"size": [32, 24]}, "shorter side"),
    ({"content": None}, "texture needs a size"),
    ({"content": None, "size": [0, 9]}, "size is"),
    ({"init_image": "nowhere.png"}, r"nowhere\.png"),
    ({"init_image": "portrait.png"}, "another shape"),
    ({"output": "photo.png"}, r"photo\.png is one of the input images"),
    ({"output": "dots.png"}, r"dots\.png is one of the input images"),
    ({"output": "left.png", "masks": ["left.png"]}, r"left\.png is one of the input images"),
    ({"output": "out.pdf"}, r"out\.pdf .*\.png"),
    ({"output": "out"}, r"out .*\.png"),
    ({"output": "text.jpg/out.png"}, r"out\.png|can't be written"),
    ({"max_memory": 1e-5}, r"size=\d+"),
    ({"save_every": 0}, "save_every"),
    ({"runs": "runs", "log_every": 0}, "log_every"),
    ({"output": "new/out.png", "content": "nowhere.png"}, r"nowhere\.png"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_does_not_do_is_refused_and_leaves_nothing(paint: Paint, changes: dict[str, Any], message: str) -> None:
    before = listing()
    with pytest.raises(ValueError, match=message):
        paint(**{"runs": "runs", **changes})
    assert listing() == before


def test_the_largest_size_that_is_named_fits(paint: Paint) -> None:
    with pytest.raises(ValueError, match=r"size=\d+") as refused:
        paint(size=300, max_memory=0.01)
    largest = int(str(refused.value).split("(size=")[1].split(")")[0])
    assert 10 < largest < 300
    paint({"steps": 1}, size=largest, max_memory=0.01)
    with pytest.raises(ValueError, match=r"size="):
        paint({"steps": 1}, size=largest + 2, max_memory=0.01)


def test_the_photo_is_found_under_any_of_its_names(paint: Paint) -> None:
    before = Path("photo.png").read_bytes()
    Path("link.png").symlink_to("photo.png")
    (Path("folder")).mkdir()
    for name in ("./photo.png", "folder/../photo.png", "link.png", Path.cwd() / "photo.png"):
        with pytest.raises(ValueError, match="one of the input images"):
            paint(output=name)
    assert Path("photo.png").read_bytes() == before


def test_a_folder_is_no_output(paint: Paint) -> None:
    Path("folder.png").mkdir()
    with pytest.raises(ValueError, match=r"folder\.png is a folder"):
        paint(output="folder.png")


def test_a_picture_on_the_way_never_replaces_the_photo(paint: Paint) -> None:
    os.replace("photo.png", "out_00002.png")
    before = Path("out_00002.png").read_bytes()
    with suppress(ValueError):  # Refusing is fine too.
        paint(content="out_00002.png", save_every=2)
    assert Path("out_00002.png").read_bytes() == before


@pytest.mark.parametrize("output", ["closed/out.png", "closed/new/out.png"])
def test_a_folder_that_can_not_be_written_to_is_said_at_once(paint: Paint, output: str) -> None:
    Path("closed").mkdir(mode=0o555)
    if os.access("closed", os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(ValueError, match=r"closed.* can't be written"):
        paint(output=output)


def test_the_paintings_say_what_is_wrong_with_them() -> None:
    with pytest.raises(ValueError, match=r"style\.weights has 3 entries for 2 styles \(a\.png, b\.png\)"):
        StyleFiles(["a.png", Path("b.png")], weights=[1, 2, 3])


# ---- errors during the run


class BreaksLate(torch.optim.SGD):
    """A loss that fails after twelve evaluations."""

    taken = 0

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        self.taken += 1
        if self.taken == 12:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(torch.nan)
        return loss


WILD = {"optimizer": partial(torch.optim.Adam, lr=1e30), "clamp": False}


@pytest.mark.parametrize(
    "recipe",
    [
        WILD | {"steps": 25},
        WILD | {"steps": 3},
        WILD | {"steps": 15},
        WILD | {"steps": 3, "average_decay": 0.0},
        {"optimizer": partial(BreaksLate, lr=0.1), "steps": 15},
        {"loss": partial(LOSS, style_weight=float("nan"))},
    ],
)
def test_a_loss_that_is_no_number_is_said_and_leaves_nothing(paint: Paint, recipe: dict[str, Any]) -> None:
    Path("out.png").write_text("old")
    before = listing()
    with pytest.raises(ValueError, match="learning rate"):
        paint(recipe)
    assert listing() == before
    assert Path("out.png").read_text() == "old"


@pytest.mark.parametrize("failure", [OSError, RuntimeError, KeyboardInterrupt])
def test_a_failure_on_the_way_leaves_the_former_output(
    paint: Paint, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    def fail(_self: SnapshotCallback, iterate: Iterate) -> None:
        if iterate.step == 2:
            raise failure("on the way")

    Path("out.png").write_text("old")
    before, handlers = listing(), [signal.getsignal(number) for number in SIGNALS]
    monkeypatch.setattr(SnapshotCallback, "__call__", fail)
    with pytest.raises(failure, match="on the way"):
        paint(save_every=1)
    assert listing() == before
    assert Path("out.png").read_text() == "old"
    assert [signal.getsignal(number) for number in SIGNALS] == handlers


def test_a_full_disk_leaves_the_former_output(paint: Paint, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    Path("out.png").write_text("old")
    before = listing()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"out\.png can't be written: No space left"):
        paint()
    assert listing() == before
    assert Path("out.png").read_text() == "old"


# ---- interrupts


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Signals that reached the previous handlers; without handlers a failure would end the whole test run."""
    numbers: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        numbers.append(number)

    before = {number: signal.signal(number, hear) for number in SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def signal_at(step: int, number: int, *, times: int = 1) -> Iterator[None]:
    """Inside the block, SnapshotCallback sends this process a signal after this evaluation."""

    def ask(_self: SnapshotCallback, iterate: Iterate) -> None:
        if iterate.step == step:
            for _ in range(times):
                os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SnapshotCallback, "__call__", ask)
        yield


@pytest.mark.parametrize("number", SIGNALS)
def test_a_stop_saves_the_picture_so_far_and_says_how_to_go_on(
    paint: Paint, heard: list[int], number: signal.Signals
) -> None:
    handlers = [signal.getsignal(n) for n in SIGNALS]
    before = listing()
    with signal_at(5, number), pytest.raises(Interrupted) as stopped:
        paint({"smallest": 12}, save_every=1)
    assert heard == []
    assert [signal.getsignal(n) for n in SIGNALS] == handlers
    assert (stopped.value.signal_number, stopped.value.saved) == (number, Path("out.png"))
    for part in ("evaluation 5 of 9", "23x17 pixels", "init_image=out.png"):
        assert part in str(stopped.value)
    assert listing() - before == {"out.png"}
    assert size_of("out.png") == (23, 17)


def test_a_stopped_run_goes_on_where_it_was(paint: Paint, heard: list[int]) -> None:
    with signal_at(5, signal.SIGINT), pytest.raises(Interrupted) as stopped:
        paint({"smallest": 12}, save_every=1)
    assert heard == []
    assert len(evaluations(paint, init_image=stopped.value.saved)) == 6


def test_a_stop_keeps_transparency_and_curves(paint: Paint, heard: list[int]) -> None:
    with signal_at(5, signal.SIGINT), pytest.raises(Interrupted):
        paint({"smallest": 12}, content="clear.png", save_every=1, runs="runs", log_every=1)
    found = read_picture("out.png")
    assert found.alpha is not None
    assert found.alpha.shape[-2:] == (17, 23)
    (folder,) = Path("runs").glob("optimized/out/*")
    points = EventAccumulator(str(folder)).Reload().Scalars("loss/total")
    assert [point.step for point in points] == [1, 2, 3, 4, 5]
    assert heard == []


@pytest.mark.usefixtures("heard")
def test_a_second_ctrl_c_stops_at_once_and_leaves_the_former_output(
    paint: Paint, capfd: pytest.CaptureFixture[str]
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Path("out.png").write_text("old")
    before = listing()
    with signal_at(2, signal.SIGINT, times=2), pytest.raises(KeyboardInterrupt):
        paint(save_every=1)
    assert listing() == before
    assert Path("out.png").read_text() == "old"
    assert capfd.readouterr().err.endswith("\n")


def test_it_paints_in_any_thread(paint: Paint) -> None:
    with ThreadPoolExecutor(1) as threads:
        assert size_of(threads.submit(paint).result().output) == (32, 24)
