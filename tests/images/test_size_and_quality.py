"""Every entry point refuses a wrong size or quality with the same message."""

import numpy as np
import pytest
import torch

from fast_style.data.shards.writer import ShardSettings
from fast_style.images.decode import check_size, read_arrays
from fast_style.images.encode import check_quality, encode_levels
from fast_style.images.tensors import load_image, save_image
from fast_style.stylize.dataset.work_units import PaintSettings
from fast_style.stylize.video.stylize_video import check_settings

BLACK = np.zeros((2, 2, 3), np.uint8)
SIZES = {
    "check_size": check_size,
    "read_arrays": lambda size: read_arrays("a.png", size=size),
    "load_image": lambda size: load_image("a.png", size=size),
    "ShardSettings": lambda size: ShardSettings(size=size),
    "PaintSettings": lambda size: PaintSettings("", size=size),
    "a video": lambda size: check_settings(size=size),
}
QUALITIES = {
    "check_quality": check_quality,
    "encode_levels": lambda quality: encode_levels(BLACK, "a.jpg", quality=quality),
    "save_image": lambda quality: save_image(torch.zeros(3, 2, 2), "a.jpg", quality=quality),
    "ShardSettings": lambda quality: ShardSettings(quality=quality),
    "PaintSettings": lambda quality: PaintSettings("", quality=quality),
    "a video": lambda quality: check_settings(quality=quality),
}


@pytest.mark.parametrize("size", [0, -3])
@pytest.mark.parametrize("place", SIZES)
def test_a_size_below_one(place: str, size: int) -> None:
    with pytest.raises(ValueError, match=rf"^size is the shorter side in pixels and must be at least 1; got {size}\.$"):
        SIZES[place](size)


@pytest.mark.parametrize("quality", [0, 101])
@pytest.mark.parametrize("place", QUALITIES)
def test_a_quality_out_of_range(place: str, quality: int) -> None:
    with pytest.raises(ValueError, match=f"^quality must be from 1 to 100; got {quality}$"):
        QUALITIES[place](quality)


def test_the_limits_of_the_ranges_and_the_original_size_are_valid() -> None:
    for size in (None, 1):
        check_size(size)
    for quality in (1, 100):
        check_quality(quality)


@pytest.mark.parametrize("setting", ["max_pixels", "unit"])
def test_the_other_settings_of_painted_data_sets_are_checked_too(setting: str) -> None:
    with pytest.raises(ValueError, match=f"max_pixels and unit are at least 1; got .*{setting}=0"):
        PaintSettings("", **{setting: 0})
