"""An unused setting is one error sentence: a setting of another method, of another script, or an unknown one."""

import logging
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import CONF, SCRIPTS
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from training_runs import composed, settings
from translation_runs import settings as translation_settings

from fast_style.cli.errors import check_keys
from fast_style.training.config_checks import check_used
from fast_style.training.run import TASKS, run

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run a script in this process from the folder `tmp_path`; returns exit code and error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)

    def started(script: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments])
        code, said = 0, ""
        try:
            runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            said = stop.code if isinstance(stop.code, str) else ""
        return code, said + capfd.readouterr().err

    yield started
    GlobalHydra.instance().clear()


def sentence(said: str) -> str:
    (line,) = said.strip().splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize(
    "unused",
    [
        *("style=wave", "style.image=dots.png", "style.size=64", "loss_network=vgg16", "loss_network.pooling=average"),
        *("+loss.style_weight=3", "loss_network=squeezenet1_1"),
    ],
)
def test_a_translation_refuses_settings_that_it_does_not_use(tmp_path: Path, command: Command, unused: str) -> None:
    code, said = command("train", *translation_settings(tmp_path), unused)
    assert code == 1
    assert f"method=cyclegan does not use {unused}: leave that out" in sentence(said)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("unused", ["init_from=checkpoints/wave.safetensors", "trainer.gradient_clip_val=1"])
def test_a_translation_refuses_unsupported_settings(tmp_path: Path, command: Command, unused: str) -> None:
    code, said = command("train", *translation_settings(tmp_path), unused)
    assert code == 1
    assert unused.split("=")[0] in sentence(said)


@pytest.mark.parametrize("unused", ["+name=x", "+discriminator.width=3", "name=x", "discriminator.width=3"])
def test_a_style_refuses_settings_of_a_translation(tmp_path: Path, command: Command, unused: str) -> None:
    code, said = command("train", *settings(tmp_path), unused)
    assert code == 1
    assert unused.strip("+").split("=")[0].split(".")[0] in said
    assert "Traceback" not in said
    assert not (tmp_path / "runs").exists()


def test_a_recipe_of_a_style_is_refused_by_a_translation(tmp_path: Path, command: Command) -> None:
    code, said = command("train", *translation_settings(tmp_path), "experiment=quick")
    assert code == 1
    assert "The recipe (experiment=...) sets loss, which method=cyclegan does not use" in sentence(said)


@pytest.mark.parametrize("recipe", ["lbfgs", "gatys2016", "pytorch_tutorial", "adam_noise"])
def test_a_recipe_of_image_optimisation_is_no_training_recipe(command: Command, recipe: str) -> None:
    code, said = command("train", f"experiment={recipe}")
    assert code == 1
    assert recipe in said
    assert "TypeError" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("root", ["train", "optimize", "distill"])
@pytest.mark.parametrize(
    ("setting", "hint"), [("+sise=512", "sise"), ("+method.precison=x", "method.precison"), ("+loss.a=1", "loss.a")]
)
def test_an_added_setting_that_nothing_takes_is_refused(command: Command, root: str, setting: str, hint: str) -> None:
    needed = ["content=photo.jpg"] if root == "optimize" else []
    code, said = command(root, *needed, setting)
    assert code == 1
    assert sentence(said) == f"Error: {hint}: neither this script nor its choices have this setting; see --help."


@pytest.mark.parametrize("root", ["train", "distill"])
def test_the_task_cannot_be_set(command: Command, root: str) -> None:
    code, said = command(root, "task=nothing")
    assert code == 1
    assert "task is one of style, translation, distillation; got nothing." in sentence(said)


def own_recipe(folder: Path, content: str) -> list[str]:
    for group in ("experiment", "optimization"):
        (folder / "own" / group).mkdir(parents=True)
        (folder / "own" / group / "mine.yaml").write_text(f"# @package _global_\n{content}\n")
    return [f"hydra.searchpath=[file://{folder / 'own'}]", "experiment=mine"]


@pytest.mark.parametrize(
    ("content", "hint"), [("size: 512\nsave_every: 3", "size, save_every"), ("method: {clamp: true}", "method.clamp")]
)
def test_a_recipe_with_settings_of_another_script_is_named(
    tmp_path: Path, command: Command, content: str, hint: str
) -> None:
    code, said = command("train", *own_recipe(tmp_path, content))
    assert code == 1
    assert f"experiment=mine sets {hint}, which this script or its other choices do not have" in sentence(said)


RECIPES = [path.stem for path in sorted((CONF / "experiment").glob("*.yaml"))]
CHOICES = [
    *([f"experiment={name}"] for name in RECIPES),
    *([f"loss_network={path.stem}"] for path in sorted((CONF / "loss_network").glob("*.yaml"))),
    *([f"method={path.stem}"] for path in sorted((CONF / "method").glob("*.yaml"))),
    ["trainer=ddp"],
    ["data=shards"],
    ["data=hub", "data.path=a/b"],
    ["optimizer@method.optimizer=fused_adam"],
]


@pytest.mark.parametrize("chosen", CHOICES, ids=str)
def test_all_training_choices_pass_the_checks(monkeypatch: pytest.MonkeyPatch, chosen: list[str]) -> None:
    cfg = with_hydra(monkeypatch, "train", chosen)
    check_keys(cfg, "train")
    task = TASKS[cfg.task]
    check_used(chosen, unused=task.unused, chosen_by=task.chosen_by)


def with_hydra(monkeypatch: pytest.MonkeyPatch, root: str, overrides: list[str]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(root, overrides, return_hydra_config=True)
    hydra: Any = cfg.hydra
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def test_the_python_function_refuses_unused_settings_too(tmp_path: Path) -> None:
    overrides = [*translation_settings(tmp_path), "style=wave"]
    with pytest.raises(ValueError, match="method=cyclegan does not use style=wave"):
        run(composed(overrides), overrides)
