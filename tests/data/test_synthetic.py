"""Synthetic images depend only on their generator, and contain edges, gradients and smooth areas."""

import pytest
import torch

from fast_style.data.synthetic import SyntheticPictures, _foremost, dead_leaves, flat, gradient

KINDS = [dead_leaves, gradient, flat]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def spectrum_slope(pictures, lowest, highest):
    """Slope of log power over log frequency, in cycles per image."""
    size = pictures.shape[-1]
    grey = pictures.float().mean(1)
    window = torch.hann_window(size)
    power = torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * window * window[:, None]).abs().square().mean(0)
    frequencies = torch.fft.fftfreq(size) * size
    rings = torch.hypot(frequencies, frequencies[:, None]).round().long().flatten()
    levels = (torch.bincount(rings, power.flatten()) / torch.bincount(rings))[lowest:highest].log()
    places = torch.arange(lowest, highest).log()
    places = places - places.mean()
    return float((places * levels).sum() / places.square().sum())


@pytest.mark.parametrize("draw", KINDS)
@pytest.mark.parametrize("size", [1, 9, 48])
def test_a_drawing_is_uint8_of_its_size_and_depends_only_on_its_generator(draw, size):
    before = torch.random.get_rng_state()
    one, again = draw(generator(1), size), draw(generator(1), size)
    assert (one.dtype, one.shape) == (torch.uint8, (3, size, size))
    assert torch.equal(one, again)
    assert not torch.equal(one, draw(generator(2), size))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_power_of_dead_leaves_falls_with_the_square_of_the_frequency():
    pictures = torch.stack([dead_leaves(generator(seed), 128) for seed in range(16)])
    # Photos of ImageNet have -2.3; white noise has 0, and a single edge -3.
    assert -2.6 < spectrum_slope(pictures, 3, 24) < -1.8


def test_the_spectrum_of_white_noise_is_flat():
    noise = torch.randint(0, 256, (16, 3, 128, 128), generator=generator(0))
    assert abs(spectrum_slope(noise, 3, 24)) < 0.1


def test_the_first_disc_is_visible():
    size, chance = 20, generator(3)
    centres, radii = torch.rand(2, 30, generator=chance) * 30 - 5, torch.rand(30, generator=chance) * 6 + 0.5
    axis = torch.arange(size)
    dx, dy = axis - centres[0, :, None], axis - centres[1, :, None]
    over = dy[:, :, None].square() + dx[:, None, :].square() <= radii[:, None, None].square()
    numbers = torch.where(over, torch.arange(30)[:, None, None], 30).amin(0)
    assert 30 in numbers  # Some ground is visible.
    assert torch.equal(_foremost(centres, radii, size), numbers)


@pytest.mark.parametrize("draw", [gradient, flat])
def test_most_of_a_smooth_image_is_smooth_and_some_is_not(draw):
    for seed in range(5):
        steps = draw(generator(seed), 96).float().diff(dim=-1).abs().amax(0)
        # Noise adds up to three levels, and a gradient through all colours as many.
        assert (steps <= 16).float().mean() > 0.8
        assert (steps > 24).float().mean() > 0.005


def test_a_flat_image_has_one_colour_outside_the_leaves():
    for seed in range(5):
        pixels = flat(generator(seed), 96).float().flatten(1)
        colour = pixels.median(1, keepdim=True).values
        assert ((pixels - colour).abs().amax(0) < 45).float().mean() > 0.6


def test_every_position_of_a_run_has_its_own_reproducible_image():
    def pictures(seed):
        return SyntheticPictures([(dead_leaves, 2), (gradient, 0), (flat, 1)], size=12, seed=seed)

    drawn = pictures(5)
    assert len(drawn) == 3
    names = ["dead_leaves", "dead_leaves", "flat"]
    assert [drawn.name_of(index) for index in range(3)] == [f"a synthetic image ({name})" for name in names]
    places = [(0, 0), (1, 0), (0, 1), (7, 2)]
    first = [drawn.load(place, at_least=None) for place in places]
    assert all(torch.equal(one, pictures(5).load(place, at_least=4)) for one, place in zip(first, places, strict=True))
    assert len({tuple(one.flatten().tolist()) for one in [*first, pictures(6).load((0, 0), at_least=None)]}) == 5
