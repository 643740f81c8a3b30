"""Write frames and audio packets to video files, with PyAV."""

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
from fast_style.stylize.video.frame import Frame
from fast_style.stylize.video.reader import Clip

_BT709, _LIMITED_RANGE = 1, 1  # FFmpeg's codes.
#: MPEG-4 allows at most this many ticks per second.
_MOST_TICKS = 65535


class ClipWriter:
    """An output video with the frames and audio of a clip.

    Args:
        container: PyAV's output container.
        clip: the input; the output has its size, frame times and audio tracks.
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
        """Add an audio packet: copied, or re-encoded if the container does not support its codec."""
        track = self._sounds[packet.stream.index]
        if track is not None:
            track.add(packet)

    def finish(self) -> None:
        """Flush the encoders."""
        self._container.mux(self._pictures.encode(None))
        for track in self._sounds.values():
            if track is not None:
                track.finish()


@contextmanager
def write_clip(path: str | os.PathLike[str], kind: str, clip: Clip, *, quality: int) -> Iterator[ClipWriter]:
    """Open an output video for the frames of a clip. The file appears, complete and playable, when the context ends.

    ``kind`` is FFmpeg's name of the container: ``mp4``, ``mov``, ``matroska``, ``webm``; the path's suffix is ignored.

    Raises:
        ValueError, OSError: the file cannot be written; the message names the path.
    """
    # With the index first, web players start before the whole file is loaded.
    options = {"movflags": "+faststart"} if kind in ("mp4", "mov") else {}
    with atomic_write(path) as file:
        try:
            with av.open(file.name, "w", format=kind, options=options) as container:
                writer = ClipWriter(container, clip, quality=quality)
                yield writer
                writer.finish()
        except av.FFmpegError as error:  # FFmpeg's message names the temporary file or an internal function.
            raise ValueError(f"{os.fspath(path)} cannot be written: {error.strerror}.") from error


def _picture_stream(container: Any, clip: Clip, quality: int) -> Any:
    webm, x264 = container.format.name == "webm", "libx264" in av.codecs_available
    codec = "libvpx-vp9" if webm else "libx264" if x264 else "mpeg4"
    stream = container.add_stream(codec, rate=clip.rate)
    stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
    if codec == "libx264" and (clip.width % 2 or clip.height % 2):
        # H.264 with 4:2:0 chroma supports even sizes only; 4:4:4 also supports odd sizes.
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
    """Options for constant quality. For H.264, 95 is CRF 18 (visually nearly lossless) and 50 is CRF 34."""
    if codec == "libx264":
        # MP4 stores times in decoding order. B-frames change that order, and a video of variable frame rate would
        # become shorter.
        # Stylized frames have many small strokes. With them veryfast takes half of the time of the default preset, for
        # files of the same size. subq=5 (finer motion vectors) keeps the colours of flat areas.
        return {"crf": str(round(52 - 0.36 * quality)), "bf": "0", "preset": "veryfast", "subq": "5"}
    if codec == "mpeg4":
        scale = round(31 - 0.29 * quality)
        return {"flags": "+qscale", "global_quality": str(118 * scale)}
    return {"crf": str(round(63 - 0.42 * quality)), "b:v": "0", "cpu-used": "4", "row-mt": "1"}
