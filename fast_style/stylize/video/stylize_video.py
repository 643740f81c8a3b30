"""Stylize a video frame by frame, with a few frames in memory."""

import logging
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fast_style.images.decode import Arrays, check_size, read_mask
from fast_style.images.encode import check_quality, to_hwc, to_nchw, to_uint8
from fast_style.interrupts import Interrupted, SignalHandler
from fast_style.stylize.painter import Painter
from fast_style.stylize.video.frame import Frame
from fast_style.stylize.video.pipeline import ReadAhead, WriteBehind
from fast_style.stylize.video.temporal_smoothing import TemporalSmoothing

if TYPE_CHECKING:
    from fast_style.stylize.video.reader import Clip
    from fast_style.stylize.video.writer import ClipWriter

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})
#: FFmpeg's names of the containers that can be written. They store the time of each frame; AVI does not.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
#: Packets of sound that wait for the next frame at most.
MOST_PACKETS = 100


@dataclass(frozen=True)
class VideoProgress:
    """``done``: frames stylized so far; ``expected``: expected number of frames, None if unknown."""

    done: int
    expected: int | None


@dataclass(frozen=True)
class PaintedVideo:
    """The result of a video.

    Attributes:
        source, target: the input and output file.
        frames: number of stylized frames.
        skipped: number of frames that could not be decoded.
    """

    source: Path
    target: Path
    frames: int
    skipped: int


def is_video(source: str | Path) -> bool:
    """Whether the path has the suffix of a video and is no folder."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES and not Path(source).is_dir()


def plan_video(source: str | Path, output: str | Path | None, *, style: str, suffix: str | None = None) -> Path:
    """Choose the output file of a video. It needs no painter, so mistakes show before a runtime is prepared.

    Args:
        source: the video.
        output: a file or a folder; None is the folder `stylized`.
        style: the style's name, appended to the file name in a folder.
        suffix: of the file in a folder; None keeps the video's suffix if that format can be written, else .mp4.

    Raises:
        ValueError: no such video, a suffix that cannot be written, output equal to the video, or PyAV is missing.
    """
    source, target = Path(source), Path(output or "stylized")
    if not source.exists():
        raise ValueError(f"Expected a video at {source}, found nothing; check the path.")
    if target.suffix == "" or target.is_dir():
        kept = source.suffix if source.suffix.lower() in CONTAINERS else ".mp4"
        target = target / f"{source.stem}_{style}{suffix or kept}"
    _check_target(source, target)
    _check_pyav()
    return target


def check_settings(*, size: int | None = None, smoothing: float = 0.0, quality: int = 95) -> None:
    """Check settings of `paint_video` before there is a painter.

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
    """Stylize every frame of a video. Frame times, size, pixel aspect and audio are kept; rotated frames turn upright.

    Audio that the output container does not support is re-encoded, or left out with a warning. Frames that cannot be
    decoded are skipped and counted. Subtitles and further video tracks are left out. The output file appears when it
    is complete. After Ctrl-C or SIGTERM it contains the frames so far and is playable.

    Args:
        painter: stylizes a frame.
        source: the video.
        target: .mp4, .m4v, .mov and .mkv use H.264, .webm uses VP9.
        size: shorter side of the result in pixels; None keeps the video's size.
        smoothing: 0 to below 1; higher values remove more flicker, see `TemporalSmoothing`.
        quality: 1 to 100.
        mask: an image file of any size; white areas are stylized.
        progress: called after every frame.

    Raises:
        ValueError: no video, an output that cannot be written, a setting out of range, or PyAV is missing.
        Interrupted: a signal stopped it early. A KeyboardInterrupt from `progress` is raised again.
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
    """Stylize until the end or an interrupt; returns the number of frames and a KeyboardInterrupt, if there was one.

    One thread reads the next frames and another writes the last ones, while this one stylizes.
    """
    done = 0
    with ReadAhead(with_sound(clip.parts())) as parts, WriteBehind() as written:
        try:
            for sound, frame in parts:
                if frame is None:
                    written.add(_write, writer, sound, None)
                    continue
                written.add(_write, writer, sound, replace(frame, pixels=painted(frame.pixels)))
                done += 1
                progress(VideoProgress(done, clip.expected))
                if stop.signal_number is not None:
                    break
        except KeyboardInterrupt as interrupt:  # From the progress callback, or a second Ctrl-C.
            if done == 0:
                raise
            return done, interrupt
    return done, None


def with_sound(parts: Iterable[Any]) -> Iterator[tuple[list[Any], Frame | None]]:
    """Each frame with the sound before it; the sound after the last frame follows without a frame.

    A frame has several packets of sound. As parts of their own, they would fill the places for parts that are read
    ahead and written behind.
    """
    sound: list[Any] = []
    for part in parts:
        if isinstance(part, Frame):
            yield sound, part
            sound = []
        else:
            sound.append(part)
            if len(sound) == MOST_PACKETS:
                yield sound, None
                sound = []
    if sound:
        yield sound, None


def _write(writer: "ClipWriter", sound: Sequence[Any], frame: Frame | None) -> None:
    for packet in sound:
        writer.sound(packet)
    if frame is not None:
        writer.picture(frame)


def _go_on_stopping(
    reached: VideoProgress, target: Path, interrupt: KeyboardInterrupt | None, stop: SignalHandler
) -> None:
    """The file is complete now: raise what stopped the video."""
    of_how_many = f" of {reached.expected}" if reached.expected else ""
    sentence = f"Stopped: {target} contains the first {reached.done} frames{of_how_many}."
    if interrupt is not None:
        log.warning(sentence)
        raise interrupt
    raise Interrupted(sentence, stop.signal_number or signal.SIGINT, saved=target)


def _check_target(source: Path, target: Path) -> None:
    if target.suffix.lower() not in CONTAINERS:
        raise ValueError(f"The suffix of an output video is one of {', '.join(CONTAINERS)}; got {target}.")
    if target.resolve() == source.resolve():
        raise ValueError(f"The output {target} is the video itself; name another output.")


def _check_pyav() -> None:
    if find_spec("av") is None:
        raise ValueError("Videos need PyAV, which is not installed: pip install 'fast_style[video]'.")
