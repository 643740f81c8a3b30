"""A received run folder is data: resuming it builds only classes on a closed list."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import CONF
from omegaconf import DictConfig, OmegaConf
from training_runs import composed, train

from fast_style.networks.transform_net import TransformNet
from fast_style.training.config_targets import check_targets, is_known
from fast_style.training.resume import find_resumable
from fast_style.training.run import run

TRAINING_GROUPS = ("data", "generator", "loss_network", "method", "optimizer", "student", "trainer")
CONFIG_FILES = [
    *(file for group in TRAINING_GROUPS for file in sorted((CONF / group).glob("*.yaml"))),
    *(CONF / f"{root}.yaml" for root in ("train", "distill", "loss/perceptual", "loss/distillation")),
]


class OwnNet(TransformNet):
    """A user's own generator."""


OWN = f"{OwnNet.__module__}.{OwnNet.__qualname__}"


def targets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield value["_target_"]
        for item in value.values():
            yield from targets(item)
    if isinstance(value, list):
        for item in value:
            yield from targets(item)


def test_all_targets_of_training_configurations_are_known() -> None:
    configs = [OmegaConf.to_container(OmegaConf.load(file)) for file in CONFIG_FILES]
    # A run folder does not hold Hydra's own settings; they build the callbacks of this command line.
    named = {
        target
        for config in configs
        if isinstance(config, dict)
        for target in targets({name: value for name, value in config.items() if name != "hydra"})
    }
    assert len(named) > 15
    assert {target for target in named if not is_known(target)} == set()


@pytest.mark.parametrize(
    "target",
    [
        *("torch.optim.Adam", "torch.optim.LBFGS", "torch.optim.SGD", "torch.optim.AdamW"),
        *("torch.optim.lr_scheduler.OneCycleLR", "torch.optim.lr_scheduler.StepLR"),
        *("pytorch_lightning.Trainer", "pytorch_lightning.strategies.DDPStrategy"),
    ],
)
def test_optimisers_schedules_and_the_trainer_are_known(target: str) -> None:
    assert is_known(target)


HOSTILE = [
    *("os.system", "builtins.eval", "subprocess.Popen", "hydra.utils.get_method", "hydra.utils.instantiate"),
    *("torch.load", "torch.hub.load", "torch.optim.lr_scheduler.warnings.warn", "torch.optim.adam.torch.load"),
    *("torch.optim.__builtins__", "torch.optim.lr_scheduler.partial", "torch.optim", "", ".", "Trainer"),
    *("fast_style.atomic_files.os.system", "fast_style.training.run.run", "fast_style.training.run.logging.Logger"),
    *("fast_style.atomic_files.atomic_write", "pytorch_lightning.Trainer.fit", "torch.optim.Adam.load_state_dict"),
    *("fast_style.networks.pretrained.LossNetwork.load_state_dict", "fast_style.networks.pretrained.nn.Module"),
    *("fast_style.networks.serialization.save_network", "fast_style.networks.serialization.read_tensors"),
    *("fast_style.data.download.Painting", "fast_style.data.shards.cache.ShardCache", "fast_style.cli.errors.CONF"),
    *("fast_style.networks.pretrained.read_tensors", "fast_style.data.image_folder.PhotoDataModule"),
    *("fast_style.networks", "fast_style.networks.nowhere.Net", "fast_style.networks...pretrained.vgg"),
    *("pytorch_lightning.LightningModule.load_from_checkpoint", "fast_style.networks.pretrained.torch.load"),
]


@pytest.mark.parametrize("target", [*HOSTILE, None, 3, ["os.system"], {"_target_": "os.system"}], ids=repr)
def test_other_targets_are_unknown(target: object) -> None:
    assert not is_known(target)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("_target_", "os.system"),
        ("a._target_", "os.system"),
        ("a.b[1].c._target_", "os.system"),
        ("a[0][0]._target_", ["os.system"]),
        ("a._args_[0]._target_", "torch.load"),
    ],
)
def test_a_target_is_found_anywhere(place: str, value: Any) -> None:
    nests: dict[str, Any] = {
        "_target_": {"_target_": value},
        "a._target_": {"a": {"_target_": value}},
        "a.b[1].c._target_": {"a": {"b": [0, {"c": {"_target_": value}}]}},
        "a[0][0]._target_": {"a": [[{"_target_": value}]]},
        "a._args_[0]._target_": {"a": {"_target_": "torch.optim.Adam", "_args_": [{"_target_": value}]}},
    }
    with pytest.raises(ValueError, match="which could run any code") as refused:
        check_targets(OmegaConf.create(nests[place]), OmegaConf.create({}), source="config.yaml")
    assert str(refused.value).startswith(f"config.yaml wants to build {place}=")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(folder, steps=2, **{"method.schedule": "null"})
    return folder


@pytest.fixture
def received(finished: Path) -> Iterator[Path]:
    """The folder of a run; its configuration is restored afterwards."""
    (run_folder,) = finished.glob("runs/*/*")
    config = run_folder / "config.yaml"
    before = config.read_text()
    yield run_folder
    config.write_text(before)


def change(folder: Path, edit: Callable[[DictConfig], None]) -> None:
    saved = OmegaConf.load(folder / "config.yaml")
    assert isinstance(saved, DictConfig)
    edit(saved)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(saved))


def resume(folder: Path, how: str, *overrides: str) -> None:
    said = {"folder": folder, "file": folder / "checkpoints" / "step-000002.ckpt", "auto": "auto"}[how]
    given = [f"resume={said}", f"runs={folder.parents[1]}", *overrides]
    run(composed(given), given)


def touching(marker: Path) -> dict[str, Any]:
    return {"_target_": "os.system", "command": f"touch {marker}"}


PLACES: dict[str, Callable[[DictConfig, dict[str, Any]], None]] = {
    "data": lambda saved, hostile: saved.update(data=hostile),
    "trainer": lambda saved, hostile: saved.update(trainer=hostile),
    "nested": lambda saved, hostile: saved.generator.update(width=hostile),
    "listed": lambda saved, hostile: saved.loss.update(content_layers=[[hostile]]),
    "optimizer": lambda saved, hostile: saved.method.optimizer.update(lr=hostile),
}


@pytest.mark.parametrize("how", ["folder", "file", "auto"])
@pytest.mark.parametrize("place", PLACES)
def test_a_received_run_runs_no_code(received: Path, tmp_path: Path, place: str, how: str) -> None:
    marker = tmp_path / "touched"
    change(received, lambda saved: PLACES[place](saved, touching(marker)))
    with pytest.raises(ValueError, match=r"config\.yaml wants to build .*_target_='os\.system', which could run any"):
        resume(received, how)
    assert not marker.exists()


@pytest.mark.parametrize("how", ["folder", "auto"])
def test_a_received_run_reads_no_environment_variable(received: Path, how: str) -> None:
    config = received / "config.yaml"
    config.write_text(config.read_text().replace("save_as: fp32", "save_as: ${oc.env:HOME}"))
    with pytest.raises(ValueError, match=r"save_as='\$\{oc\.env:HOME\}'|readable config"):
        resume(received, how)


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "a: ${", "a: !!python/object/apply:os.system [ls]\n", "\0"])
def test_an_invalid_configuration_is_one_sentence(received: Path, text: str) -> None:
    (received / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml is not a (readable )?run configuration"):
        resume(received, "folder")


def test_an_own_class_must_be_named_again_to_resume(received: Path) -> None:
    change(received, lambda saved: saved.generator.update(_target_=OWN))
    named = f"generator._target_={OWN}"
    with pytest.raises(ValueError, match=f"name it again with {named}"):
        find(received)
    found = find(received, named)
    assert found is not None
    assert found[1].generator._target_ == OWN
    # The override allows the class at its own place only.
    change(received, lambda saved: saved.loss.update(_target_=OWN))
    with pytest.raises(ValueError, match=f"loss._target_='{OWN}'"):
        find(received, named)


def find(folder: Path, *overrides: str) -> tuple[Path, DictConfig] | None:
    given = [f"resume={folder}", *overrides]
    return find_resumable(composed(given), given)


def test_a_received_run_does_not_choose_where_to_write(received: Path, tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / "mine.safetensors"
    file.write_bytes(b"something else")

    def hostile(saved: DictConfig) -> None:
        saved.style.cache, saved.runs, saved.network_file = str(victim), str(victim), str(file)

    change(received, hostile)
    with pytest.raises(ValueError, match=r"would overwrite .*mine\.safetensors, which is not a network file\."):
        resume(received, "folder")
    assert file.read_bytes() == b"something else"
    assert not victim.exists()
    config = find_resumable(*(lambda given: (composed(given), given))([f"resume={received}"]))[1]  # type: ignore[index]
    assert (config.runs, config.style.cache) == ("runs", "~/.cache/fast_style/styles")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "text"),
    [
        *(("overrides.json", text) for text in ("5", '"style.size=64"', "[" * 100_000, "{}")),
        *(("config.yaml", text) for text in ("task: style\n", "steps: many\n", "a: " + "[" * 3_000)),
    ],
    ids=lambda text: text[:20],
)
def test_a_broken_folder_is_one_sentence(received: Path, file: str, text: str) -> None:
    kept = (received / file).read_text()
    try:
        (received / file).write_text(text)
        with pytest.raises(ValueError, match=r"readable config|not a (readable )?run configuration") as refused:
            resume(received, "auto", "style.size=32")
        assert "\n" not in str(refused.value)
    finally:
        (received / file).write_text(kept)
