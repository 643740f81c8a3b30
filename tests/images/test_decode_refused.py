"""Files that are no image, and images that are too large, are refused in one sentence."""

import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from fast_style.images.decode import UnreadablePicture
from fast_style.images.tensors import load_image, load_pixels, read_picture


def plain(mode, colour):
    return Image.new(mode, (8, 6), colour)


# ---- files that are no image


def write_nothing(path):
    pass


def write_folder(path):
    path.mkdir()


def write_empty(path):
    path.touch()


def write_text(path):
    path.write_text("not a picture")


def write_truncated(path):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "png")
    path.write_bytes(file.getvalue()[:1000])


BROKEN = {
    "found nothing; check the path": write_nothing,
    "found a folder": write_folder,
    "found an empty file": write_empty,
    "found an unknown file format": write_text,
    "cannot be decoded": write_truncated,
}


@pytest.mark.parametrize("load", [load_image, load_pixels, read_picture])
@pytest.mark.parametrize("found", BROKEN)
def test_a_file_that_is_no_image_is_refused(tmp_path, found, load):
    path = tmp_path / "a.png"
    BROKEN[found](path)
    with pytest.raises(UnreadablePicture, match=found) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError, SyntaxError, ZeroDivisionError, struct.error])
def test_any_error_of_a_decoder_is_explained(tmp_path, monkeypatch, error):
    def broken(*args):
        raise error("of two\nlines")

    monkeypatch.setattr(Image, "composite", broken)
    plain("RGBA", "red").save(tmp_path / "a.png")
    with pytest.raises(UnreadablePicture, match="of two lines"):
        load_image(tmp_path / "a.png")


# ---- too large


def write_header_of(path, side):
    """A BMP that claims more pixels than it has."""
    plain("RGB", "red").save(path)
    data = bytearray(path.read_bytes())
    data[18:26] = struct.pack("<ii", side, side)
    path.write_bytes(data)


@pytest.mark.parametrize("side", [13_500, 20_000])  # The first is refused by us, the second by Pillow.
def test_bombs_are_refused(tmp_path, side):
    write_header_of(tmp_path / "a.bmp", side)
    with pytest.raises(UnreadablePicture, match=f"{side**2} pixels .*178956970.*max_pixels"):
        load_pixels(tmp_path / "a.bmp")


def test_a_lower_limit(tmp_path):
    plain("RGB", "red").save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", max_pixels=48).shape == (1, 3, 6, 8)
    with pytest.raises(UnreadablePicture, match=r"48 pixels .*47.*max_pixels"):
        load_image(tmp_path / "a.png", max_pixels=47)


@pytest.mark.parametrize("name", ["a.png", "raw.tif", "a.jpg", "a.webp", "a.gif"])
def test_a_limit_above_pillows_own(tmp_path, monkeypatch, name):
    plain("RGB", "red").save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(Image.DecompressionBombError), Image.open(tmp_path / name) as image:
        image.load()
    assert load_image(tmp_path / name, max_pixels=48).shape == (1, 3, 6, 8)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_size_cannot_pass_the_limit(tmp_path):
    Image.new("L", (3000, 1)).save(tmp_path / "a.png")
    with pytest.raises(UnreadablePicture, match=f"{512 * 512 * 3000} pixels"):
        load_image(tmp_path / "a.png", size=512)


def test_reading_in_threads_restores_pillows_globals(tmp_path):
    plain("RGB", "red").save(tmp_path / "a.tif")
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS

    def read(limit):
        try:
            return load_image(tmp_path / "a.tif", max_pixels=limit).shape
        except UnreadablePicture:
            return None

    limits = [10, 48, 10**9] * 30
    with ThreadPoolExecutor(4) as pool:
        shapes = list(pool.map(read, limits))
    assert [shape is None for shape in shapes] == [limit == 10 for limit in limits]
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before
