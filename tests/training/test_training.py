"""A training of a style from start to end: it trains, saves, resumes, and stops without losing anything."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import composed, settings, train
from translation_runs import translate

from fast_style import load_image, load_stylizer, save_image
from fast_style.interrupts import Interrupted
from fast_style.networks.serialization import load_network, read_tensors
from fast_style.training.callbacks import image_grids
from fast_style.training.run import TrainingResult, run


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_tensors(path)[0]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def checkpoint(folder: Path, step: int) -> Path:
    (found,) = folder.glob(f"runs/*/*/checkpoints/step-{step:06d}.ckpt")
    return found


@pytest.mark.parametrize("optimizer", ["muon", "fused_adam"])
def test_two_steps_and_two_resumed_steps_equal_four_steps(tmp_path: Path, optimizer: str) -> None:
    chosen = {"optimizer@method.optimizer": optimizer}
    straight = train(tmp_path, network_file=tmp_path / "straight.safetensors", **chosen)
    again = {"network_file": tmp_path / "resumed.safetensors", "resume": checkpoint(tmp_path, 2)}
    resumed = train(tmp_path, **chosen, **again)
    assert same(weights(straight.network_file), weights(resumed.network_file))
    assert torch.load(checkpoint(tmp_path, 4), weights_only=True)["ImageFolderDataModule"]["photos_seen"] == 8


@pytest.mark.slow
def test_the_second_half_of_training_moves_the_weights(tmp_path: Path) -> None:
    # Without this, the equality above would also hold for a run that changes no weights.
    train(tmp_path, **{"method.average_decay": 0})
    assert not same(weights(checkpoint(tmp_path, 2)), weights(checkpoint(tmp_path, 4)))


def test_resume_auto_takes_the_newest_run_with_its_own_settings(tmp_path: Path) -> None:
    train(tmp_path, steps=2, **{"generator.blocks": 2, "method.schedule": "null"})
    outcome = train_again(tmp_path, "resume=auto", "steps=3")
    assert load_network(outcome.network_file)[0].architecture["blocks"] == 2
    assert (outcome.folder / "checkpoints" / "step-000003.ckpt").exists()


def train_again(tmp_path: Path, *overrides: str) -> TrainingResult:
    given = [f"runs={tmp_path / 'runs'}", *overrides]
    return run(composed(given), given)


def test_steps_of_a_schedule_do_not_change_on_resume(tmp_path: Path) -> None:
    train(tmp_path, steps=2)
    with pytest.raises(ValueError, match="steps=3"):
        train_again(tmp_path, f"resume={checkpoint(tmp_path, 2)}", "steps=3")


def test_resume_auto_never_resumes_with_another_style_image(tmp_path: Path) -> None:
    first = train(tmp_path, steps=2)
    other = tmp_path / "other" / "dots.png"  # The same file name, so that the command asks for a run of the same name.
    other.parent.mkdir()
    save_image(torch.rand(1, 3, 40, 40), other)
    with pytest.raises(ValueError, match=r"resume=auto found no run .* does not have style\.image=.*other.dots\.png"):
        train_again(tmp_path, "resume=auto", f"style.image={other}")
    with pytest.raises(ValueError, match=r"other.dots\.png"):
        train_again(tmp_path, f"resume={first.folder}", f"style.image={other}")


def test_resume_needs_neither_the_folder_nor_the_environment_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST_STYLE_ASSETS_DIR", str(tmp_path))
    relative = {"style.image": "${assets_dir}/dots.png", "data.root": "photos", "method.schedule": "null"}
    first = train(tmp_path, steps=2, **relative)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("FAST_STYLE_ASSETS_DIR")
    assert train_again(tmp_path, f"resume={first.folder}", "steps=3").folder == first.folder


def test_a_run_of_a_bundled_style_resumes_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings(tmp_path)
    monkeypatch.chdir(tmp_path)
    save_image(torch.rand(1, 3, 40, 40), tmp_path / "data" / "styles" / "wave.png")
    named = {"style": "wave", "style.image": "null", "method.schedule": "null"}
    first = train(tmp_path, steps=2, **named)
    assert first.folder.parent.name == "wave"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = train_again(tmp_path, f"resume={first.folder}", "steps=3", "style.cache=other")
    assert again.folder == first.folder
    with pytest.raises(ValueError, match=r"style\.source=painting"):
        train_again(tmp_path, f"resume={first.folder}", "style.source=painting")


def test_an_unfinished_run_is_resumed_first(tmp_path: Path) -> None:
    constant = {"method.schedule": "null", "style.name": "unfinished"}
    unfinished = train(tmp_path, steps=2, **constant)
    config = unfinished.folder / "config.yaml"
    config.write_text(config.read_text().replace("steps: 2", "steps: 3"))
    train(tmp_path, steps=2)
    assert train_again(tmp_path, "resume=auto").folder == unfinished.folder


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(tmp_path, steps=2)
    path = checkpoint(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=path.name):
        train_again(tmp_path, f"resume={path}")


class Draws(pl.Callback):
    """Draws from the global random generator at every step, as dropout would."""

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        self.drawn.append(torch.rand(1).item())


def test_random_states_are_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight, resumed = Draws(), Draws()
    for draws, changes in ((straight, {}), (resumed, {"resume": "CHECKPOINT"})):
        monkeypatch.setattr(
            image_grids.ImageGridCallback, "on_train_batch_start", lambda self, *_, d=draws: d.on_train_batch_start()
        )
        if changes:
            changes = {"resume": checkpoint(tmp_path, 2)}
        train(tmp_path, **changes)
    assert resumed.drawn == straight.drawn[2:]


@pytest.mark.slow
def test_resume_with_workers_equals_the_straight_run(tmp_path: Path) -> None:
    straight = train(tmp_path, network_file=tmp_path / "straight.safetensors")
    resumed = train(tmp_path, resume=checkpoint(tmp_path, 2), **{"data.workers": 2})
    assert same(weights(straight.network_file), weights(resumed.network_file))


def test_resume_auto_without_a_run_starts_one(tmp_path: Path) -> None:
    assert train(tmp_path, steps=1, resume="auto").network_file.exists()


def test_a_run_of_other_groups_is_not_resumed(tmp_path: Path) -> None:
    train(tmp_path, steps=2)
    with pytest.raises(ValueError, match="experiment=quick"):
        train_again(tmp_path, f"resume={checkpoint(tmp_path, 2)}", "experiment=quick")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_says_where(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_during_step_2(self: Callback, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 1:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    monkeypatch.setattr(image_grids.ImageGridCallback, "on_train_batch_start", ask_during_step_2)
    with pytest.raises(Interrupted) as stopped:
        train(tmp_path, checkpoint_every=100)
    monkeypatch.undo()
    assert stopped.value.saved == checkpoint(tmp_path, 2)
    assert str(stopped.value.saved) in str(stopped.value)
    assert signal.getsignal(number) == before
    straight = train(tmp_path / "straight", network_file=tmp_path / "straight.safetensors")
    resumed = train(tmp_path, resume=stopped.value.saved)
    assert same(weights(straight.network_file), weights(resumed.network_file))


def test_the_loss_network_enters_no_checkpoint(tmp_path: Path) -> None:
    train(tmp_path)
    content = torch.load(checkpoint(tmp_path, 4), weights_only=True)
    assert {name.split(".")[0] for name in content["state_dict"]} == {"generator", "average"}
    trained = sum(p.numel() for p in load_network(checkpoint(tmp_path, 4))[0].parameters())
    state = content["optimizer_states"][0]["state"].values()
    assert sum(s["exp_avg"].numel() for s in state) == trained


def test_the_checkpoint_is_a_network_file_of_the_same_network(tmp_path: Path) -> None:
    outcome = train(tmp_path)
    picture = load_image(tmp_path / "photos" / "0.png")
    # In the default runtime, each of the two files would be exported first, which takes seconds.
    from_checkpoint = load_stylizer(checkpoint(tmp_path, 4), runtime="torch")(picture)
    assert torch.equal(from_checkpoint, load_stylizer(outcome.network_file, runtime="torch")(picture))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["network file", "checkpoint"])
def test_a_run_starts_from_the_weights_of_another_style(tmp_path: Path, kind: str) -> None:
    first = train(tmp_path)
    start = first.network_file if kind == "network file" else checkpoint(tmp_path, 4)
    before = weights(first.network_file)
    # The first step of the OneCycle schedule moves weights only a little.
    second = train(tmp_path, init_from=start, steps=1, network_file=tmp_path / "second.safetensors")
    assert all(torch.allclose(x, before[name], atol=0.05) for name, x in weights(second.network_file).items())
    third = train(tmp_path, steps=1, seed=1, network_file=tmp_path / "third.safetensors")
    assert not all(torch.allclose(x, before[name], atol=0.05) for name, x in weights(third.network_file).items())
    assert json.loads(read_tensors(second.network_file)[1]["recipe"])["init_from"] == start.name
    with pytest.raises(ValueError, match=r"init_from=.* holds another generator .* than this run's"):
        train(tmp_path, init_from=start, **{"generator.width": 6})


def test_the_two_newest_checkpoints_stay(tmp_path: Path) -> None:
    outcome = train(tmp_path, steps=8)
    assert len(list((outcome.folder / "checkpoints").glob("*.ckpt"))) == 2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_everything_is_logged_and_adds_up(tmp_path: Path, precision: str) -> None:
    outcome = train(tmp_path, precision=precision, **{"trainer.log_every_n_steps": 1})
    events = EventAccumulator(str(outcome.folder)).Reload()
    scalars = set(events.Tags()["scalars"])
    style = {f"style/{level}{layer}" for level in ("", "level2/", "level4/") for layer in ("relu1_1", "relu2_1")}
    terms = {"content/relu2_1", "tv", "checkerboard", *style}
    for stage in ("train", "val"):
        assert {f"{stage}/{term}" for term in terms} | {f"{stage}_raw/{term}" for term in terms} <= scalars
    assert {"gradient_norm", "images_per_second", "lr-Adam"} <= scalars
    last = {name: events.Scalars(name)[-1].value for name in scalars}
    assert last["train/total"] == pytest.approx(sum(last[f"train/{term}"] for term in terms), rel=1e-4)
    assert events.Tags()["images"] == ["content_painted_style"]
    assert events.Tags()["tensors"] == ["config/text_summary"]


def test_a_folder_with_broken_files_trains_and_names_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings(tmp_path)
    broken = tmp_path / "photos" / "broken.jpg"
    broken.write_bytes((tmp_path / "photos" / "0.png").read_bytes()[:200])
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    outcome = train(tmp_path, steps=8)
    assert outcome.unreadable == (str(broken),)
    assert sum(str(broken) in record.getMessage() for record in caplog.records) == 1


@pytest.mark.slow
def test_training_lowers_the_loss(tmp_path: Path) -> None:
    few = train(tmp_path, steps=2, network_file=tmp_path / "few.safetensors")
    many = train(tmp_path, steps=120, val_every=120, network_file=tmp_path / "many.safetensors")
    assert many.metrics["val/total"] < 0.5 * few.metrics["val/total"]


def test_paths_of_this_machine_stay_out_of_the_network_file(tmp_path: Path) -> None:
    outcome = train(tmp_path, steps=1)
    metadata = read_tensors(outcome.network_file)[1]
    assert metadata["style"] == "dots"
    assert str(tmp_path) not in str(metadata)


@pytest.mark.slow
@pytest.mark.parametrize(("clip", "moves"), [("1e-6", False), ("null", True)])
def test_gradients_are_clipped_by_config(tmp_path: Path, clip: str, moves: bool) -> None:
    plain = {"method.optimizer": "{_target_: torch.optim.SGD, _partial_: true, lr: 0.01}", "method.schedule": "null"}
    train(tmp_path, steps=2, checkpoint_every=1, **plain, **{"trainer.gradient_clip_val": clip})
    first, second = (torch.load(checkpoint(tmp_path, step), weights_only=True)["state_dict"] for step in (1, 2))
    largest = max((second[k] - first[k]).abs().max().item() for k in first if k.startswith("generator."))
    assert (largest > 1e-5) is moves


@pytest.mark.slow
def test_an_extended_run_keeps_its_length(tmp_path: Path) -> None:
    constant = {"method.schedule": "null"}
    first = train(tmp_path, steps=2, **constant)
    prolonged = train_again(tmp_path, f"resume={first.folder}", "steps=6", "checkpoint_every=2")
    for step in (6,):
        checkpoint(tmp_path, step).unlink()  # As after a kill before the end.
    again = train_again(tmp_path, "resume=auto")
    assert again.folder == prolonged.folder
    assert checkpoint(tmp_path, 6).exists()


def test_resume_auto_stops_and_says_why_if_no_run_fits(tmp_path: Path) -> None:
    first = train(tmp_path, steps=1)
    with pytest.raises(ValueError, match="resume=auto found no run below") as ended:
        train(tmp_path, steps=1, resume="auto", **{"generator.blocks": 2})
    assert f"The newest run, {first.folder}, does not have generator.blocks=2. Leave resume out" in str(ended.value)
    assert len(list(tmp_path.glob("runs/*/*"))) == 1


def test_resume_auto_of_another_method_starts_no_run_of_the_default_style(tmp_path: Path) -> None:
    translate(tmp_path, steps=1, val_every=1)
    with pytest.raises(ValueError, match="does not have task=style"):
        train_again(tmp_path, "resume=auto")
    assert len(list(tmp_path.glob("runs/*/*"))) == 1


@pytest.mark.slow
def test_resume_auto_may_start_another_style_that_the_command_names(tmp_path: Path) -> None:
    """So a scheduler can repeat one command per style."""
    train(tmp_path, steps=1)
    (tmp_path / "stripes.png").write_bytes((tmp_path / "dots.png").read_bytes())
    named = {"style.image": tmp_path / "stripes.png", "network_file": tmp_path / "stripes.safetensors"}
    started = train(tmp_path, steps=1, resume="auto", **named)
    assert started.folder.parent.name == "stripes"
    assert train(tmp_path, steps=1, resume="auto", **named).folder == started.folder


def test_a_run_without_checkpoints_is_not_resumed(tmp_path: Path) -> None:
    first = train(tmp_path, steps=1)
    checkpoint(tmp_path, 1).unlink()
    again = train(tmp_path, steps=1, resume="auto")
    assert again.folder != first.folder


@pytest.mark.slow
@pytest.mark.parametrize("resume", ["auto", "folder"])
def test_the_advice_on_training_longer_works(tmp_path: Path, resume: str) -> None:
    first = train(tmp_path, steps=2)
    where = "auto" if resume == "auto" else first.folder
    with pytest.raises(ValueError, match=r"built for steps=2\. To train longer, start a second training") as ended:
        train_again(tmp_path, f"resume={where}", "steps=5")
    assert "start a run with method.schedule=null, which resume=FOLDER steps=... can extend" in str(ended.value)
    start = re.findall(r"init_from=(\S+) and without resume", str(ended.value))[0]
    second = train(tmp_path, steps=5, init_from=start, **{"method.schedule": "null"})
    assert second.folder != first.folder
    longer = train_again(tmp_path, f"resume={second.folder}", "steps=6")
    assert longer.folder == second.folder
    assert (second.folder / "checkpoints" / "step-000006.ckpt").exists()


@pytest.mark.slow
def test_a_translation_is_not_told_to_start_from_weights(tmp_path: Path) -> None:
    first = translate(tmp_path, steps=1, val_every=1)
    with pytest.raises(ValueError, match=r"To train longer, start a run with method\.schedule=null") as ended:
        train_again(tmp_path, "method=cyclegan", f"resume={first.folder}", "steps=5")
    assert "init_from" not in str(ended.value)
    constant = translate(tmp_path, steps=1, val_every=1, **{"method.schedule": "null"})
    train_again(tmp_path, "method=cyclegan", f"resume={constant.folder}", "steps=2")
    assert (constant.folder / "checkpoints" / "step-000002.ckpt").exists()


def test_a_network_file_that_will_be_overwritten_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train(tmp_path, steps=1)
    assert "will be overwritten" not in caplog.text
    train(tmp_path, steps=1)
    assert f"{tmp_path / 'network.safetensors'} will be overwritten" in caplog.text


def test_a_changed_number_of_photos_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, steps=2, **{"method.schedule": "null"})
    (tmp_path / "photos" / "more.png").write_bytes((tmp_path / "photos" / "0.png").read_bytes())
    train_again(tmp_path, f"resume={checkpoint(tmp_path, 2)}", "steps=3")
    assert "There were 4 training photos at the checkpoint and there are 5 now" in caplog.text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_skips": -1}, "max_skips is a whole number, at least 0; got -1"),
        ({"compile": "foo"}, "compile is true, false or auto; got 'foo'"),
        ({"trainer.log_every_n_steps": 0}, "log_every_n_steps is a whole number, at least 1"),
        ({"batch": 0, "data.batch_size": None}, "batch is a whole number, at least 1"),
        ({"trainer.accumulate_grad_batches": 0}, "accumulate_grad_batches is a whole number, at least 1"),
        ({"lr_rule": "sqrt", "data.batch_size": 8, "method.schedule.max_lr": 5e-3}, r"max_lr=0\.005 overrides it"),
    ],
)
def test_an_invalid_setting_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        train(tmp_path, **changes)
    assert not (tmp_path / "runs").exists()


def test_a_learning_rate_rule_reaches_the_schedule(tmp_path: Path) -> None:
    outcome = train(tmp_path, lr_rule="linear", lr_reference_batch=1, **{"trainer.log_every_n_steps": 1})
    rates = EventAccumulator(str(outcome.folder)).Reload().Scalars("lr-Adam")
    assert max(event.value for event in rates) > 1.5e-3  # Twice the maximum of 1e-3.
