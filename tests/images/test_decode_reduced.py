"""A JPEG can be reduced while it is decoded: not below the requested size, upright, and with the same colours."""

import io
from math import ceil, sqrt

import pytest
import torch
from PIL import Image
from shared_files import SHARED
from torchvision.transforms import v2

from fast_style.data.dataset import shortest_side_needed
from fast_style.images.decode import MAX_PIXELS, UnreadablePicture, checked_picture
from fast_style.images.tensors import load_pixels

LARGE = sorted((SHARED / "photos" / "large").glob("*.jpg"))


def waves(width, height):
    """A smooth colour image with four different corners."""
    x, y = torch.linspace(0, 3, width), torch.linspace(0, 2, height)[:, None]
    planes = [torch.sin(2 * x + y), torch.cos(x - 3 * y), torch.sin(x * y)]
    levels = torch.stack([(plane.expand(height, width) + 1) * 127 for plane in planes], dim=-1)
    return Image.fromarray(levels.to(torch.uint8).numpy())


def reduced(full, size):
    return v2.functional.resize(full, list(size), antialias=True)


@pytest.mark.parametrize(
    ("at_least", "divisor"), [(1, 8), (30, 8), (31, 4), (60, 4), (61, 2), (120, 2), (121, 1), (240, 1), (999, 1)]
)
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("extra", [0, 3])
def test_a_jpeg_is_reduced_as_far_as_allowed(tmp_path, at_least, divisor, orientation, extra):
    exif = Image.Exif()
    exif[0x0112] = orientation
    waves(400 + extra, 240).save(tmp_path / "a.jpg", exif=exif, quality=95)
    full, found = load_pixels(tmp_path / "a.jpg"), load_pixels(tmp_path / "a.jpg", at_least=at_least)
    size = ceil((400 + extra) / divisor), 240 // divisor
    assert found.shape[1:] == (size if orientation == 6 else size[::-1])
    assert found.dtype == torch.uint8
    # The encoder fills incomplete 8x8 blocks by repeating the last pixels.
    right, down = (divisor * found.shape[side] - full.shape[side] for side in (2, 1))
    filled = torch.nn.functional.pad(full[None].float(), (0, right, 0, down), "replicate")[0]
    assert (found.float() - reduced(filled, found.shape[1:])).abs().mean() < 1.5


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp"])
def test_other_formats_keep_their_size(tmp_path, name):
    waves(64, 48).save(tmp_path / name)
    assert torch.equal(load_pixels(tmp_path / name, at_least=2), load_pixels(tmp_path / name))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_every_kind_of_jpeg_is_reduced(tmp_path, mode):
    waves(160, 80).convert(mode).save(tmp_path / "a.jpg")
    full, found = load_pixels(tmp_path / "a.jpg"), load_pixels(tmp_path / "a.jpg", at_least=20)
    assert found.shape == (3, 20, 40)
    assert (found.float() - reduced(full, (20, 40)).float()).abs().mean() < 2


def test_the_pixel_limit_applies_to_the_declared_size(tmp_path):
    waves(64, 48).save(tmp_path / "a.jpg")
    with pytest.raises(UnreadablePicture, match="3072 pixels where 3071 are allowed"):
        load_pixels(tmp_path / "a.jpg", at_least=1, max_pixels=3071)


@pytest.mark.parametrize("at_least", [None, 1, 20])
def test_a_truncated_jpeg_is_refused_also_when_reduced(tmp_path, at_least):
    waves(160, 80).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-300])
    with pytest.raises(UnreadablePicture, match="cannot be decoded"):
        load_pixels(tmp_path / "a.jpg", at_least=at_least)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not LARGE, reason="no photos/large under FAST_STYLE_SHARED")
def test_a_real_photo_keeps_its_colours():
    path = min(LARGE, key=lambda path: path.stat().st_size)
    full, found = load_pixels(path), load_pixels(path, at_least=256)
    assert 256 <= min(found.shape[1:]) < 512 * 2
    difference = (found.float() - reduced(full, found.shape[1:]).float()).abs()
    assert difference.mean() < 1.5
    assert (difference.mean((1, 2)) < 2).all()


# ---- from bytes


def test_bytes_are_read_like_files(tmp_path):
    waves(64, 48).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    for options in ({}, {"at_least": 12}):
        found = load_pixels("shard-000003.tar/000000012.jpg", data=data, **options)
        assert torch.equal(found, load_pixels(tmp_path / "a.jpg", **options))


@pytest.mark.parametrize(
    ("data", "found"), [(b"", "an empty file"), (b"no picture", "an unknown file format"), (None, "cannot be decoded")]
)
def test_bytes_that_are_no_image_are_refused_with_their_name(data, found):
    if data is None:
        file = io.BytesIO()
        waves(64, 48).save(file, "PNG")
        data = file.getvalue()[:500]
    with pytest.raises(UnreadablePicture, match=rf"at shard-000003\.tar/12\.jpg, found .*{found}") as caught:
        load_pixels("shard-000003.tar/12.jpg", data=data)
    assert found in caught.value.found


KINDS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif", "PPM": ".ppm"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_checked_image_keeps_its_bytes_and_gets_its_suffix(kind):
    file = io.BytesIO()
    waves(64, 48).save(file, kind)
    assert checked_picture("anywhere", file.getvalue()) == (file.getvalue(), KINDS[kind])


def test_a_format_without_a_known_suffix_is_refused():
    file = io.BytesIO()
    waves(64, 48).save(file, "PCX")
    with pytest.raises(UnreadablePicture, match="the format PCX is none of"):
        checked_picture("anywhere", file.getvalue())


# ---- the smallest size that training crops need


@pytest.mark.parametrize("share", [0.08, 0.25, 1.0])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (4, 3), (3, 4), (3, 1), (1, 2)])
def test_no_crop_of_a_reduced_photo_is_enlarged(share, width, height):
    shortest = shortest_side_needed(256, share)
    scale = shortest / min(width, height)
    photo = torch.empty(0, ceil(height * scale), ceil(width * scale))
    sides = [
        min(v2.RandomResizedCrop(256, scale=(share, share)).make_params([photo])[key] for key in ("height", "width"))
        for _ in range(300)
    ]
    assert min(sides) >= 256


def test_a_smaller_photo_would_be_enlarged():
    shortest = shortest_side_needed(256, 0.25)
    assert shortest == 592
    photo = torch.empty(0, shortest - 8, shortest - 8)
    crop = v2.RandomResizedCrop(256, scale=(0.25, 0.25))
    assert min(min(p["height"], p["width"]) for p in (crop.make_params([photo]) for _ in range(500))) < 256
    assert shortest == ceil(256 / sqrt(0.75 * 0.25))


def test_a_crop_of_any_share_needs_the_whole_photo():
    assert shortest_side_needed(256, 0) is None
    assert MAX_PIXELS > 592**2
