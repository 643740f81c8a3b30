"""Blending by strength, mask and colours, and guided upsampling."""

import numpy as np
import pytest
import torch

from fast_style.images.color_transfer import luminance, with_luminance
from fast_style.images.luma import luma_of
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
