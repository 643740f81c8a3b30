"""Grain: noise for the generator, and for nothing else."""

import pytest
import torch

from fast_style.methods.perceptual import PerceptualMethod, add_noise
from fast_style.networks.transform_net import TransformNet


def photos():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_it_is_normal_noise_of_this_deviation():
    noise = add_noise(torch.zeros(2, 3, 64, 64), 0.05, step=3)
    assert noise.std().item() == pytest.approx(0.05, rel=0.03)
    assert abs(noise.mean().item()) < 0.002
    assert (noise.abs() > 0.1).float().mean().item() == pytest.approx(0.0455, abs=0.008)


def test_a_step_has_its_noise():
    assert torch.equal(add_noise(photos(), 0.1, step=3), add_noise(photos(), 0.1, step=3))
    assert not torch.equal(add_noise(photos(), 0.1, step=3), add_noise(photos(), 0.1, step=4))


def test_without_a_deviation_photos_stay_as_they_are():
    given = photos()
    assert add_noise(given, 0.0, step=3) is given


@pytest.mark.parametrize("noise_std", [0.0, 0.1])
def test_the_generator_alone_sees_it(monkeypatch, noise_std):
    seen = []

    class Loss(torch.nn.Module):
        def forward(self, painted, wanted):
            seen.append(wanted)
            return {"content": painted.mean()}

        def weigh(self, terms):
            return dict(terms)

    method = PerceptualMethod(
        generator=TransformNet(width=2, blocks=0), loss=Loss(), optimizer=torch.optim.SGD, noise_std=noise_std
    )
    monkeypatch.setattr(PerceptualMethod, "global_step", 7)
    monkeypatch.setattr(PerceptualMethod, "_log_train", lambda self, named, batch_idx: None)
    method.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    given = photos()
    method.training_step(given, 0)
    to_paint, to_compare = seen
    assert to_compare is given
    assert torch.equal(to_paint, add_noise(given, noise_std, step=7))
    seen.clear()
    method.average.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    method.validation_step(given, 0)
    assert all(picture is given for picture in seen)


def test_less_than_none_is_refused():
    with pytest.raises(ValueError, match=r"method.noise_std is the deviation of noise, 0 or more; got -0.1"):
        PerceptualMethod(
            generator=TransformNet(width=2, blocks=0), loss=torch.nn.Module(), optimizer=torch.optim.SGD, noise_std=-0.1
        )
