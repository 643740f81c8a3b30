"""Copy or re-encode the audio tracks of a video, with PyAV."""

import logging
from io import BytesIO
from itertools import islice
from typing import Any

import av
from av.audio.resampler import AudioResampler

log = logging.getLogger(__name__)

_ENCODERS = {"webm": "libopus"}
_OTHER_ENCODER = "aac"
#: Layouts for 1, 2, ... channels. AAC and Opus both support these, but not every layout that a video may have.
_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
#: Number of packets, of all tracks, in which the first packet of a track is searched.
_FURTHEST = 500


class CopiedSound:
    """An audio track that is copied unchanged.

    Args:
        container: PyAV's output container.
        stream: the input track.

    Raises:
        ValueError: the container does not support this codec. Some containers report that only when they are written.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._copy = container, container.add_stream_from_template(stream)

    def add(self, packet: Any) -> None:
        """Write the next packet of the input track."""
        packet.stream = self._copy
        self._container.mux(packet)

    def finish(self) -> None:
        """Do nothing: a copied track has no buffered packets."""


class EncodedSound:
    """An audio track that is re-encoded: AAC, or Opus in WebM, at a sample rate and channel layout that they support.

    Args:
        container: PyAV's output container.
        stream: the input track.

    Raises:
        ValueError, av.FFmpegError: no decoder or encoder. Some containers report that only when they are written.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        if stream.codec_context is None:
            raise ValueError("no decoder for this audio track")
        stream.codec_context.open(strict=False)
        channels = stream.layout.nb_channels
        if not 1 <= channels <= len(_LAYOUTS):
            raise ValueError(f"no channel layout for {channels} channels")
        name = _ENCODERS.get(container.format.name, _OTHER_ENCODER)
        self._container, self._stream = container, stream
        self._encoder = container.add_stream(name, rate=_known_rate(name, stream.rate))
        self._encoder.layout = _LAYOUTS[channels - 1]
        self._resampler, self._resampled = AudioResampler(), ("", "", 0)

    def add(self, packet: Any) -> None:
        """Re-encode the next packet of the input track; None flushes the decoder."""
        try:
            heard = self._stream.decode(packet)
        except av.FFmpegError:
            return  # A broken packet becomes a short silence.
        for frame in heard:
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind != self._resampled:  # Broadcasts switch between stereo and 5.1.
                encoder = self._encoder
                self._resampler = AudioResampler(encoder.format, encoder.layout, encoder.rate)
                self._resampled = kind
            for part in self._resampler.resample(frame):
                self._container.mux(self._encoder.encode(part))

    def finish(self) -> None:
        """Flush the decoder and the encoder."""
        self.add(None)
        self._container.mux(self._encoder.encode(None))


def add_sound(container: Any, stream: Any) -> CopiedSound | EncodedSound | None:
    """Add an audio track to a file: copied if possible, else re-encoded, else left out with a warning.

    Args:
        container: PyAV's output container, before its header is written.
        stream: the input track.
    """
    kind = container.format.name
    if _is_taken(kind, CopiedSound, stream):
        return CopiedSound(container, stream)
    if _is_taken(kind, EncodedSound, stream):
        log.info("A %s file does not support the video's audio codec; the audio is re-encoded.", kind)
        return EncodedSound(container, stream)
    log.warning("An audio track is left out: it cannot be encoded for a %s file.", kind)
    return None


def _is_taken(kind: str, way: type[CopiedSound | EncodedSound], stream: Any) -> bool:
    """Whether writing the track this way works; tested with its first packet, on a file in memory.

    A stream cannot be removed from a container. Many errors appear only when the header is written, or when the index
    is written after hours of work.
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
    """The encoder's lowest sample rate that is at least `rate`, else its highest."""
    known: list[int] = av.Codec(encoder, "w").audio_rates or [rate]
    return min((other for other in known if other >= rate), default=max(known))
