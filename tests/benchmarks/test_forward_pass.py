"""benchmarks/forward_pass.py counts evaluations of the training's own loss."""

import math

import pytest
import torch
from forward_pass import LossOfPhoto, evaluations_to, training_loss

from fast_style.losses.perceptual import PerceptualLoss

SETTINGS = [
    "style=wave",
    "style.size=64",
    "style.strength=high",
    "loss.style_levels=[1,0.5]",
]


@pytest.fixture(scope="module")
def loss() -> PerceptualLoss:
    return training_loss(SETTINGS)


def test_the_loss_is_that_of_the_training(loss: PerceptualLoss) -> None:
    assert loss.weights["style/relu4_1"] == 2 * loss.weights["style/level2/relu4_1"] == 2.5 * 2


def test_a_higher_loss_takes_fewer_evaluations(loss: PerceptualLoss) -> None:
    photo = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    target = LossOfPhoto(loss, photo)
    at_start = target.total(photo)
    # The terms are summed in another order, so the last digits differ.
    assert evaluations_to(1.001 * at_start, target, photo, 12) == 1
    assert 1 < evaluations_to(0.9 * at_start, target, photo, 12) <= 12
    assert evaluations_to(0.0, target, photo, 3) == math.inf
