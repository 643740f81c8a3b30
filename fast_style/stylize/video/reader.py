"""Read the frames and the audio packets of a video, with PyAV.

Frames are ``(H, W, 3)``, uint8, RGB, upright.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from fast_style.stylize.video.frame import Frame

log = logging.getLogger(__name__)

_BT709, _BT601, _UNTAGGED = 1, 5, 2  # FFmpeg's codes of colour spaces.


class Clip:
    """An open video file, read once from beginning to end.

    Attributes:
        width, height: size of the upright frames, in pixels.
        time_base: seconds per tick; all times are in ticks.
        rate: mean frames per second.
        pixel_aspect: width / height of an upright pixel; None if the file does not say.
        expected: expected number of frames; None if unknown.
        skipped: number of frames that could not be decoded so far.
    """

    def __init__(self, container: Any, video: Any, *, size: int | None) -> None:
        self.sounds = list(container.streams.audio)
        self.skipped = 0
        self._container, self._video = container, video
        self._parts = self._read()
        self._ahead = self._up_to_the_first_frame()
        first = self._ahead[-1]
        self._matrix = _display_matrix(first)
        turned = _is_turned(self._matrix)
        self.width: int = first.height if turned else first.width
        self.height: int = first.width if turned else first.height
        if size is not None:
            self.width, self.height = _scaled(self.width, self.height, size)
        self._decoded_size = (self.height, self.width) if turned else (self.width, self.height)
        aspect = video.sample_aspect_ratio
        self.pixel_aspect = 1 / aspect if aspect and turned else aspect
        self.time_base: Fraction = video.time_base
        self.rate = Fraction(video.average_rate or video.guessed_rate or 25)
        self.expected = _expected(container, video, self.rate)
        self._reformatter = VideoReformatter()

    def parts(self) -> "Iterator[Frame | av.Packet[Any]]":
        """Yield all frames in order, and the audio packets between them."""
        last = None
        for part in chain(self._ahead, self._parts):
            if not isinstance(part, av.VideoFrame):
                yield part
                continue
            # Old containers store only decoding times (dts). In broken files, times may decrease.
            said = part.pts if part.pts is not None else part.dts
            usual = max(1, round(1 / (self.rate * self.time_base)))
            start = (0 if last is None else last + usual) if said is None else said - self._origin(self._video)
            last = start if last is None else max(start, last + 1)
            yield Frame(self._pixels(part), last, part.duration or usual)

    def _read(self) -> Iterator[Any]:
        """Yield decoded frames and audio packets in file order."""
        for packet in self._packets():
            if packet is None or packet.stream.index == self._video.index:
                yield from self._decoded(packet)
            elif packet.dts is not None:  # The last packet of a stream is empty.
                shift = self._origin(packet.stream)
                packet.dts -= shift
                packet.pts = None if packet.pts is None else packet.pts - shift
                yield packet

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._video, *self.sounds)
        except av.FFmpegError as error:
            log.warning("The video ends early: %s.", error.strerror)
            yield None

    def _decoded(self, packet: Any) -> list[Any]:
        """The frames that this packet completes; None flushes the decoder."""
        try:
            return list(self._video.decode(packet))
        except av.FFmpegError:
            self.skipped += 1
            return []

    def _up_to_the_first_frame(self) -> list[Any]:
        parts: list[Any] = []
        for part in self._parts:
            parts.append(part)
            if isinstance(part, av.VideoFrame):
                return parts
        raise ValueError(
            f"Expected a video at {self._container.name}, found no frame that can be decoded; "
            "download or export it again."
        )

    def _origin(self, stream: Any) -> int:
        """Start time of the file, in ticks of the stream: a recorded broadcast may start hours after 0."""
        start = max(0, self._container.start_time or 0)
        return int(Fraction(start, av.time_base) / stream.time_base)

    def _pixels(self, frame: Any) -> NDArray[np.uint8]:
        width, height = self._decoded_size
        colours = frame.colorspace
        if colours == _UNTAGGED:  # The same guess that players make.
            colours = _BT709 if frame.height >= 720 else _BT601
        rgb: Any = self._reformatter.reformat(
            frame, width, height, "rgb24", colours, interpolation="LANCZOS", src_color_range=frame.color_range
        )
        return upright(rgb.to_ndarray(), self._matrix)


@contextmanager
def read_clip(path: str | os.PathLike[str], *, size: int | None = None) -> Iterator[Clip]:
    """Open a video; ``size`` is the shorter side of the frames in pixels (already checked by the caller).

    Raises:
        ValueError: no video, or a video that cannot be decoded; the message says what was found.
    """
    try:
        container = av.open(os.fspath(path))
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"Expected a video at {os.fspath(path)}, found {_diagnosis(error)}.") from error
    with container:
        shown = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not shown:
            raise ValueError(f"Expected a video at {os.fspath(path)}, found no video track; name another file.")
        yield Clip(container, shown[0], size=size)


def upright(pixels: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """Rotate (by multiples of 90 degrees) and flip ``(H, W, C)`` as the display matrix says.

    The matrix maps a pixel ``(x, y)`` to ``(a x + c y, b x + d y)``; a, b, c, d are its entries 0, 1, 3, 4.
    """
    if matrix is None:
        return pixels
    a, b, c, d = matrix[[0, 1, 3, 4]]
    if _is_turned(matrix):
        pixels, right, down = pixels.swapaxes(0, 1), c, b
    else:
        right, down = a, d
    return pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]


def _expected(container: Any, video: Any, rate: Fraction) -> int | None:
    """The frame count that the file states, else its duration times the frame rate; None if neither is known."""
    by_duration = round((container.duration or 0) * rate / av.time_base)
    return int(video.frames) or by_duration or None


def _is_turned(matrix: NDArray[np.int32] | None) -> bool:
    return matrix is not None and bool(abs(matrix[1]) > abs(matrix[0]))


def _display_matrix(frame: Any) -> NDArray[np.int32] | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(bytes(data), np.int32)


def _scaled(width: int, height: int, shorter: int) -> tuple[int, int]:
    """Width and height; the longer side is rounded to an even number, which every player supports."""
    longer = max(shorter, 2 * round(max(width, height) * shorter / min(width, height) / 2))
    return (longer, shorter) if width > height else (shorter, longer)


def _diagnosis(error: Exception) -> str:
    """What was found instead, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "nothing; check the path"
    if isinstance(error, IsADirectoryError | PermissionError):
        return "a folder, or a file without read permission; name a readable file"
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return f"a file that cannot be decoded ({reason}); download or export it again"
