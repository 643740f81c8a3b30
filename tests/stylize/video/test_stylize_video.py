"""A stylized video keeps its frame times, size and audio; an error leaves no partial file."""

import shutil
import signal
import sys
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import CLOCKWISE, CORNERS, EVEN, UNEVEN, make_clip, picture, see
from PIL import Image

from fast_style import Stylizer
from fast_style.interrupts import Interrupted
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.pytorch import Torch
from fast_style.stylize.blending import Blending
from fast_style.stylize.painter import Painter
from fast_style.stylize.video.stylize_video import PaintedVideo, check_settings, is_video, paint_video, plan_video

av = pytest.importorskip("av")


class Fake:
    """A runtime that returns its input, or the result of another function."""

    name, precision, device = "torch", "fp32", "cpu"

    def __init__(self, paint=lambda pictures: pictures):
        self.arrays = self.tensors = paint


@pytest.fixture
def identity():
    return Painter(Stylizer(Fake(), origin={"style": "plain"}))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def corner_colours(pixels):
    """The colour in the middle of each corner patch, away from its edges, where chroma subsampling mixes colours."""
    return {(r, c): pixels[5 if r == 0 else -6, 5 if c == 0 else -6].astype(int) for r, c in CORNERS}


# ---- what is kept

AVI = {"codec": "mpeg4", "pixels": "yuv420p", "sound": "mp2", "starts": range(10), "ticks": 25}
CLIPS = [
    pytest.param("clip.mp4", "out.mp4", {}, id="plain"),
    pytest.param("clip.mp4", "out.mp4", {"width": 47, "height": 33}, id="odd"),
    pytest.param("clip.mp4", "out.webm", {"width": 47, "height": 33, "sound": None}, id="odd-webm"),
    pytest.param("clip.mp4", "out.mp4", {"starts": UNEVEN}, id="uneven"),
    pytest.param("clip.mkv", "out.mkv", {"starts": UNEVEN}, id="uneven-mkv"),
    pytest.param("clip.mp4", "out.MKV", {}, id="to-mkv"),
    pytest.param("clip.mkv", "out.mov", {}, id="to-mov"),
    pytest.param("clip.webm", "out.webm", {"codec": "libvpx-vp9", "sound": "libopus"}, id="webm"),
    pytest.param("clip.m4v", "out.m4v", {"pixels": "yuv420p"}, id="m4v"),
    pytest.param("clip.mp4", "out.mp4", {"aspect": Fraction(4, 3)}, id="wide-pixels"),
    pytest.param("clip.mp4", "out.mp4", {"matrix": CLOCKWISE, "aspect": Fraction(4, 3)}, id="turned"),
    pytest.param("clip.mp4", "out.mp4", {"full_range": True}, id="full-range"),
    pytest.param("clip.mov", "out.mp4", {"sound": None}, id="silent"),
    pytest.param("clip.avi", "out.mp4", AVI, id="avi"),
]


@pytest.mark.parametrize(("source", "target", "options"), CLIPS)
@pytest.mark.usefixtures("here")
def test_times_size_and_audio_are_kept(identity, source, target, options):
    make_clip(source, **{"sound": "aac"} | options)
    before, told = see(source), []
    painted = paint_video(identity, source, target, progress=told.append)
    after = see(target)
    assert painted == PaintedVideo(Path(source), Path(target), frames=10, skipped=0)
    assert [progress.done for progress in told] == list(range(1, 11))
    # Matroska has a resolution of 1 ms, and starts at 0; in MP4, audio starts one packet before the video.
    assert np.subtract(after.starts, before.starts) == pytest.approx(after.first - before.first, abs=0.0021)
    assert after.first == pytest.approx(before.first, abs=0.025)
    assert after.seconds == pytest.approx(before.seconds, abs=0.025)
    turned = "matrix" in options
    assert after.aspect == (1 / before.aspect if turned else before.aspect)
    assert after.rotation == 0
    assert after.sound == before.sound
    assert np.subtract(after.sound_starts, before.sound_starts) == pytest.approx(after.first - before.first, abs=0.0021)
    for found, stored in zip(after.pictures, before.pictures, strict=True):
        expected = np.rot90(stored, -1) if turned else stored
        assert found.shape == expected.shape
        wanted, got = corner_colours(expected), corner_colours(found)
        assert max(abs(wanted[place] - got[place]).max() for place in wanted) <= 12
        assert abs(found.astype(int) - expected).mean() < 8


@pytest.mark.usefixtures("here")
def test_a_video_that_starts_late_starts_at_0():
    make_clip("clip.mkv", starts=[start + 120000 for start in EVEN])
    paint_video(Painter(Stylizer(Fake(), origin={})), "clip.mkv", "out.mp4")
    before, after = see("clip.mkv"), see("out.mp4")
    assert before.starts[0] == pytest.approx(10, abs=0.05)
    assert np.diff(after.starts) == pytest.approx(np.diff(before.starts), abs=0.0011)
    assert after.starts[0] < 0.05
    assert after.starts[0] - after.first == pytest.approx(before.starts[0] - before.first, abs=0.002)
    assert after.seconds == pytest.approx(0.4, abs=0.06)


MATRICES = [
    ((1, 0, 0, 1), lambda p: p),
    (CLOCKWISE, lambda p: np.rot90(p, -1)),
    ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    ((-1, 0, 0, 1), np.fliplr),
    ((1, 0, 0, -1), np.flipud),
    ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
    ((0, -1, -1, 0), lambda p: np.rot90(p, 2).swapaxes(0, 1)),
]


@pytest.mark.parametrize(("matrix", "turned"), MATRICES)
def test_every_orientation_is_made_upright(matrix, turned):
    from fast_style.stylize.video.reader import upright

    a, b, c, d = (value << 16 for value in matrix)
    pixels = picture(47, 33, 0)
    assert np.array_equal(upright(pixels, np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32)), turned(pixels))


@pytest.mark.parametrize(
    ("size", "options", "shape"),
    [
        (16, {}, (16, 24)),
        (20, {"width": 47, "height": 33}, (20, 28)),
        (33, {"width": 32, "height": 32}, (33, 33)),
        (16, {"matrix": CLOCKWISE}, (24, 16)),
    ],
)
@pytest.mark.usefixtures("here")
def test_the_shorter_side_is_as_asked_for(identity, size, options, shape):
    make_clip("clip.mp4", **options)
    paint_video(identity, "clip.mp4", "out.mp4", size=size)
    assert see("out.mp4").pictures[0].shape == (*shape, 3)


@pytest.mark.usefixtures("here")
def test_every_frame_is_painted():
    make_clip("clip.mp4")
    inverted = Stylizer(Fake(lambda pictures: 1 - pictures), origin={})
    paint_video(Painter(inverted), "clip.mp4", "out.mp4")
    for before, after in zip(see("clip.mp4").pictures, see("out.mp4").pictures, strict=True):
        assert abs(255 - before[16, 24].astype(int) - after[16, 24]).max() <= 3


@pytest.mark.usefixtures("here")
def test_strength_and_mask_hold_for_every_frame():
    make_clip("clip.mp4")
    mask = np.zeros((33, 48), np.uint8)
    mask[:, :24] = 255
    Image.fromarray(mask).save("mask.png")
    inverted = Stylizer(Fake(lambda pictures: 1 - pictures), origin={})
    paint_video(Painter(inverted, blending=Blending(strength=0.5)), "clip.mp4", "out.mp4", mask="mask.png")
    for before, after in zip(see("clip.mp4").pictures, see("out.mp4").pictures, strict=True):
        assert abs(after[16, 8].astype(int) - 127).max() <= 8  # Compressed.
        assert abs(before[16, 40].astype(int) - after[16, 40]).max() <= 8  # Compressed.


@pytest.mark.usefixtures("here")
def test_a_network_paints_it():
    make_clip("clip.mp4", starts=EVEN[:3])
    stylizer = Stylizer(Torch(TransformNet(width=2, blocks=0)), origin={"style": "wave"})
    assert paint_video(Painter(stylizer), "clip.mp4", "out.mp4", smoothing=0.5).frames == 3


@pytest.mark.usefixtures("here")
def test_the_memory_is_that_of_a_few_frames():
    make_clip("clip.mp4", starts=range(0, 40 * 480, 480), sound=None)
    made, alive = [], []

    def paint(pictures):
        painted = pictures.copy()
        made.append(weakref.ref(painted))
        alive.append(sum(array() is not None for array in made))
        return painted

    paint_video(Painter(Stylizer(Fake(paint), origin={})), "clip.mp4", "out.mp4", smoothing=0.5)
    assert len(alive) == 40
    assert max(alive) <= 8  # Compressed.


@pytest.mark.usefixtures("here")
def test_quality_is_the_files(identity):
    make_clip("clip.mp4", sound=None)
    sizes = []
    for quality in (5, 50, 100):
        paint_video(identity, "clip.mp4", "out.mp4", quality=quality)
        sizes.append(Path("out.mp4").stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


# ---- what cannot be kept


@pytest.mark.usefixtures("here")
def test_without_x264_it_is_mpeg4(identity, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    make_clip("clip.mp4", width=47, height=33, starts=UNEVEN)
    from fast_style.stylize.video import writer

    monkeypatch.setattr(writer, "_MOST_TICKS", 1000)  # So that the clip's time base is too fine.
    paint_video(identity, "clip.mp4", "out.mp4")
    before, after = see("clip.mp4"), see("out.mp4")
    assert (before.codec, after.codec) == ("h264", "mpeg4")
    assert after.starts == pytest.approx(before.starts, abs=1e-4)
    assert after.pictures[0].shape == (33, 47, 3)


@pytest.mark.usefixtures("here")
def test_frames_that_are_broken_are_skipped_and_counted(identity):
    make_clip("clip.mkv", codec="mjpeg", pixels="yuvj444p", sound=None, garbage=4)
    painted = paint_video(identity, "clip.mkv", "out.mp4")
    assert (painted.frames, painted.skipped) == (9, 1)
    assert np.diff(see("out.mp4").starts) == pytest.approx([0.04] * 3 + [0.08] + [0.04] * 4, abs=0.0011)


@pytest.mark.parametrize("part", [0.4, 0.7])
@pytest.mark.usefixtures("here")
def test_a_truncated_file_is_stylized_as_far_as_it_goes(identity, part):
    make_clip("whole.mkv", codec="mjpeg", pixels="yuvj444p", sound=None)
    data = Path("whole.mkv").read_bytes()
    Path("clip.mkv").write_bytes(data[: int(part * len(data))])
    painted = paint_video(identity, "clip.mkv", "out.mp4")
    assert 1 < painted.frames < 10
    assert len(see("out.mp4").pictures) == painted.frames


# ---- stopped early


def ask(how, at):
    def watch(progress):
        if progress.done == at:
            how()

    return watch


def interrupt():
    raise KeyboardInterrupt


ENDS = [
    (interrupt, KeyboardInterrupt),
    (lambda: signal.raise_signal(signal.SIGINT), Interrupted),
    (lambda: signal.raise_signal(signal.SIGTERM), Interrupted),
]


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.webm"])
@pytest.mark.parametrize(("how", "error"), ENDS, ids=["progress", "ctrl-c", "sigterm"])
def test_a_stop_leaves_a_playable_file(here, identity, caplog, target, how, error):
    make_clip("clip.mp4")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(error) as stopped:
        paint_video(identity, "clip.mp4", target, progress=ask(how, at=4))
    found, whole = see(target), see("clip.mp4")
    assert np.subtract(found.starts, found.starts[0]) == pytest.approx(whole.starts[:4], abs=0.0021)
    assert len(found.sound) > 0
    assert f"{target} contains the first 4 frames of 10" in caplog.text + str(stopped.value)
    assert {path.name for path in here.iterdir()} == {"clip.mp4", target}
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert getattr(stopped.value, "saved", Path(target)) == Path(target)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("no such paint")])
def test_a_stop_before_the_first_frame_or_an_error_leaves_no_file(here, error):
    def paint(_):
        raise error

    make_clip("clip.mp4")
    with pytest.raises(type(error) if isinstance(error, ValueError) else error):
        paint_video(Painter(Stylizer(Fake(paint), origin={})), "clip.mp4", "new/out.mp4")
    assert [path.name for path in here.rglob("*") if path.is_file()] == ["clip.mp4"]


@pytest.mark.usefixtures("here")
def test_an_existing_file_stays_until_the_new_one_is_complete(identity):
    make_clip("clip.mp4")
    Path("out.mp4").write_text("older")
    seen = []
    paint_video(identity, "clip.mp4", "out.mp4", progress=lambda _: seen.append(Path("out.mp4").read_text()))
    assert seen == ["older"] * 10
    assert len(see("out.mp4").pictures) == 10


# ---- errors

MISTAKES = [
    ("nowhere.mp4", {}, "nowhere.mp4, found nothing; check the path"),
    ("text.mp4", {}, "text.mp4, found a file that cannot be decoded"),
    ("empty.mp4", {}, "empty.mp4, found a file that cannot be decoded"),
    ("half.mp4", {}, "half.mp4, found a file that cannot be decoded"),
    ("folder.mp4", {}, "folder.mp4, found a folder"),
    ("sound.mp4", {}, "sound.mp4, found no video track"),
    ("spoilt.mkv", {}, "spoilt.mkv, found no frame that can be decoded"),
    ("clip.mp4", {"target": "out.gif"}, r"\.webm; got out.gif"),
    ("clip.mp4", {"target": "clip.mp4"}, "the video itself"),
    ("clip.mp4", {"smoothing": 1}, "smoothing is from 0"),
    ("clip.mp4", {"smoothing": -0.1}, "smoothing is from 0"),
    ("clip.mp4", {"quality": 0}, "quality must be from 1 to 100"),
    ("clip.mp4", {"size": 0}, "size is the shorter side"),
    ("clip.mp4", {"size": 8}, "at least 16"),
]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoilt")
    make_clip(folder / "clip.mp4", starts=EVEN[:3])
    (folder / "text.mp4").write_text("no video" * 1000)
    (folder / "empty.mp4").touch()
    (folder / "half.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:1500])
    (folder / "folder.mp4").mkdir()
    make_clip(folder / "sound.mp4", codec=None)
    make_clip(folder / "spoilt.mkv", codec="mjpeg", pixels="yuvj444p", starts=EVEN[:1], garbage=0, sound=None)
    return folder


@pytest.mark.parametrize(("source", "options", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, identity, spoilt, source, options, sentence):
    folder = Path(shutil.copytree(spoilt, tmp_path / "here"))
    monkeypatch.chdir(folder)
    before = set(folder.iterdir())
    with pytest.raises(ValueError, match=sentence) as refused:
        paint_video(identity, source, **{"target": "out.mp4"} | options)
    assert "\n" not in str(refused.value)
    assert set(folder.iterdir()) == before


@pytest.mark.usefixtures("here")
def test_a_missing_pyav_is_reported(monkeypatch, identity):
    Path("clip.mp4").touch()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"pip install 'fast_style\[video\]'"):
        plan_video("clip.mp4", None, style="wave")
    with pytest.raises(ValueError, match=r"pip install 'fast_style\[video\]'"):
        paint_video(identity, "clip.mp4", "out.mp4")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"size": 0}, "size is the shorter side"),
        ({"smoothing": 1.0}, "smoothing is from 0"),
        ({"smoothing": -0.1}, "smoothing is from 0"),
        ({"quality": 0}, "quality must be from 1 to 100"),
        ({"quality": 101}, "quality must be from 1 to 100"),
    ],
)
def test_settings_can_be_checked_before_there_is_a_painter(setting, sentence):
    check_settings(size=16, smoothing=0.8, quality=100)
    with pytest.raises(ValueError, match=sentence):
        check_settings(**setting)


# ---- names

PLANS = [
    ("a/clip.mp4", None, None, "stylized/clip_wave.mp4"),
    ("clip.MOV", None, None, "stylized/clip_wave.MOV"),
    ("clip.avi", None, None, "stylized/clip_wave.mp4"),
    ("clip.avi", "new", ".webm", "new/clip_wave.webm"),
    ("clip.mp4", "out.mkv", None, "out.mkv"),
    ("clip.mp4", ".", None, "clip_wave.mp4"),
]


@pytest.mark.parametrize(("source", "output", "suffix", "target"), PLANS)
def test_a_video_has_its_target(here, source, output, suffix, target):
    (here / source).parent.mkdir(exist_ok=True)
    (here / source).touch()
    assert plan_video(source, output, style="wave", suffix=suffix) == Path(target)


@pytest.mark.parametrize(
    ("output", "suffix", "sentence"),
    [("out.png", None, "got out.png"), (None, ".png", "got .*clip_wave.png"), ("clip.mp4", None, "the video itself")],
)
def test_an_invalid_output_is_refused(here, output, suffix, sentence):
    (here / "clip.mp4").touch()
    with pytest.raises(ValueError, match=sentence):
        plan_video("clip.mp4", output, style="wave", suffix=suffix)


@pytest.mark.usefixtures("here")
def test_a_video_that_is_not_there_has_no_target():
    with pytest.raises(ValueError, match=r"Expected a video at nowhere\.mp4, found nothing; check the path"):
        plan_video("nowhere.mp4", None, style="wave")


def test_a_video_is_known_by_its_suffix(tmp_path):
    (tmp_path / "frames.mp4").mkdir()
    assert all(is_video(f"clip{suffix}") for suffix in (".mp4", ".MOV", ".mkv", ".webm", ".avi", ".m4v"))
    assert not any(is_video(name) for name in ("photo.jpg", "photos", "photo.gif", tmp_path / "frames.mp4"))
