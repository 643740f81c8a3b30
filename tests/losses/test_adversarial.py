"""The losses of CycleGAN against plain float64 loops."""

import pytest
import torch
from torch import Tensor

from fast_style.losses.adversarial import (
    accuracy,
    cycle_consistency,
    identity,
    least_squares_discriminator,
    least_squares_generator,
)

PATCHES = torch.randn(2, 1, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
OTHERS = torch.randn(2, 1, 6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
PICTURES = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
MADE = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def numbers(tensor: Tensor) -> list[float]:
    return tensor.flatten().tolist()


def test_the_generators_loss_is_the_squared_distance_from_real() -> None:
    expected = mean([(value - 1.0) ** 2 for value in numbers(PATCHES)])
    assert least_squares_generator(PATCHES).item() == pytest.approx(expected, rel=1e-12)


def test_the_discriminators_halves_are_averaged() -> None:
    real = mean([(value - 1.0) ** 2 for value in numbers(PATCHES)])
    fake = mean([value**2 for value in numbers(OTHERS)])
    assert least_squares_discriminator(PATCHES, OTHERS).item() == pytest.approx(0.5 * (real + fake), rel=1e-12)
    swapped = least_squares_discriminator(OTHERS, PATCHES).item()
    assert swapped != pytest.approx(0.5 * (real + fake), rel=1e-3)


@pytest.mark.parametrize("loss", [cycle_consistency, identity])
def test_cycle_and_identity_are_mean_absolute_errors(loss) -> None:
    expected = mean([abs(a - b) for a, b in zip(numbers(MADE), numbers(PICTURES), strict=True)])
    assert loss(MADE, PICTURES).item() == pytest.approx(expected, rel=1e-12)
    assert loss(PICTURES, PICTURES).item() == 0


@pytest.mark.parametrize(("real", "share"), [(True, 0.5), (False, 0.5)])
def test_accuracy_is_the_share_on_the_right_side(real: bool, share: float) -> None:
    patches = torch.tensor([[0.9, 0.1, 0.51, -3.0]])
    assert accuracy(patches, real=real).item() == share
    assert accuracy(patches + 2, real=real).item() == (0.75 if real else 0.25)


@pytest.mark.parametrize(
    "loss",
    [lambda x: least_squares_generator(x), lambda x: least_squares_discriminator(x, x), lambda x: identity(x, 0 * x)],
)
def test_half_precision_is_summed_in_float32(loss) -> None:
    found = loss(torch.full((3000,), 0.7, dtype=torch.bfloat16))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss(torch.full((3000,), 0.69921875)).item(), rel=1e-5)


def test_a_perfect_generator_and_a_perfect_discriminator_have_no_loss() -> None:
    ones, zeros = torch.ones(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
    assert least_squares_generator(ones) == 0
    assert least_squares_discriminator(ones, zeros) == 0
    assert least_squares_discriminator(zeros, ones) == 1
