"""Short test videos, made with PyAV: each frame has its own brightness, and each corner its own colour."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 12000
EVEN = tuple(range(0, 10 * 480, 480))  # 25 frames per second.
UNEVEN = (0, 480, 960, 2400, 2880, 6000, 6480, 7000, 9000, 9480)
CLOCKWISE = (0, 1, -1, 0)
CORNERS = {(0, 0): (230, 30, 30), (0, -1): (30, 200, 30), (-1, 0): (40, 40, 230), (-1, -1): (220, 220, 30)}


def picture(width, height, number):
    """A frame `(H, W, 3)`, uint8: grey, brighter for larger numbers, with four coloured corners."""
    pixels = np.full((height, width, 3), 60 + 10 * (number % 15), np.uint8)
    for (row, column), colour in CORNERS.items():
        rows = slice(0, 12) if row == 0 else slice(-12, None)
        columns = slice(0, 12) if column == 0 else slice(-12, None)
        pixels[rows, columns] = colour
    return pixels


def make_clip(
    path,
    *,
    width=48,
    height=32,
    starts=EVEN,
    ticks=TICKS,
    codec="libx264",
    pixels="yuv444p",
    sound="aac",
    layout="mono",
    sound_rate=None,
    sound_then=None,
    aspect=None,
    matrix=None,
    garbage=None,
    full_range=False,
):
    """Write a video. `garbage` is the number of a broken frame; `matrix` holds a, b, c, d of a display matrix.

    `sound_then` is another video; its audio packets are appended.
    """
    with av.open(str(path), "w") as container:
        shown = container.add_stream(codec, rate=25) if codec else None
        sound_rate = sound_rate or (48000 if sound == "libopus" else 44100)
        heard = container.add_stream(sound, rate=sound_rate, layout=layout) if sound else None
        if shown:
            shown.width, shown.height, shown.pix_fmt = width, height, pixels
            shown.codec_context.time_base = Fraction(1, ticks)
            shown.codec_context.color_range = 2 if full_range else 1
            if aspect:
                shown.codec_context.sample_aspect_ratio = aspect
            if codec == "libx264":
                shown.options = {"crf": "4", "bf": "0"}
            for number, start in enumerate(starts):
                frame = av.VideoFrame.from_ndarray(picture(width, height, number), "rgb24")
                frame = frame.reformat(format=pixels, dst_color_range=2 if full_range else 1)
                frame.pts, frame.time_base = start, Fraction(1, ticks)
                for packet in shown.encode(frame):
                    container.mux(spoilt(packet) if number == garbage else packet)
            container.mux(shown.encode(None))
        if heard:
            for frame in sine(heard, seconds=(starts[-1] - starts[0]) / ticks + 0.04, start=starts[0] / ticks):
                container.mux(heard.encode(frame))
            container.mux(heard.encode(None))
        if sound_then:
            follow(container, heard, sound_then, after=(starts[-1] - starts[0]) / ticks + 0.04)
    if matrix:
        turn(Path(path), matrix)
    return path


def spoilt(packet):
    other = av.Packet(b"no picture")
    other.stream, other.pts, other.dts, other.time_base = packet.stream, packet.pts, packet.dts, packet.time_base
    return other


def follow(container, stream, path, *, after):
    with av.open(str(path)) as other:
        for packet in other.demux(other.streams.audio[0]):
            if packet.dts is not None:
                packet.pts = packet.dts = packet.pts + round(after / packet.time_base)
                packet.stream = stream
                container.mux(packet)


def sine(stream, *, seconds, start):
    rate, origin = stream.rate, round(start * stream.rate)
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    for begin in range(0, len(wave), 1024):
        channels = np.repeat(wave[begin : begin + 1024].astype(np.float32), stream.layout.nb_channels)
        frame = av.AudioFrame.from_ndarray(channels[None], "flt", stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, origin + begin, Fraction(1, rate)
        yield frame


def turn(path, matrix):
    """Write a, b, c, d into the header of the first track, as phones held upright do."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@dataclass(frozen=True)
class Seen:
    """A video as a player decodes it: frames `(H, W, 3)`, times in seconds, audio packets, and metadata."""

    pictures: list
    starts: list
    seconds: float
    aspect: Fraction
    codec: str
    rotation: int
    sound: list
    sound_starts: list

    @property
    def first(self):
        """Start time of the file in seconds; audio may start before the first frame."""
        return min(self.starts[:1] + self.sound_starts[:1])


def see(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        seconds = container.duration / av.time_base
    sound = []
    with av.open(str(path)) as container:
        if container.streams.audio:
            sound = [p for p in container.demux(container.streams.audio[0]) if p.dts is not None]
            sound = [(float(p.pts * p.time_base), bytes(p)) for p in sound]
        stream = container.streams.video[0]
        return Seen(
            pictures=[frame.to_ndarray(format="rgb24") for frame in frames],
            starts=[float(frame.pts * stream.time_base) for frame in frames],
            seconds=seconds,
            aspect=stream.sample_aspect_ratio or Fraction(1),
            codec=stream.codec_context.codec.canonical_name,
            rotation=frames[0].rotation,
            sound=[data for _, data in sound],
            sound_starts=[start for start, _ in sound],
        )


def heard_as(path):
    """Codec, channel layout and sample rate of the audio."""
    with av.open(str(path)) as container:
        context = container.streams.audio[0].codec_context
        return context.codec.canonical_name, context.layout.name, context.rate


def heard_frequency(path):
    """Loudest frequency of the audio in Hz, and its length in seconds."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    loud = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(loud)) * rate / len(wave), len(wave) / rate
