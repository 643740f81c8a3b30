"""Noise on the photos: only the generator sees it."""

import pytest
import pytorch_lightning as pl
import torch
from training_runs import train

from fast_style.losses.stability import Stability
from fast_style.methods import perceptual
from fast_style.methods.perceptual import PerceptualMethod, add_noise, noise_seed
from fast_style.networks.transform_net import TransformNet


def photos():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_it_is_normal_noise_of_this_deviation():
    noise = add_noise(torch.zeros(2, 3, 64, 64), 0.05, seed=3)
    assert noise.std().item() == pytest.approx(0.05, rel=0.03)
    assert abs(noise.mean().item()) < 0.002
    assert (noise.abs() > 0.1).float().mean().item() == pytest.approx(0.0455, abs=0.008)


def test_a_seed_has_its_noise():
    assert torch.equal(add_noise(photos(), 0.1, seed=3), add_noise(photos(), 0.1, seed=3))
    assert not torch.equal(add_noise(photos(), 0.1, seed=3), add_noise(photos(), 0.1, seed=4))


def test_without_a_deviation_photos_stay_as_they_are():
    given = photos()
    assert add_noise(given, 0.0, seed=3) is given


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
    method.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    given = photos()
    method.training_step(given, 0)
    to_paint, to_compare = seen
    assert to_compare is given
    assert torch.equal(to_paint, add_noise(given, noise_std, seed=7))
    seen.clear()
    method.average.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    method.validation_step(given, 0)
    assert all(picture is given for picture in seen)


def test_less_than_none_is_refused():
    with pytest.raises(ValueError, match=r"method.noise_std \(standard deviation .*\) must be 0 or more; got -0.1"):
        PerceptualMethod(
            generator=TransformNet(width=2, blocks=0), loss=torch.nn.Module(), optimizer=torch.optim.SGD, noise_std=-0.1
        )


def test_every_part_of_every_step_has_a_seed_of_its_own():
    steps, parts = range(0, 400_000, 97), range(64)
    seeds = {noise_seed(step, part=part) for step in steps for part in parts}
    assert len(seeds) == len(steps) * len(parts)
    assert min(seeds) >= 0
    # add_noise adds 2**31, and the CPU's random generator uses only 32 bits.
    assert max(seeds) < 2**31
    assert [noise_seed(step) for step in (0, 7)] == [0, 7]


def test_the_cpu_draws_other_noise_for_another_part():
    drawn = [add_noise(torch.zeros(1, 3, 8, 8), 1.0, seed=noise_seed(5, part=part)) for part in range(8)]
    assert all(not torch.equal(one, other) for i, one in enumerate(drawn) for other in drawn[:i])


def seeds_of(monkeypatch, folder, rank=0, **changes):
    """Return the seeds of add_noise and of the stability term in a training with two batches per step."""
    noises, stabilities = [], []
    add, hold = perceptual.add_noise, Stability.forward

    def noted(photos, deviation, *, seed):
        noises.append(seed)
        return add(photos, deviation, seed=seed)

    def held(self, *arguments, seed):
        stabilities.append(seed)
        return hold(self, *arguments, seed=seed)

    with monkeypatch.context() as noting:
        noting.setattr(perceptual, "add_noise", noted)
        noting.setattr(Stability, "forward", held)
        noting.setattr(PerceptualMethod, "global_rank", rank)
        chosen = {"method.noise_std": 0.05, "method.stability.weight": 1, "method.stability.shift": 2}
        outcome = train(folder, **chosen, **{"trainer.accumulate_grad_batches": 2}, **changes)
    assert noises == stabilities
    return noises, outcome


@pytest.mark.slow
def test_batches_and_processes_have_their_own_and_a_resumed_run_the_same(tmp_path, monkeypatch):
    straight, outcome = seeds_of(monkeypatch, tmp_path)
    other, _ = seeds_of(monkeypatch, tmp_path, rank=1)
    assert len(straight) == 8
    assert len({*straight, *other}) == 16
    assert straight[::2] == [0, 1, 2, 3]
    checkpoint = outcome.folder / "checkpoints" / "step-000002.ckpt"
    resumed, _ = seeds_of(monkeypatch, tmp_path, resume=checkpoint)
    assert resumed == straight[4:]
