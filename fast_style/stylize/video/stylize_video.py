"""Painting a video, frame by frame, in the memory of a few frames."""

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fast_style.images.decode import Arrays, check_size, read_mask
from fast_style.images.encode import check_quality, to_hwc, to_nchw, to_uint8
from fast_style.interrupts import Interrupted, SignalHandler
from fast_style.stylize.painter import Painter
from fast_style.stylize.video.temporal_smoothing import TemporalSmoothing

if TYPE_CHECKING:
    from fast_style.stylize.video.reader import Clip
    from fast_style.stylize.video.writer import ClipWriter

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})
#: FFmpeg's names of the containers that keep the time of each frame, which AVI does not.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@dataclass(frozen=True)
class VideoProgress:
    """``done``: frames that are painted; ``expected``: how many there should be, None if nobody knows."""

    done: int
    expected: int | None


@dataclass(frozen=True)
class PaintedVideo:
    """What became of a video.

    Attributes:
        source, target: the files.
        frames: how many were painted.
        skipped: how many could not be decoded.
    """

    source: Path
    target: Path
    frames: int
    skipped: int


def is_video(source: str | Path) -> bool:
    """Whether this names a video file."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES and not Path(source).is_dir()


def plan_video(source: str | Path, output: str | Path | None, *, style: str, suffix: str | None = None) -> Path:
    """The file that a painted video goes to; it takes no painter, which may take its time to prepare.

    Args:
        source: the video.
        output: a file or a folder; None means the folder `stylized`.
        style: the style's name, added to the file's in a folder.
        suffix: of the file in a folder; None keeps the video's where it can be written, else .mp4.

    Raises:
        ValueError: no such video, a suffix that can't be written, the video itself as output, no PyAV.
    """
    source, target = Path(source), Path(output or "stylized")
    if not source.exists():
        raise ValueError(f"wanted a video at {source}, found nothing; check the path")
    if target.suffix == "" or target.is_dir():
        kept = source.suffix if source.suffix.lower() in CONTAINERS else ".mp4"
        target = target / f"{source.stem}_{style}{suffix or kept}"
    _check_target(source, target)
    _check_pyav()
    return target


def check_settings(*, size: int | None = None, smoothing: float = 0.0, quality: int = 95) -> None:
    """Refuse what `paint_video` would refuse of these.

    Raises:
        ValueError: a setting out of range.
    """
    check_size(size)
    check_quality(quality)
    TemporalSmoothing(smoothing)


def paint_video(
    painter: Painter,
    source: str | Path,
    target: str | Path,
    *,
    size: int | None = None,
    smoothing: float = 0.0,
    quality: int = 95,
    mask: str | Path | None = None,
    progress: Callable[[VideoProgress], None] = lambda _: None,
) -> PaintedVideo:
    """Paint every frame; times, size, the shape of pixels and the sound stay, what was turned is upright.

    Sound that the target's kind of file can't hold is encoded anew, or left out, which is logged. Frames that can't be
    decoded are skipped and counted. Subtitles and further tracks of pictures are left out. The file appears when it is
    whole. Ctrl-C or SIGTERM ends it early: then it holds the frames so far, playable.

    Args:
        painter: paints a frame.
        source: the video.
        target: .mp4, .m4v, .mov and .mkv get H.264, .webm VP9.
        size: shorter side to paint at, in pixels; None keeps the video's.
        smoothing: 0 up to less than 1; more takes more flicker away, see `TemporalSmoothing`.
        quality: 1 to 100.
        mask: a picture, of any size, that is white where the painting goes.
        progress: told after every frame.

    Raises:
        ValueError: no video, a target that can't be written, a setting out of range, no PyAV.
        Interrupted: a signal ended it early. A KeyboardInterrupt of `progress` goes on as such.
    """
    source, target = Path(source), Path(target)
    _check_target(source, target)
    check_settings(size=size, smoothing=smoothing, quality=quality)
    _check_pyav()
    from fast_style.stylize.video.reader import read_clip
    from fast_style.stylize.video.writer import write_clip

    blending, smooth = painter.blending, TemporalSmoothing(smoothing)

    def painted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        nonlocal blending
        if mask is not None and (blending.mask is None or blending.mask.shape != pixels.shape[:2]):
            blending = replace(blending, mask=read_mask(mask, pixels.shape[:2]))
        levels = painter(Arrays(pixels, None), blending=blending)
        return to_uint8(to_hwc(smooth(to_nchw(pixels), to_nchw(levels)))[0]) if smoothing else levels

    with read_clip(source, size=size) as clip, SignalHandler() as stop:
        kind = CONTAINERS[target.suffix.lower()]
        with write_clip(target, kind, clip, quality=quality) as writer:
            done, interrupt = _paint_frames(clip, writer, painted, progress, stop)
    if interrupt is not None or stop.signal_number is not None:
        _go_on_stopping(VideoProgress(done, clip.expected), target, interrupt, stop)
    return PaintedVideo(source, target, frames=done, skipped=clip.skipped)


def _paint_frames(
    clip: "Clip",
    writer: "ClipWriter",
    painted: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    progress: Callable[[VideoProgress], None],
    stop: SignalHandler,
) -> tuple[int, KeyboardInterrupt | None]:
    """Until the end, or until somebody stops it: how many were painted, and with what it was stopped."""
    done = 0
    try:
        for frame in clip.frames(sound=writer.sound):
            writer.picture(replace(frame, pixels=painted(frame.pixels)))
            done += 1
            progress(VideoProgress(done, clip.expected))
            if stop.signal_number is not None:
                break
    except KeyboardInterrupt as interrupt:  # Of whoever is told of the progress, or of a second Ctrl-C.
        if done == 0:
            raise
        return done, interrupt
    return done, None


def _go_on_stopping(
    reached: VideoProgress, target: Path, interrupt: KeyboardInterrupt | None, stop: SignalHandler
) -> None:
    """Now that the file is whole, let what stopped the painting stop the rest."""
    of_how_many = f" of {reached.expected}" if reached.expected else ""
    sentence = f"Stopped: {target} holds the first {reached.done} frames{of_how_many}."
    if interrupt is not None:
        log.warning(sentence)
        raise interrupt
    raise Interrupted(sentence, stop.signal_number or signal.SIGINT, saved=target)


def _check_target(source: Path, target: Path) -> None:
    if target.suffix.lower() not in CONTAINERS:
        raise ValueError(f"A video is written as {', '.join(CONTAINERS)}; got {target}.")
    if target.resolve() == source.resolve():
        raise ValueError(f"The output {target} is the video itself; give another output.")


def _check_pyav() -> None:
    if find_spec("av") is None:
        raise ValueError("Painting a video takes PyAV, which is not installed: pip install 'fast_style[video]'.")
