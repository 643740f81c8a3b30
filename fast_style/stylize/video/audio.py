"""Tracks of sound, from a clip to the file that is written of it, by PyAV."""

import logging
from io import BytesIO
from itertools import islice
from typing import Any

import av
from av.audio.resampler import AudioResampler

log = logging.getLogger(__name__)

_ENCODERS = {"webm": "libopus"}
_OTHER_ENCODER = "aac"
#: Of 1, 2, ... channels; AAC and Opus both know these, and not each of those that a clip may have.
_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
#: How many packets, of all tracks, are searched for the first one of a track.
_FURTHEST = 500


class CopiedSound:
    """A track that stays as it is.

    Args:
        container: what PyAV opened for writing.
        stream: the clip's track.

    Raises:
        ValueError: this kind of file does not take it. Some kinds say so only when the file is written.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._copy = container, container.add_stream_from_template(stream)

    def add(self, packet: Any) -> None:
        """Write the clip's next packet."""
        packet.stream = self._copy
        self._container.mux(packet)

    def finish(self) -> None:
        """There is nothing left."""


class EncodedSound:
    """A track that is encoded anew: AAC, in WebM Opus, of a rate and a layout of channels that these know.

    Args:
        container: what PyAV opened for writing.
        stream: the clip's track.

    Raises:
        ValueError, av.FFmpegError: nothing here decodes it, or encodes it. Some say so only when the file is written.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        if stream.codec_context is None:
            raise ValueError("nothing here decodes this track of sound")
        stream.codec_context.open(strict=False)
        channels = stream.layout.nb_channels
        if not 1 <= channels <= len(_LAYOUTS):
            raise ValueError(f"no layout of {channels} channels is known")
        name = _ENCODERS.get(container.format.name, _OTHER_ENCODER)
        self._container, self._stream = container, stream
        self._encoder = container.add_stream(name, rate=_known_rate(name, stream.rate))
        self._encoder.layout = _LAYOUTS[channels - 1]
        self._resampler, self._resampled = AudioResampler(), ("", "", 0)

    def add(self, packet: Any) -> None:
        """Write what the clip's next packet holds; None asks for what the decoder still holds."""
        try:
            heard = self._stream.decode(packet)
        except av.FFmpegError:
            return  # A broken packet is a moment of silence.
        for frame in heard:
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind != self._resampled:  # Broadcasts go from stereo to 5.1 and back.
                encoder = self._encoder
                self._resampler = AudioResampler(encoder.format, encoder.layout, encoder.rate)
                self._resampled = kind
            for part in self._resampler.resample(frame):
                self._container.mux(self._encoder.encode(part))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self.add(None)
        self._container.mux(self._encoder.encode(None))


def add_sound(container: Any, stream: Any) -> CopiedSound | EncodedSound | None:
    """Add a clip's track to a file: as it is, else encoded anew, else not at all, which is logged.

    Args:
        container: what PyAV opened for writing, before its header is written.
        stream: the clip's track.
    """
    kind = container.format.name
    if _is_taken(kind, CopiedSound, stream):
        return CopiedSound(container, stream)
    if _is_taken(kind, EncodedSound, stream):
        log.info("A %s file takes no such sound as the video has; it is encoded anew.", kind)
        return EncodedSound(container, stream)
    log.warning("One track of sound is left out: nothing here encodes it for a %s file.", kind)
    return None


def _is_taken(kind: str, way: type[CopiedSound | EncodedSound], stream: Any) -> bool:
    """Try it with the track's first packet, on a file in memory.

    What was added to a file stays, and much is refused only when its header is written, or, after hours of painting,
    its index.
    """
    try:
        with av.open(stream.container.name) as again, av.open(BytesIO(), "w", format=kind) as trial:
            sound = way(trial, again.streams[stream.index])
            trial.start_encoding()
            ahead = islice(again.demux(), _FURTHEST)
            for packet in islice((p for p in ahead if p.stream.index == stream.index and p.dts is not None), 1):
                sound.add(packet)
                sound.finish()
    except (ValueError, av.FFmpegError):
        return False
    return True


def _known_rate(encoder: str, rate: int) -> int:
    """The lowest of the encoder's rates that loses nothing, or its highest."""
    known: list[int] = av.Codec(encoder, "w").audio_rates or [rate]
    return min((other for other in known if other >= rate), default=max(known))
