"""Strokes stay strokes when a stylized image is enlarged, and what is no stroke stays as it is."""

import numpy as np
import pytest

from fast_style.images.resize import enlarged
from fast_style.stylize.stroke_flow import StrokeFlow, directions, structure_tensor, taps

SIDE, SCALE = 48, 5


def strokes(angle: float, *, period: float = 3.0) -> np.ndarray:
    """Strokes along a direction (in degrees, downwards from the x axis), about a pixel and a half wide."""
    down, right = np.mgrid[0:SIDE, 0:SIDE]
    across = right * np.sin(np.radians(angle)) - down * np.cos(np.radians(angle))
    wave = np.where(np.sin(2 * np.pi * across / period) > 0, 0.8, 0.2).astype(np.float32)
    return wave[..., None].repeat(3, 2)


def both(painted: np.ndarray, scale: float = SCALE) -> tuple[np.ndarray, np.ndarray]:
    """The image enlarged along its strokes, and enlarged by bicubic interpolation."""
    side = round(SIDE * scale)
    return StrokeFlow(painted, scale).rows(side, 0, side, side), enlarged(painted, side, 0, side, side)


def beads(image: np.ndarray, angle: float) -> float:
    """Root mean square of the change along the strokes, away from the border."""
    down, right = np.gradient(image[..., 0])
    along = right * np.cos(np.radians(angle)) + down * np.sin(np.radians(angle))
    return float(np.sqrt(np.mean(along[40:-40, 40:-40] ** 2)))


@pytest.mark.parametrize("angle", [20, 45, 70, 110, 160])
def test_a_stroke_becomes_no_chain_of_beads(angle: float) -> None:
    found, plain = both(strokes(angle))
    assert beads(found, angle) < 0.6 * beads(plain, angle)
    # Across the strokes, the contrast stays.
    assert found[40:-40, 40:-40].std() > 0.8 * plain[40:-40, 40:-40].std()


def test_a_dot_stays_a_dot() -> None:
    painted = np.full((SIDE, SIDE, 3), 0.3, np.float32)
    painted[23:25, 23:25] = 0.9
    found, plain = both(painted)
    assert found.max() - 0.3 > 0.85 * (plain.max() - 0.3)


@pytest.mark.parametrize("scale", [1.0, 1.5, 1.9])
def test_below_twice_the_size_the_image_is_only_enlarged(scale: float) -> None:
    found, plain = both(strokes(45), scale)
    assert np.array_equal(found, plain)


def test_a_flat_image_stays_flat() -> None:
    found, _ = both(np.full((SIDE, SIDE, 3), 0.4, np.float32))
    np.testing.assert_allclose(found, 0.4, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3.3, 5])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_strips_equal_the_whole(scale: float, rows: int) -> None:
    painted = np.random.default_rng(0).random((SIDE, SIDE - 9, 3), np.float32)
    height, width = round(SIDE * scale), round((SIDE - 9) * scale)
    flow = StrokeFlow(painted, scale)
    parts = [flow.rows(width, top, min(top + rows, height), height) for top in range(0, height, rows)]
    np.testing.assert_allclose(np.concatenate(parts), flow.rows(width, 0, height, height), atol=2e-6)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_the_direction_of_strokes_is_found(angle: float) -> None:
    down, right = directions(structure_tensor(strokes(angle, period=5.0)))
    middle = np.s_[16:-16, 16:-16]
    aligned = np.abs(right * np.cos(np.radians(angle)) + down * np.sin(np.radians(angle)))[middle]
    assert aligned.mean() > 0.9
    assert np.hypot(down, right).max() < 1.001


def test_the_weights_are_a_gaussian() -> None:
    found = dict(taps(1.5))
    assert sorted(found) == [-3, -2, -1, 0, 1, 2, 3]
    assert found[0] == 1
    assert found[3] == found[-3] == pytest.approx(np.exp(-2))
    assert dict(taps(0.0)) == {0.0: 1.0}
