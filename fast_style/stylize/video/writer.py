"""Frames, and the sound between them, to video files, by PyAV."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter

from fast_style.atomic_files import atomic_write
from fast_style.stylize.video.audio import add_sound
from fast_style.stylize.video.reader import Clip, Frame

_BT709, _LIMITED_RANGE = 1, 1  # FFmpeg's numbers.
#: MPEG-4 divides a second into no more ticks.
_MOST_TICKS = 65535


class ClipWriter:
    """A video file that is being written: a clip's frames, and its sound.

    Args:
        container: what PyAV opened.
        clip: whose size, times and sound it gets.
        quality: 1 to 100.
    """

    def __init__(self, container: Any, clip: Clip, *, quality: int) -> None:
        self._container, self._time_base = container, clip.time_base
        self._pictures = _picture_stream(container, clip, quality)
        self._sounds = {stream.index: add_sound(container, stream) for stream in clip.sounds}
        self._reformatter = VideoReformatter()

    def picture(self, frame: Frame) -> None:
        """Add the next frame."""
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), "rgb24"),
            format=self._pictures.pix_fmt,
            dst_colorspace=_BT709,
            dst_color_range=_LIMITED_RANGE,
        )
        picture.pts, picture.duration, picture.time_base = frame.start, frame.duration, self._time_base
        self._container.mux(self._pictures.encode(picture))

    def sound(self, packet: Any) -> None:
        """Add a packet of the clip's sound: as it is, or encoded anew where this kind of file takes no such sound."""
        track = self._sounds[packet.stream.index]
        if track is not None:
            track.add(packet)

    def finish(self) -> None:
        """Write what the encoders still hold."""
        self._container.mux(self._pictures.encode(None))
        for track in self._sounds.values():
            if track is not None:
                track.finish()


@contextmanager
def write_clip(path: str | os.PathLike[str], kind: str, clip: Clip, *, quality: int) -> Iterator[ClipWriter]:
    """Write a file for what was read of a clip, whatever the path's suffix; it is there, and playable, once this ends.

    ``kind`` is FFmpeg's name of the container: ``mp4``, ``mov``, ``matroska``, ``webm``.

    Raises:
        ValueError, OSError: it can't be written; one sentence names the path.
    """
    # Players on the web start before they have the whole file if its index comes first.
    options = {"movflags": "+faststart"} if kind in ("mp4", "mov") else {}
    with atomic_write(path) as file:
        try:
            with av.open(file.name, "w", format=kind, options=options) as container:
                writer = ClipWriter(container, clip, quality=quality)
                yield writer
                writer.finish()
        except av.FFmpegError as error:  # It names the temporary file, or a function of FFmpeg.
            raise ValueError(f"{os.fspath(path)} can't be written: {error.strerror}.") from error


def _picture_stream(container: Any, clip: Clip, quality: int) -> Any:
    webm, x264 = container.format.name == "webm", "libx264" in av.codecs_available
    codec = "libvpx-vp9" if webm else "libx264" if x264 else "mpeg4"
    stream = container.add_stream(codec, rate=clip.rate)
    stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
    if codec == "libx264" and (clip.width % 2 or clip.height % 2):
        # H.264 with one colour for four pixels crops to even sizes only; with a colour for each it keeps odd ones.
        stream.pix_fmt = "yuv444p"
    context = stream.codec_context
    context.time_base = clip.time_base
    if codec == "mpeg4" and clip.time_base.denominator > _MOST_TICKS:
        context.time_base = Fraction(1, 60000)
    if clip.pixel_aspect:
        context.sample_aspect_ratio = clip.pixel_aspect
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    context.flags |= Flags.frame_duration
    stream.options = _encoder_options(codec, quality)
    return stream


def _encoder_options(codec: str, quality: int) -> dict[str, str]:
    """Of constant quality; 95 is H.264's CRF 18, where few see a difference, and 50 its 34."""
    if codec == "libx264":
        # An MP4 counts time in the order of decoding. With B-frames that is not the order of showing, and a clip of
        # variable frame rate would come out shorter than it is.
        return {"crf": str(round(52 - 0.36 * quality)), "bf": "0"}
    if codec == "mpeg4":
        scale = round(31 - 0.29 * quality)
        return {"flags": "+qscale", "global_quality": str(118 * scale)}
    return {"crf": str(round(63 - 0.42 * quality)), "b:v": "0", "cpu-used": "4", "row-mt": "1"}
