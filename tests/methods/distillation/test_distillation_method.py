"""A student trains, resumes bit for bit, and works as a loss network afterwards."""

import json
from pathlib import Path

import pytest
import torch
from checkout import CONF
from hydra import compose, initialize_config_dir
from training_runs import photos, train

from fast_style.networks.pretrained import builtin
from fast_style.networks.serialization import read_tensors
from fast_style.training.run import TrainingResult, run


def distill(folder: Path, *more: str, **changes) -> TrainingResult:
    if not (folder / "photos").exists():
        photos(folder / "photos")
    values = {
        "loss_network": "vgg16",
        "loss_network.weights": "random",
        "student.stages": "[[6,6],[8]]",
        "student.expansions": "null",
        "loss.layers": "{relu3_1:0,relu4_1:0,relu4_2:0,relu5_1:0}",
        "data.roots": f"[{folder / 'photos'}]",
        "data.shares": "null",
        "data.held_out_root": folder / "photos",
        "data.held_out": 2,
        "data.size": 32,
        "method.hard_examples.share": 0.5,
        "method.hard_examples.count": 3,
        "method.hard_examples.layers": "[relu1_1,relu2_1]",
        "data.batch_size": 2,
        "data.workers": 0,
        "steps": 4,
        "val_every": 4,
        "checkpoint_every": 2,
        "precision": "32-true",
        "compile": "false",
        "runs": folder / "runs",
        "network_file": folder / "student.safetensors",
        "trainer.accelerator": "cpu",
    } | changes
    overrides = [f"{key}={value}" for key, value in values.items()] + list(more)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("distill", overrides)
    return run(cfg, overrides)


@pytest.mark.slow
def test_two_steps_and_two_resumed_equal_four_straight(tmp_path: Path) -> None:
    straight = distill(tmp_path, network_file=tmp_path / "straight.safetensors")
    (checkpoint,) = tmp_path.glob("runs/*/*/checkpoints/step-000002.ckpt")
    resumed = distill(tmp_path, network_file=tmp_path / "resumed.safetensors", resume=checkpoint)
    one, other = (read_tensors(outcome.network_file)[0] for outcome in (straight, resumed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_it_learns_and_is_used_as_a_loss_network(tmp_path: Path) -> None:
    early = distill(tmp_path, steps=1)
    late = distill(tmp_path, steps=120, val_every=120)
    assert late.metrics["val/total"] < 0.7 * early.metrics["val/total"]
    assert set(late.metrics) >= {"val_raw/feature/relu2_1", "val_raw/gram/relu1_1", "val/feature/relu1_1"}
    network = builtin(weights=str(late.network_file))
    features = network(torch.rand(1, 3, 32, 32), ["relu1_1", "relu2_1"])
    assert [f.shape[1] for f in features.values()] == [6, 8]


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_another(tmp_path: Path) -> None:
    first = distill(tmp_path, steps=60, val_every=60)
    (checkpoint,) = tmp_path.glob("runs/*/*/checkpoints/step-000060.ckpt")
    # The first step of OneCycleLR is so small that it changes almost nothing.
    second = distill(tmp_path, steps=1, init_from=checkpoint, **{"method.hard_examples.count": 5})
    assert second.metrics["val/total"] == pytest.approx(first.metrics["val/total"], rel=0.05)
    assert json.loads(read_tensors(second.network_file)[1]["recipe"])["init_from"] == "step-000060.ckpt"
    with pytest.raises(ValueError, match="holds other networks than this run's"):
        distill(tmp_path, steps=1, init_from=checkpoint, **{"student.stages": "[[6,6],[10]]"})


def test_the_teacher_is_in_no_checkpoint(tmp_path: Path) -> None:
    distill(tmp_path, steps=1)
    (checkpoint,) = tmp_path.glob("runs/*/*/checkpoints/step-000001.ckpt")
    names = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert names
    assert not any("teacher" in name for name in names)


def test_a_layer_that_the_teacher_has_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="relu9_1"):
        distill(tmp_path, **{"+loss.layers.relu9_1": 1})


@pytest.mark.slow
def test_a_run_that_learnt_something_else_is_not_gone_on_from(tmp_path: Path) -> None:
    style = train(tmp_path, steps=2)
    with pytest.raises(ValueError, match=r"resume=auto found no run .* does not have task=distillation"):
        distill(tmp_path, steps=1, resume="auto")
    student = distill(tmp_path, steps=1)
    assert student.folder.parent.name == "student"
    assert train(tmp_path, steps=2, resume="auto").folder == style.folder
    with pytest.raises(ValueError, match="a run with task=style, but this command has task=distillation"):
        distill(tmp_path, resume=style.folder)
    with pytest.raises(ValueError, match="a run with task=distillation, but this command has task=style"):
        train(tmp_path, resume=student.folder)


@pytest.mark.slow
def test_it_is_resumed_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos(Path("photos"))
    roots = {"data.roots": "[photos]", "data.held_out_root": "photos"}
    first = distill(Path(), steps=2, **roots)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = distill(tmp_path, steps=2, resume=tmp_path / first.folder, **roots)
    assert again.folder == (tmp_path / first.folder)
