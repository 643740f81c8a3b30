"""Audio of a stylized video: copied if the container supports it, else re-encoded, else left out; never an error."""

from pathlib import Path

import pytest
from clips import heard_as, heard_frequency, make_clip, see

from fast_style import Stylizer
from fast_style.stylize.painter import Painter
from fast_style.stylize.video.stylize_video import paint_video

av = pytest.importorskip("av")

pytestmark = pytest.mark.usefixtures("here")


class Fake:
    """A runtime that returns its input."""

    name, precision, device = "torch", "fp32", "cpu"
    arrays = tensors = staticmethod(lambda pictures: pictures)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def identity():
    return Painter(Stylizer(Fake(), origin={"style": "plain"}))


KINDS = [
    # Input file, audio codec, channels and sample rate; the same of the output.
    ("clip.mp4", "aac", "mono", 44100, "out.webm", "opus", "mono", 48000),
    ("clip.avi", "pcm_s16le", "stereo", 44100, "out.mp4", "aac", "stereo", 44100),
    ("clip.avi", "pcm_u8", "mono", 11025, "out.mp4", "aac", "mono", 11025),
    ("clip.avi", "adpcm_ima_wav", "stereo", 22050, "out.mp4", "aac", "stereo", 22050),
    ("clip.avi", "adpcm_ima_wav", "stereo", 22050, "out.mkv", "aac", "stereo", 22050),
    ("clip.avi", "adpcm_ima_wav", "stereo", 22050, "out.mov", "aac", "stereo", 22050),
    ("clip.mkv", "ac3", "5.1(side)", 48000, "out.webm", "opus", "5.1", 48000),
    ("clip.mkv", "flac", "stereo", 44100, "out.mov", "aac", "stereo", 44100),
    ("clip.webm", "libopus", "stereo", 48000, "out.mov", "aac", "stereo", 48000),
    ("clip.mkv", "pcm_s16le", "stereo", 192000, "out.mp4", "aac", "stereo", 96000),
    ("clip.mkv", "pcm_s16le", "5.1", 48000, "out.mp4", "aac", "5.1", 48000),
]


@pytest.mark.parametrize(("source", "codec", "layout", "rate", "target", "heard", "channels", "heard_rate"), KINDS)
def test_unsupported_audio_is_re_encoded(identity, source, codec, layout, rate, target, heard, channels, heard_rate):
    pictures = "libvpx-vp9" if source == "clip.webm" else "libx264"
    make_clip(source, codec=pictures, pixels="yuv420p", sound=codec, layout=layout, sound_rate=rate)
    paint_video(identity, source, target)
    assert heard_as(target) == (heard, channels, heard_rate)
    frequency, seconds = heard_frequency(target)
    assert frequency == pytest.approx(440, abs=4)
    assert seconds == pytest.approx(0.4, abs=0.1)  # An AAC packet has 1024 samples, and one packet precedes the start.
    before, after = see(source), see(target)
    assert after.sound_starts[0] - after.starts[0] == pytest.approx(before.sound_starts[0] - before.starts[0], abs=0.1)


COPIES = [
    ("clip.avi", "pcm_s16le", "stereo", "out.mov"),
    ("clip.avi", "pcm_u8", "mono", "out.mkv"),
    ("clip.mkv", "ac3", "5.1(side)", "out.mp4"),
    ("clip.mkv", "eac3", "stereo", "out.mp4"),
    ("clip.mkv", "flac", "stereo", "out.mp4"),
    ("clip.mov", "pcm_s16le", "stereo", "out.mp4"),
]


@pytest.mark.parametrize(("source", "codec", "layout", "target"), COPIES)
def test_supported_audio_is_copied(identity, source, codec, layout, target):
    make_clip(source, pixels="yuv420p", sound=codec, layout=layout, sound_rate=48000)
    paint_video(identity, source, target)
    before, after = b"".join(see(source).sound), b"".join(see(target).sound)
    assert len(after) > 0
    assert after == before


def test_audio_with_a_changing_layout_is_encoded_to_its_end(identity):
    make_clip("stereo.mkv", sound="ac3", layout="stereo", sound_rate=48000)
    make_clip("clip.mkv", sound="ac3", layout="5.1(side)", sound_rate=48000, sound_then="stereo.mkv")
    paint_video(identity, "clip.mkv", "out.webm")
    frequency, seconds = heard_frequency("out.webm")
    assert frequency == pytest.approx(440, abs=4)
    assert seconds == pytest.approx(0.8, abs=0.1)


def test_audio_without_an_encoder_is_left_out_with_a_warning(identity, monkeypatch, caplog):
    from fast_style.stylize.video import audio

    monkeypatch.setattr(audio, "_ENCODERS", {"webm": "no such encoder"})
    make_clip("clip.mp4")
    paint_video(identity, "clip.mp4", "out.webm")
    assert see("out.webm").sound == []
    assert "left out" in caplog.text


def test_audio_of_too_many_channels_is_left_out_with_a_warning(identity, caplog):
    make_clip("clip.mkv", sound="pcm_s16le", layout="hexadecagonal", sound_rate=48000)
    paint_video(identity, "clip.mkv", "out.mp4")
    after = see("out.mp4")
    assert (len(after.pictures), after.sound) == (10, [])
    assert "left out" in caplog.text


@pytest.mark.parametrize("method", ["picture", "sound", "finish"])
def test_a_write_error_names_the_output_file(identity, monkeypatch, method):
    from fast_style.stylize.video.writer import ClipWriter

    def broken(*_):
        raise av.ArgumentError(22, "Invalid argument", ".0123.tmp")

    monkeypatch.setattr(ClipWriter, method, broken)
    make_clip("clip.mp4")
    with pytest.raises(ValueError, match=r"^out\.mp4 cannot be written: Invalid argument\.$"):
        paint_video(identity, "clip.mp4", "out.mp4")
    assert [path.name for path in Path().iterdir()] == ["clip.mp4"]
