"""PerceptualMethod: what is trained, averaged, saved and refused."""

from functools import partial

import pytest
import torch

from fast_style.losses.perceptual import PerceptualLoss
from fast_style.methods.perceptual import PerceptualMethod
from fast_style.networks.loss_network import LossNetwork
from fast_style.networks.transform_net import TransformNet


@pytest.fixture
def loss(tiny_loss_network: LossNetwork) -> PerceptualLoss:
    style = [torch.rand(1, 3, 24, 24)]
    layers = [tiny_loss_network.names[-1]]
    return PerceptualLoss(
        loss_network=tiny_loss_network,
        style=style,
        content_layers=layers,
        style_layers=layers,
        content_weight=1.0,
        style_weight=1.0,
        tv_weight=1.0,
    )


def method(loss: PerceptualLoss, decay: float) -> PerceptualMethod:
    generator = TransformNet(width=2, blocks=1)
    return PerceptualMethod(
        generator=generator, loss=loss, optimizer=partial(torch.optim.SGD, lr=0.1), average_decay=decay
    )


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_is_a_moving_one_that_forgets_its_youth(loss: PerceptualLoss, decay: float) -> None:
    learner = method(loss, decay)
    parameter = learner.generator.to_rgb.bias
    assert parameter is not None
    expected = None
    for step in range(30):
        with torch.no_grad():
            parameter.fill_(float(step))
        learner.average.update_parameters(learner.generator)
        kept = min(decay, (1 + step) / (10 + step))
        expected = float(step) if expected is None else kept * expected + (1 - kept) * step
        assert learner.network.to_rgb.bias is not None
        torch.testing.assert_close(learner.network.to_rgb.bias, torch.full((3,), expected))


def test_only_the_generator_learns(loss: PerceptualLoss) -> None:
    learner = method(loss, 0.9)
    optimizer = learner.configure_optimizers()
    assert isinstance(optimizer, torch.optim.SGD)
    learning = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert learning == {id(p) for p in learner.generator.parameters()}
    assert all(not p.requires_grad for p in learner.average.parameters())


def test_nothing_but_the_generator_and_its_average_is_saved(loss: PerceptualLoss) -> None:
    assert {name.split(".")[0] for name in method(loss, 0.9).state_dict()} == {"generator", "average"}


def test_the_loss_network_stays_in_eval_mode(loss: PerceptualLoss) -> None:
    learner = method(loss, 0.9).train()
    assert learner.generator.training
    assert not any(module.training for module in learner.loss.loss_network.modules())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_averages_nothing_new_is_refused(loss: PerceptualLoss, decay: float) -> None:
    with pytest.raises(ValueError, match="average_decay"):
        method(loss, decay)
