"""Blending by strength, mask and colours, and guided upsampling."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from fast_style.images.color_transfer import luminance, with_luminance
from fast_style.images.luma import luma_of
from fast_style.images.resize import enlarged, reduced
from fast_style.stylize import blending
from fast_style.stylize.blending import Blending
from fast_style.stylize.guided_upsampling import slope, upsampled


def pixels(seed: int, height: int = 12, width: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def test_strength_is_linear_between_photo_and_stylized_image() -> None:
    photo, painted = pixels(0), pixels(1)
    distances = [np.abs(Blending(strength=s)(photo, painted, top=0) - photo).mean() for s in (0, 0.25, 0.5, 1)]
    assert distances[0] == 0
    assert distances == pytest.approx([0, distances[3] / 4, distances[3] / 2, distances[3]])
    assert np.array_equal(Blending()(photo, painted, top=0), painted)


def test_strips_use_their_part_of_the_mask() -> None:
    photo, painted, mask = pixels(0), pixels(1), pixels(2)[..., 0]
    whole = Blending(mask=mask)(photo, painted, top=0)
    np.testing.assert_allclose(whole, photo + mask[..., None] * (painted - photo))
    strips = [Blending(mask=mask)(photo[t : t + 5], painted[t : t + 5], top=t) for t in (0, 5, 10)]
    assert np.array_equal(np.concatenate(strips), whole)


def test_kept_colours_are_those_of_the_tensors_function() -> None:
    photo, painted = pixels(0), pixels(1)
    as_tensor = lambda x: torch.from_numpy(x).permute(2, 0, 1)[None]  # noqa: E731
    wanted = with_luminance(as_tensor(photo), luminance(as_tensor(painted)))
    found = Blending(color="keep")(photo, painted, top=0)
    torch.testing.assert_close(as_tensor(found), wanted)
    assert blending.with_luminance(photo, luma_of(painted)).dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"strength": 1.5}, r"from 0 \(the photo\) to 1 \(fully stylized\); got 1.5"),
        ({"color": "match"}, "style, keep; got 'match'"),
    ],
)
def test_invalid_settings_are_refused(settings, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        Blending(**settings)


def step(height: int, width: int) -> np.ndarray:
    """A sharp vertical edge."""
    return np.repeat((np.arange(width) >= width // 2).astype(np.float32)[None, :, None], height, 0).repeat(3, 2)


def test_an_enlarged_result_has_the_photos_sharp_edges() -> None:
    photo, small = step(64, 96), step(16, 24)
    painted = 0.2 + 0.5 * small  # Follows the photo.
    found = np.concatenate([rows for _, rows in upsampled(photo, small, painted)])
    assert found.shape == photo.shape
    rise = np.abs(np.diff(found[32, :, 0])).max()
    assert rise > 0.3, "blurred: 0.5 over four pixels is 0.13 a pixel"


def painted_edge(small: np.ndarray, *, moved: float = 0.0, blurred: float = 0.0) -> np.ndarray:
    """The small copy with lower contrast, with its edge moved to the right or blurred, in pixels."""
    ramp = small[..., 0]
    ramp = gaussian_filter(ramp, (0, blurred)) if blurred else ramp
    return (0.2 + 0.6 * shift(ramp, (0, moved), order=1, mode="nearest"))[..., None].repeat(3, 2).astype(np.float32)


@pytest.mark.parametrize(
    "change", [{}, {"moved": 0.5}, {"moved": 1}, {"moved": -1}, {"moved": 2}, {"blurred": 1}, {"blurred": 2}], ids=str
)
def test_an_edge_that_the_network_moved_or_blurred_gets_no_halo(change: dict[str, float]) -> None:
    photo = step(176, 352)
    small = reduced((photo * 255).round().astype(np.uint8), 32, 64)
    painted = painted_edge(small, **change)
    found = np.concatenate([rows for _, rows in upsampled(photo, small, painted)])[88, 20:-20, 0]
    plain = enlarged(painted, 352, 0, 176, 176)[88, 20:-20, 0]

    def falls(line: np.ndarray) -> float:
        """How far the rising line falls, relative to the edge's height: the ringing of bicubic enlarging, or a halo."""
        return float(-np.diff(line).clip(max=0).sum() / 0.6)

    assert falls(plain) < 0.09
    assert falls(found) < falls(plain) + 0.02
    # An edge that stayed where it was is sharp; the others are as sharp as they were painted.
    rise, painted_rise = np.diff(found).max(), np.diff(plain).max()
    assert rise > (0.55 if not change else 0.9 * painted_rise)


def test_faint_noise_of_the_photo_is_not_added() -> None:
    photo = np.full((176, 352, 3), 0.5, np.float32) + 0.01 * (pixels(1, 176, 352) - 0.5)
    small = reduced((photo * 255).round().astype(np.uint8), 32, 64)
    assert slope(small, 0.2 + 0.6 * small).max() < 0.1


def test_where_the_photo_is_flat_the_result_is_only_enlarged() -> None:
    photo, small, painted = (
        np.full((64, 64, 3), 0.5, np.float32),
        np.full((16, 16, 3), 0.5, np.float32),
        pixels(3, 16, 16),
    )
    assert slope(small, painted).max() == 0
    found = np.concatenate([rows for _, rows in upsampled(photo, small, painted, rows=10)])
    once = np.concatenate([rows for _, rows in upsampled(photo, small, painted, rows=64)])
    np.testing.assert_allclose(found, once, atol=1e-5)
    assert abs(float(found.mean() - painted.mean())) < 0.01
