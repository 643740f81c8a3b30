"""Temporal smoothing reduces flicker where the input stands still, and changes nothing else."""

import numpy as np
import pytest

from fast_style.stylize.video.temporal_smoothing import TemporalSmoothing

HEIGHT, WIDTH, FRAMES = 32, 48, 12


def smoothed(photos, paint, strength):
    smooth = TemporalSmoothing(strength)
    return np.stack([smooth(photo, paint(photo)) for photo in photos])


def flicker(frames):
    return np.abs(np.diff(frames, axis=0)).mean()


def noisy_clip(noise):
    chance = np.random.default_rng(0)
    still = chance.random((1, 3, HEIGHT, WIDTH))
    return (still + noise * chance.standard_normal((FRAMES, 1, 3, HEIGHT, WIDTH))).clip(0, 1).astype(np.float32)


def touchy(photo):
    """A stylizer that amplifies small differences."""
    return (0.5 + 0.5 * np.sin(30 * photo)).astype(np.float32)


def inverted(photo):
    return 1 - photo


@pytest.mark.parametrize(("strength", "noise", "share"), [(0.5, 0.01, 0.6), (0.8, 0.01, 0.4), (0.8, 0.02, 0.6)])
def test_a_still_clip_flickers_less(strength, noise, share):
    photos = noisy_clip(noise)
    assert flicker(smoothed(photos, touchy, strength)[3:]) < share * flicker(smoothed(photos, touchy, 0)[3:])


@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("contrast", [0.3, 0.8])
def test_moving_objects_have_no_ghosts(step, contrast):
    photos = np.full((FRAMES, 1, 3, HEIGHT, WIDTH), 0.1, np.float32)
    for time, photo in enumerate(photos):
        photo[..., 8:20, 2 + step * time : 12 + step * time] += contrast
    frames = smoothed(photos, inverted, 0.9)
    assert np.abs(frames - inverted(photos)).max() < 5 / 255


def test_a_fade_lags_by_no_more_than_the_tolerance():
    photos = np.ones((60, 1, 3, HEIGHT, WIDTH), np.float32)
    photos *= np.linspace(0, 1, 60, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
    assert np.abs(smoothed(photos, inverted, 0.95) - inverted(photos)).max() < 0.06


def test_a_cut_restarts_the_average():
    chance = np.random.default_rng(1)
    scenes = 0.3 * chance.random((2, 1, 3, HEIGHT, WIDTH), np.float32)
    scenes[1] += 0.6
    frames = smoothed(scenes, touchy, 0.9)
    np.testing.assert_allclose(frames[1], touchy(scenes[1]), atol=1e-4)


def test_off_is_off():
    photo, painted = noisy_clip(0.01)[:2]
    smooth = TemporalSmoothing(0)
    assert smooth(photo, painted) is painted
    assert smooth(photo, photo) is photo


def test_nothing_is_changed_in_place():
    photos = noisy_clip(0.01)
    copies = photos.copy()
    smooth, painted = TemporalSmoothing(0.8), touchy(photos[0])
    first = painted.copy()
    for photo in photos:
        smooth(photo, painted)
    assert np.array_equal(photos, copies)
    assert np.array_equal(painted, first)


@pytest.mark.parametrize("strength", [-0.1, 1, 1.5, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match="less than 1"):
        TemporalSmoothing(strength)
