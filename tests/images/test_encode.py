"""Images are written atomically, as sRGB, in the format of the suffix."""

import io
import os
import stat
import struct

import pytest
import torch
from PIL import Image, ImageCms, JpegImagePlugin

from fast_style.images import encode
from fast_style.images.decode import PICTURE_SUFFIXES
from fast_style.images.tensors import load_image, load_pixels, read_picture, save_image

# ---- saving


def gradient():
    row = torch.linspace(0, 1, 24)
    return torch.stack([row.expand(16, 24), row.flip(0).expand(16, 24), torch.full((16, 24), 0.3)])


@pytest.mark.parametrize("suffix", encode._ENCODERS)
def test_round_trip(tmp_path, suffix):
    path = tmp_path / "new" / "folder" / f"a{suffix.upper()}"
    save_image(gradient()[None], path)
    lossy = suffix in (".jpg", ".jpeg", ".webp", ".avif")
    found = load_image(path)
    tolerance = 0.04 if lossy else 0.5001 / 255
    torch.testing.assert_close(found, gradient()[None], atol=tolerance, rtol=0)
    assert os.listdir(path.parent) == [path.name]
    assert suffix in PICTURE_SUFFIXES


def test_written_values_are_clamped_and_rounded_and_the_tensor_is_not_modified(tmp_path):
    values = torch.tensor([-1.0, 0.0, 100.6 / 255, 100.4 / 255, 1.0, 7.0])
    pixels = values.expand(3, 1, 6).clone()
    save_image(pixels, tmp_path / "a.png")
    assert load_pixels(tmp_path / "a.png")[0, 0].tolist() == [0, 0, 101, 100, 255, 255]
    assert torch.equal(pixels, values.expand(3, 1, 6))


def test_the_output_of_a_network_can_be_saved(tmp_path):
    weight = torch.ones(1, requires_grad=True)
    painted = (gradient()[None] * weight).to(memory_format=torch.channels_last)
    save_image(painted, tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").shape == (1, 3, 16, 24)


@pytest.mark.parametrize("suffix", [s for s in encode._ENCODERS if s not in (".bmp", ".ppm")])
def test_files_are_tagged_as_srgb_and_upright(tmp_path, suffix):
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
def test_quality_changes_the_file_size(tmp_path, suffix):
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    for quality in (20, 100):
        save_image(noise, tmp_path / f"{quality}{suffix}", quality=quality)
    low, high = ((tmp_path / f"{q}{suffix}").stat().st_size for q in (20, 100))
    assert low < high / 2


@pytest.mark.parametrize("suffix", encode._ENCODERS)
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


REFUSED = {  # expected message -> (pixels, options)
    r"found torch.uint8 \(3, 4, 4\)": (torch.zeros(3, 4, 4, dtype=torch.uint8), {}),
    r"found torch.float16 \(3, 4, 4\)": (torch.zeros(3, 4, 4).half(), {}),
    r"found torch.float32 \(4, 4\)": (torch.zeros(4, 4), {}),
    r"found torch.float32 \(1, 4, 4\)": (torch.zeros(1, 4, 4), {}),
    r"found torch.float32 \(4, 4, 3\)": (torch.zeros(4, 4, 3), {}),
    r"found torch.float32 \(2, 3, 4, 4\)": (torch.zeros(2, 3, 4, 4), {}),
    r"found torch.float32 \(3, 0, 4\)": (torch.zeros(3, 0, 4), {}),
    "Expected finite pixels, found NaN": (torch.full((3, 4, 4), float("nan")), {}),
    "finite pixels, found .* infinity": (torch.full((3, 4, 4), float("inf")), {}),
    "finite alpha": (torch.zeros(3, 4, 4), {"alpha": torch.full((1, 4, 4), float("nan"))}),
    r"\(4, 4\), found \(5, 4\)": (torch.zeros(3, 4, 4), {"alpha": torch.zeros(1, 5, 4)}),
    r"Expected alpha as float32 \(1, 1, H": (torch.zeros(3, 4, 4), {"alpha": torch.zeros(3, 4, 4)}),
    "must be from 1 to 100; got 101": (torch.zeros(3, 4, 4), {"quality": 101}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_invalid_images_are_not_saved(tmp_path, message):
    pixels, options = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        save_image(pixels, tmp_path / "new" / "a.png", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.heic"])
def test_an_unknown_suffix_lists_the_known_ones(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}.*\.jpg.*\.png.*\.webp"):
        save_image(gradient(), tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("error", "said"), [(OSError, ValueError), (KeyboardInterrupt, KeyboardInterrupt)])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, said):
    path = tmp_path / "a.png"
    save_image(gradient(), path)
    before = path.read_bytes()

    def fail_midway(image, file, filename):
        file.write(b"half a picture")
        raise error("encoder failed")

    monkeypatch.setitem(Image.SAVE, "PNG", fail_midway)
    for target in (path, tmp_path / "new.png"):
        with pytest.raises(said, match="encoder failed"):
            save_image(gradient(), target)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_incomplete_file_is_not_at_the_path(tmp_path, monkeypatch):
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


@pytest.mark.skipif(os.name != "posix", reason="umask and symbolic links need POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_file_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_image(gradient(), tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix", reason="umask and symbolic links need POSIX")
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "a.png"
    link.symlink_to(tmp_path / "there" / "b.png")
    save_image(gradient(), link)
    assert link.is_symlink()
    assert os.listdir(tmp_path / "there") == ["b.png"]
