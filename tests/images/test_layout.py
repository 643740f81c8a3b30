"""Layout conversions to and from a network change only the layout."""

import numpy as np
import pytest

from fast_style.images.encode import to_hwc, to_nchw, to_uint8


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(70, 9, 3), (1, 1, 3), (64, 5, 3)])
def test_the_round_trip_gives_the_same_image(shape: tuple[int, ...]) -> None:
    there = to_nchw(pixels(*shape))
    assert there.shape == (1, 3, *shape[:2])
    assert there.dtype == np.float32
    assert there.flags.c_contiguous
    assert np.array_equal(to_uint8(to_hwc(there)[0]), pixels(*shape))


def test_several_pictures_are_one_batch() -> None:
    batch = to_nchw(pixels(4, 8, 5, 3))
    assert np.array_equal(batch, np.concatenate([to_nchw(picture) for picture in pixels(4, 8, 5, 3)]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_grey_has_three_equal_channels(dtype: type) -> None:
    grey = pixels(7, 5) if dtype is np.uint8 else pixels(7, 5) / np.float32(255)
    assert to_nchw(grey).shape == (1, 3, 7, 5)
    np.testing.assert_allclose(to_nchw(grey), np.broadcast_to(pixels(7, 5) / np.float32(255), (1, 3, 7, 5)), atol=1e-7)


def test_rounding_clips_and_changes_nothing_else() -> None:
    given = np.linspace(-0.5, 1.5, 130 * 4 * 3, dtype=np.float32).reshape(130, 4, 3)
    before, out = given.copy(), np.zeros((130, 4, 3), np.uint8)
    assert to_uint8(given, out) is out
    assert np.array_equal(out, np.rint(given.clip(0, 1) * 255))
    assert np.array_equal(given, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    given = np.zeros((80, 4, 3), np.float32)
    given[79, 3, 2] = value
    with pytest.raises(ValueError, match="found NaN or infinity"):
        to_uint8(given)
