"""CycleGAN in two real processes on a CPU: same result as one process, and both image pools are resumed."""

from pathlib import Path

import pytest
import torch
from starting import plainly, run
from translation_runs import collections, settings, translate

from fast_style.training.checkpoint_io import read_checkpoint

pytestmark = pytest.mark.slow

# Until the pools are full, one process with two pairs equals two processes with one pair each.
RECIPE = {"steps": 8, "val_every": 8, "checkpoint_every": 4, "method.optimizer.lr": 1e-4, "method.pool_size": 100}
RECIPE |= {"method.average_decay": 0.5}
TWO = {"trainer": "ddp", "trainer.devices": 2, "data.batch_size": 1}


def final(runs: Path) -> dict:
    (checkpoint,) = runs.glob("*/*/checkpoints/step-000008.ckpt")
    return read_checkpoint(checkpoint)


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    weights = [tensor for tensor in state.values() if tensor.is_floating_point()]  # Not the average's counter.
    return torch.cat([weight.double().flatten() for weight in weights])


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    collections(tmp_path / "warm2cold")
    ended = run(plainly(settings(tmp_path, **RECIPE | TWO, runs=tmp_path / "two")))
    assert ended.code == 0, ended.err
    assert ended.left == []
    assert ended.out.count("Model:") == 2
    start = translate(tmp_path, **RECIPE | {"steps": 1, "method.optimizer.lr": 0.0}, runs=tmp_path / "start")
    translate(tmp_path, **RECIPE | {"data.batch_size": 2}, runs=tmp_path / "one")
    (unmoved,) = start.folder.glob("checkpoints/*.ckpt")
    before = flat(read_checkpoint(unmoved)["state_dict"])
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    by_one, by_two = flat(one["state_dict"]), flat(two["state_dict"])
    # Adam turns rounding errors of small gradients into steps. With the images of one process only, it is far above.
    assert (by_one - by_two).norm() < 0.05 * (by_one - before).norm()
    for side in "AB":
        pictures = two["image_pools"][side]["pictures"]
        assert pictures.shape == (2, 8, 3, 24, 24)
        assert not torch.equal(*pictures)


def test_a_resumed_run_of_two_equals_the_straight_one(tmp_path: Path) -> None:
    collections(tmp_path / "warm2cold")
    recipe = RECIPE | TWO | {"method.pool_size": 2, "method.discriminator_shift": 2}
    assert run(plainly(settings(tmp_path, **recipe, runs=tmp_path / "runs"))).code == 0
    straight = final(tmp_path / "runs")
    (half,) = (tmp_path / "runs").glob("*/*/checkpoints/step-000004.ckpt")
    ended = run(plainly(settings(tmp_path, **recipe, runs=tmp_path / "runs", resume=half)))
    assert ended.code == 0, ended.err
    resumed = final(tmp_path / "runs")
    for name, tensor in straight["state_dict"].items():
        assert torch.equal(tensor, resumed["state_dict"][name]), name
    for side in "AB":
        for name, tensor in straight["image_pools"][side].items():
            assert torch.equal(tensor, resumed["image_pools"][side][name])
