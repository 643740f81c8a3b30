"""Images of every format and mode are read as RGB float32 in 0..1, upright."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from fast_style.images import encode
from fast_style.images.color_modes import flattened
from fast_style.images.tensors import load_image, load_pixels, read_picture

RED, PINK, WHITE = (1.0, 0.0, 0.0), (1.0, 127 / 255, 127 / 255), (1.0, 1.0, 1.0)
HALF = 128 / 255


# ---- input images, made with Pillow


def plain(mode, colour):
    return Image.new(mode, (8, 6), colour)


def palette(*, alpha=None, entry=(255, 0, 0)):
    image = plain("P", 1)
    image.putpalette([0, 0, 255, *entry])
    return image if alpha is None else Image.merge("PA", (image, plain("L", alpha)))


def lab(colour):
    return plain("RGB", colour).convert("LAB")


def icc(space, pcs, **tags):
    """A minimal ICC v2 profile (ICC.1:2001-04, section 6) with the given tags."""
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += struct.pack(">4sII", name.encode(), start + len(data), len(body))
        data += body + b"\0" * (-len(body) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(data), b"", 0x02400000, b"prtr", space, pcs)
    header += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)  # D50
    return header.ljust(128, b"\0") + table + data


WHITE_POINT = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
LINEAR_GREY = icc(b"GRAY", b"XYZ ", wtpt=WHITE_POINT, kTRC=b"curv" + bytes(8))


def swapped_rgb():
    """The sRGB profile with its red and green primaries exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")


def white_ink_cmyk():
    """A CMYK profile that maps every mixture of inks to white (Lab 100, 0, 0)."""
    identity = bytes(range(256))
    body = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    body += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    body += identity * 4 + bytes([255, 128, 128]) * 16 + identity * 3
    return icc(b"CMYK", b"Lab ", wtpt=WHITE_POINT, A2B0=body)


KINDS = {  # file name -> (image, save options, colour over white, alpha)
    "rgb.png": (plain("RGB", "red"), {}, RED, None),
    "rgb.bmp": (plain("RGB", "red"), {}, RED, None),
    "grey.png": (plain("L", 51), {}, (0.2, 0.2, 0.2), None),
    "bit.png": (plain("1", 1), {}, WHITE, None),
    "palette.gif": (palette(), {}, RED, None),
    "palette.png": (palette(), {}, RED, None),
    "cmyk.tif": (plain("CMYK", (0, 255, 255, 0)), {}, RED, None),
    "cmyk.jpg": (plain("CMYK", (0, 255, 255, 0)), {"quality": 100}, RED, None),
    "ycc.jpg": (plain("RGB", "red").convert("YCbCr"), {"quality": 100}, RED, None),
    "lab.tif": (lab((180, 90, 60)), {}, (180 / 255, 90 / 255, 60 / 255), None),
    "deep.png": (plain("I;16", 13107), {}, (0.2, 0.2, 0.2), None),
    "deep.pgm": (plain("I", 13107), {}, (0.2, 0.2, 0.2), None),
    "unit_float.tif": (plain("F", 0.2), {}, (0.2, 0.2, 0.2), None),
    "byte_float.tif": (plain("F", 51.0), {}, (0.2, 0.2, 0.2), None),
    "not_a_number.tif": (plain("F", float("nan")), {}, (0.0, 0.0, 0.0), None),
    "rgba.png": (plain("RGBA", (255, 0, 0, 128)), {}, PINK, HALF),
    "rgba.webp": (plain("RGBA", (255, 0, 0, 128)), {"lossless": True}, PINK, HALF),
    "la.png": (plain("LA", (0, 128)), {}, (127 / 255,) * 3, HALF),
    "pa.tif": (palette(alpha=128), {}, PINK, HALF),
    "palette_alpha.png": (palette(), {"transparency": b"\xff\x80"}, PINK, HALF),
    "palette_clear.png": (palette(), {"transparency": 1}, WHITE, 0.0),
    "palette_clear.gif": (palette(), {"transparency": 1}, WHITE, 0.0),
    "rgb_clear.png": (plain("RGB", "red"), {"transparency": (255, 0, 0)}, WHITE, 0.0),
    "grey_clear.png": (plain("L", 51), {"transparency": 51}, WHITE, 0.0),
    "deep_clear.png": (plain("I;16", 1300), {"transparency": 1300}, WHITE, 0.0),
    "broken_profile.png": (plain("RGB", "red"), {"icc_profile": b"junk"}, RED, None),
    "srgb.jpg": (plain("L", 51), {"icc_profile": encode._srgb()}, (0.2, 0.2, 0.2), None),
    "swapped.png": (plain("RGB", "red"), {"icc_profile": swapped_rgb()}, (0, 1, 0), None),
    "swapped_palette.png": (palette(), {"icc_profile": swapped_rgb()}, (0, 1, 0), None),
    "swapped_alpha.png": (
        plain("RGBA", (255, 0, 0, 128)),
        {"icc_profile": swapped_rgb()},
        (127 / 255, 1, 127 / 255),
        HALF,
    ),
    # sRGB's encoding of linear 51 / 255 (IEC 61966-2-1): 1.055 * 0.2 ** (1 / 2.4) - 0.055.
    "linear.png": (plain("L", 51), {"icc_profile": LINEAR_GREY}, (0.4845,) * 3, None),
    "linear_alpha.png": (plain("LA", (51, 255)), {"icc_profile": LINEAR_GREY}, (0.4845,) * 3, 1),
    "misfit.png": (plain("RGB", "red"), {"icc_profile": LINEAR_GREY}, RED, None),
    "ink.tif": (plain("CMYK", (0, 255, 255, 0)), {"icc_profile": white_ink_cmyk()}, WHITE, None),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_mode_becomes_rgb_over_white(tmp_path, name):
    image, options, colour, alpha = KINDS[name]
    image.save(tmp_path / name, **options)
    picture = read_picture(tmp_path / name)
    assert picture.pixels.shape == (1, 3, 6, 8)
    assert picture.pixels.dtype == torch.float32
    assert picture.pixels.is_contiguous()
    wanted = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 6, 8)
    torch.testing.assert_close(picture.pixels, wanted.float(), atol=1.6 / 255, rtol=0)
    assert (picture.alpha is None) == (alpha is None)
    if picture.alpha is not None:
        torch.testing.assert_close(picture.alpha, torch.full((1, 1, 6, 8), float(alpha)))
    levels = load_pixels(tmp_path / name)
    assert levels.dtype == torch.uint8
    assert torch.equal(levels, (picture.pixels[0] * 255).round().to(torch.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_premultiplied_alpha(mode):
    # Pillow cannot write these modes, so the test needs no file.
    image = plain(mode, (0,) * (len(mode) - 1) + (128,)).convert(mode[:-1] + "a")
    colour, alpha = flattened(image)
    assert colour.getpixel((0, 0)) == (127, 127, 127)
    assert alpha.getpixel((0, 0)) == 128


def numbered(height, width):
    """An image without equal pixels or symmetry."""
    values = np.arange(height * width * 3, dtype=np.uint8)
    return values.reshape(height, width, 3)


UPRIGHT = {  # EXIF 2.32, section 4.6.4: from the stored to the upright image
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: lambda a: np.rot90(a, 1),
}
LOSSLESS = {
    "a.png": {},
    "a.webp": {"lossless": True},
    "raw.tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", LOSSLESS)
def test_exif_orientation(tmp_path, name, orientation):
    stored = numbered(4, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / name, exif=exif, **LOSSLESS[name])
    upright = UPRIGHT[orientation](stored).transpose(2, 0, 1)
    assert np.array_equal(load_pixels(tmp_path / name).numpy(), upright)


def test_exif_orientation_of_a_palette_picture(tmp_path):
    stored = Image.fromarray(numbered(4, 6)[..., 0]).convert("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "a.png", exif=exif)
    upright = np.rot90(numbered(4, 6)[..., 0], -1)
    assert np.array_equal(load_pixels(tmp_path / "a.png").numpy()[1], upright)


def test_unreadable_exif_gives_no_orientation_and_no_warning(tmp_path):
    path = tmp_path / "a.jpg"
    plain("L", 51).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03")
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(path).close()
    assert load_image(path).shape == (1, 3, 6, 8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big_endian.tif", "a.pgm"])
def test_sixteen_bits_are_kept(tmp_path, name):
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    image = Image.fromarray(ramp.astype(">u2") if name == "big_endian.tif" else ramp)
    image.save(tmp_path / name)
    wanted = torch.from_numpy(ramp.astype(np.float32) / 65535).expand(1, 3, 64, 64)
    torch.testing.assert_close(load_image(tmp_path / name), wanted, atol=1e-6, rtol=0)


def test_first_frame_of_an_animation(tmp_path):
    frames = [plain("RGB", colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_pixels(tmp_path / "a.gif")[:, 0, 0].tolist() == [255, 0, 0]


def test_a_jpeg_is_decoded_as_by_pillow(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(numbered(8, 10)).save(path)
    with Image.open(path) as image:
        assert np.array_equal(load_pixels(path).permute(1, 2, 0).numpy(), np.asarray(image))


# ---- sizes


@pytest.mark.parametrize(
    ("stored", "size", "shape"),
    [((60, 40), 20, (20, 30)), ((40, 60), 20, (30, 20)), ((7, 5), 50, (50, 70))],
)
def test_size_is_the_shorter_side(tmp_path, stored, size, shape):
    Image.new("RGBA", stored, (255, 0, 0, 128)).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png", size=size)
    assert picture.pixels.shape == (1, 3, *shape)
    assert picture.alpha.shape == (1, 1, *shape)
    assert picture.pixels[0, 1].mean() == pytest.approx(127 / 255)


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    inside = load_image(tmp_path / "a.png", size=8)[..., 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.5), atol=0.02, rtol=0)


def test_resized_deep_grey_stays_in_range(tmp_path):
    edge = np.zeros((16, 16), np.uint16)
    edge[:, 8:] = 65535
    Image.fromarray(edge).save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png", size=40)
    assert pixels.min() == 0
    assert pixels.max() == 1


def test_size_below_one(tmp_path):
    with pytest.raises(ValueError, match="size is the shorter side in pixels and must be at least 1; got 0"):
        load_image(tmp_path / "a.png", size=0)
