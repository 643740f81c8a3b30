"""The stability loss is 0 for an output that moves with the photo, and above 0 for a fixed pattern."""

import pytest
import torch
from torch import nn

from fast_style.losses.stability import Stability, shifted


class Weave(nn.Module):
    """The photo with a fixed pattern on the pixel grid."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(float(strength)))

    def forward(self, photos):
        rows = torch.arange(photos.shape[-2])[:, None] % 4 < 2
        return photos + self.strength * rows


def photos(size: int = 48) -> torch.Tensor:
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (-3, 1), (5, -4)])
def test_an_image_is_shifted_by_whole_pixels(down: int, right: int) -> None:
    moved = shifted(photos(), down, right)
    assert moved.shape == photos().shape
    expected = photos().roll((down, right), (2, 3))
    assert torch.equal(moved[..., 6:-6, 6:-6], expected[..., 6:-6, 6:-6])


@pytest.mark.parametrize("step", range(5))
def test_a_generator_that_follows_the_photo_has_no_loss(step: int) -> None:
    assert Stability(weight=1, shift=3, noise=0)(Weave(0), photos(), photos(), seed=step) == 0


def test_a_pattern_on_the_pixel_grid_has_a_loss_and_the_gradient_reduces_it() -> None:
    generator, costs = Weave(0.2), []
    for step in range(20):
        cost = Stability(weight=1, shift=3, noise=0)(generator, photos(), generator(photos()), seed=step)
        cost.backward()
        costs.append(cost.item())
    assert max(costs) > 0.1
    assert generator.strength.grad is not None
    assert generator.strength.grad > 0


def test_stronger_noise_has_a_larger_loss() -> None:
    quiet, loud = (
        Stability(weight=1, shift=1, noise=noise)(Weave(0), photos(), photos(), seed=1) for noise in (0.01, 0.1)
    )
    assert 0 < quiet < 0.02 * loud + 1e-3


def test_a_seed_gives_the_same_shift_and_another_seed_another_shift() -> None:
    generator, stability = Weave(0.2), Stability(weight=1)
    costs = [stability(generator, photos(), generator(photos()), seed=step).item() for step in (3, 3, 4)]
    assert costs[0] == costs[1] != costs[2]


@pytest.mark.parametrize("changes", [{"weight": -1}, {"shift": 0}, {"noise": -0.1}, {"share": 0}], ids=str)
def test_invalid_settings_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="Stability needs a weight of at least 0"):
        Stability(**({"weight": 1.0} | changes))


def test_crops_smaller_than_the_shift_are_refused() -> None:
    with pytest.raises(ValueError, match=r"below half of the crop \(16 pixels\); got 8"):
        Stability(weight=1, shift=8)(Weave(0), photos(16), photos(16), seed=0)
    assert Stability(weight=1, shift=8, noise=0)(Weave(0), photos(17), photos(17), seed=0) == 0


def test_a_share_is_rounded_up() -> None:
    seen = []
    generator = Weave(0)
    generator.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    for share in (0.1, 0.5, 1.0):
        Stability(weight=1, share=share)(generator, photos(), photos(), seed=0)
    assert seen == [1, 2, 3]
