"""Pictures of every kind come in as RGB float32 0..1, upright, and go out whole or not at all."""

import io
import os
import stat
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import SHARED
from PIL import Image, ImageCms, JpegImagePlugin, features

from fast_style import images
from fast_style.images import (
    PICTURE_SUFFIXES,
    UnreadablePicture,
    load_image,
    load_pixels,
    read_picture,
    save_image,
)

RED, PINK, WHITE = (1.0, 0.0, 0.0), (1.0, 127 / 255, 127 / 255), (1.0, 1.0, 1.0)
HALF = 128 / 255
ODD = SHARED / "odd_images"


# ---- pictures to read, made with Pillow


def plain(mode, colour):
    return Image.new(mode, (8, 6), colour)


def palette(*, alpha=None, entry=(255, 0, 0)):
    image = plain("P", 1)
    image.putpalette([0, 0, 255, *entry])
    return image if alpha is None else Image.merge("PA", (image, plain("L", alpha)))


def lab(colour):
    return plain("RGB", colour).convert("LAB")


def icc(space, pcs, **tags):
    """A minimal ICC v2 profile (ICC.1:2001-04, section 6) of the given tags."""
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
    """A CMYK profile in which every mixture of inks comes out white (Lab 100, 0, 0)."""
    identity = bytes(range(256))
    body = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    body += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    body += identity * 4 + bytes([255, 128, 128]) * 16 + identity * 3
    return icc(b"CMYK", b"Lab ", wtpt=WHITE_POINT, A2B0=body)


KINDS = {  # file name -> (picture, how to save it, colour over white, alpha)
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
    "srgb.jpg": (plain("L", 51), {"icc_profile": images._srgb()}, (0.2, 0.2, 0.2), None),
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
def test_every_kind_is_rgb_over_white(tmp_path, name):
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
    # No encoder of Pillow writes these modes, so no file can be made to read them from.
    image = plain(mode, (0,) * (len(mode) - 1) + (128,)).convert(mode[:-1] + "a")
    colour, alpha = images._flattened(image)
    assert colour.getpixel((0, 0)) == (127, 127, 127)
    assert alpha.getpixel((0, 0)) == 128


def numbered(height, width):
    """A picture without two equal pixels or any symmetry."""
    values = np.arange(height * width * 3, dtype=np.uint8)
    return values.reshape(height, width, 3)


UPRIGHT = {  # EXIF 2.32, section 4.6.4: what the stored rows and columns are, seen upright
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


def test_exif_that_cannot_be_read_is_no_orientation_and_no_warning(tmp_path):
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


def test_a_jpeg_is_what_pillow_decodes(tmp_path):
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
    with pytest.raises(ValueError, match="at least 1, not 0"):
        load_image(tmp_path / "a.png", size=0)


# ---- what is no picture


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
    "found an unknown kind of file": write_text,
    "cannot be decoded": write_truncated,
}


@pytest.mark.parametrize("load", [load_image, load_pixels, read_picture])
@pytest.mark.parametrize("found", BROKEN)
def test_what_is_no_picture(tmp_path, found, load):
    path = tmp_path / "a.png"
    BROKEN[found](path)
    with pytest.raises(UnreadablePicture, match=found) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError, SyntaxError, ZeroDivisionError, struct.error])
def test_whatever_a_decoder_raises_is_explained(tmp_path, monkeypatch, error):
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


@pytest.mark.parametrize("side", [13_500, 20_000])  # Refused by us; by Pillow itself, which raises.
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


# ---- saving


def gradient():
    row = torch.linspace(0, 1, 24)
    return torch.stack([row.expand(16, 24), row.flip(0).expand(16, 24), torch.full((16, 24), 0.3)])


@pytest.mark.parametrize("suffix", images._ENCODERS)
def test_round_trip(tmp_path, suffix):
    path = tmp_path / "new" / "folder" / f"a{suffix.upper()}"
    save_image(gradient()[None], path)
    lossy = suffix in (".jpg", ".jpeg", ".webp", ".avif")
    found = load_image(path)
    tolerance = 0.04 if lossy else 0.5001 / 255
    torch.testing.assert_close(found, gradient()[None], atol=tolerance, rtol=0)
    assert os.listdir(path.parent) == [path.name]
    assert suffix in PICTURE_SUFFIXES


def test_values_are_clamped_and_rounded_and_left_alone(tmp_path):
    values = torch.tensor([-1.0, 0.0, 100.6 / 255, 100.4 / 255, 1.0, 7.0])
    pixels = values.expand(3, 1, 6).clone()
    save_image(pixels, tmp_path / "a.png")
    assert load_pixels(tmp_path / "a.png")[0, 0].tolist() == [0, 0, 101, 100, 255, 255]
    assert torch.equal(pixels, values.expand(3, 1, 6))


def test_what_a_network_paints_can_be_saved(tmp_path):
    weight = torch.ones(1, requires_grad=True)
    painted = (gradient()[None] * weight).to(memory_format=torch.channels_last)
    save_image(painted, tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").shape == (1, 3, 16, 24)


@pytest.mark.parametrize("suffix", [s for s in images._ENCODERS if s not in (".bmp", ".ppm")])
def test_files_say_they_are_srgb_and_upright(tmp_path, suffix):
    save_image(gradient(), tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        assert image.getexif().get(0x0112, 1) == 1
        assert image.info["icc_profile"][24:26] == struct.pack(">H", 2000)


@pytest.mark.parametrize(("quality", "sampling"), [(95, 0), (90, 0), (89, 2)])
def test_chroma_is_kept_at_high_quality(tmp_path, quality, sampling):
    save_image(gradient(), tmp_path / "a.jpg", quality=quality)
    with Image.open(tmp_path / "a.jpg") as image:
        assert JpegImagePlugin.get_sampling(image) == sampling


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_quality_is_heeded(tmp_path, suffix):
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    for quality in (20, 100):
        save_image(noise, tmp_path / f"{quality}{suffix}", quality=quality)
    low, high = ((tmp_path / f"{q}{suffix}").stat().st_size for q in (20, 100))
    assert low < high / 2


@pytest.mark.parametrize("suffix", images._ENCODERS)
@pytest.mark.parametrize("dimensions", [3, 4])
def test_alpha_is_kept_where_the_format_can(tmp_path, suffix, dimensions):
    ramp = torch.linspace(0, 1, 24).expand(1, 1, 16, 24)
    alpha = ramp if dimensions == 4 else ramp[0]
    save_image(torch.zeros(1, 3, 16, 24), tmp_path / f"a{suffix}", alpha=alpha)
    found = read_picture(tmp_path / f"a{suffix}").alpha
    if suffix in (".png", ".webp", ".tif", ".tiff", ".avif"):
        torch.testing.assert_close(found, ramp, atol=3 / 255, rtol=0)
    else:
        assert found is None


REFUSED = {  # what the message says -> (pixels, options)
    r"found torch.uint8 \(3, 4, 4\)": (torch.zeros(3, 4, 4, dtype=torch.uint8), {}),
    r"found torch.float16 \(3, 4, 4\)": (torch.zeros(3, 4, 4).half(), {}),
    r"found torch.float32 \(4, 4\)": (torch.zeros(4, 4), {}),
    r"found torch.float32 \(1, 4, 4\)": (torch.zeros(1, 4, 4), {}),
    r"found torch.float32 \(4, 4, 3\)": (torch.zeros(4, 4, 3), {}),
    r"found torch.float32 \(2, 3, 4, 4\)": (torch.zeros(2, 3, 4, 4), {}),
    r"found torch.float32 \(3, 0, 4\)": (torch.zeros(3, 0, 4), {}),
    "wanted finite pixels, found NaN": (torch.full((3, 4, 4), float("nan")), {}),
    "finite pixels, found .* infinity": (torch.full((3, 4, 4), float("inf")), {}),
    "finite alpha": (torch.zeros(3, 4, 4), {"alpha": torch.full((1, 4, 4), float("nan"))}),
    r"\(4, 4\), found \(5, 4\)": (torch.zeros(3, 4, 4), {"alpha": torch.zeros(1, 5, 4)}),
    r"wanted alpha as float32 \(1, 1, H": (torch.zeros(3, 4, 4), {"alpha": torch.zeros(3, 4, 4)}),
    "1 to 100, not 101": (torch.zeros(3, 4, 4), {"quality": 101}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_picture_is_not_saved(tmp_path, message):
    pixels, options = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        save_image(pixels, tmp_path / "new" / "a.png", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.heic"])
def test_an_unknown_suffix_lists_the_known_ones(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}.*\.jpg.*\.png.*\.webp"):
        save_image(gradient(), tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    path = tmp_path / "a.png"
    save_image(gradient(), path)
    before = path.read_bytes()

    def fail_midway(image, file, filename):
        file.write(b"half a picture")
        raise error("disk full")

    monkeypatch.setitem(Image.SAVE, "PNG", fail_midway)
    for target in (path, tmp_path / "new.png"):
        with pytest.raises(error, match="disk full"):
            save_image(gradient(), target)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_file_in_the_making_is_not_at_the_path(tmp_path, monkeypatch):
    path, seen = tmp_path / "a.png", []
    encode = Image.SAVE["PNG"]

    def look(image, file, filename):
        encode(image, file, filename)
        seen.append(path.exists())

    monkeypatch.setitem(Image.SAVE, "PNG", look)
    save_image(gradient(), path)
    assert seen == [False]
    assert path.exists()


def test_a_target_that_cannot_be_replaced_leaves_no_temporary(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match=r"a\.png"):
        save_image(gradient(), tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.skipif(os.name != "posix", reason="umask and links are POSIX's")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_the_umask_decides_who_may_read(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_image(gradient(), tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix", reason="umask and links are POSIX's")
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "a.png"
    link.symlink_to(tmp_path / "there" / "b.png")
    save_image(gradient(), link)
    assert link.is_symlink()
    assert os.listdir(tmp_path / "there") == ["b.png"]


# ---- the odd files of Pillow's own test suite


def odd_files():
    """(file, whether it loads) as Pillow's outcomes have it."""
    if not ODD.is_dir():
        return [("none", False)]
    lines = (ODD / "PILLOW_OUTCOMES.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    # Where reading a PNG's EXIF raised, it was the pixels that did: Pillow decodes them to get to
    # it, and reports a second attempt, which finds nothing left to decode, as a success.
    return [(row[0], "load-ok" in row and "exif-err" not in " ".join(row)) for row in rows]


@pytest.mark.shared
@pytest.mark.skipif(not ODD.is_dir(), reason="no odd_images under FAST_STYLE_SHARED")
@pytest.mark.parametrize(("name", "loads"), odd_files())
def test_odd_files_load_or_are_explained(name, loads):
    if name.endswith((".avif", ".heif")) and not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    if loads:
        picture = read_picture(ODD / name)
        assert picture.pixels.isfinite().all()
        assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1
        return
    with pytest.raises(UnreadablePicture) as caught:
        read_picture(ODD / name)
    assert str(ODD / name) in str(caught.value)
    assert "\n" not in str(caught.value)
