"""Several styles with one command: a run folder and a network file each; a failure does not stop the others."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import test_scripts
import torch
from checkout import SCRIPTS
from hydra.core.hydra_config import HydraConfig
from test_scripts import Command
from training_runs import settings

from fast_style import save_image
from fast_style.cli import multirun

TRAIN = SCRIPTS / "train.py"
OWN = ("style.image", "runs", "network_file")


in_this_process = test_scripts.command


@pytest.fixture
def command(in_this_process: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a script in this process; Hydra keeps the configuration of several runs, which the next test must not see."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    return in_this_process


def bulk(folder: Path, *arguments: str) -> list[str]:
    """Write photos and two style images, and return the arguments of a command that trains styles."""
    shared = [word for word in settings(folder / "assets") if word.split("=")[0] not in OWN]
    save_image(torch.rand(1, 3, 40, 40), folder / "dots.png")
    save_image(torch.rand(1, 3, 40, 40), folder / "stripes.png")
    return ["-m", *shared, *arguments]


def in_a_process(folder: Path, arguments: list[str]) -> tuple[int, str]:
    """Launchers send the script to other processes, so it must be the main script of its own process."""
    done = subprocess.run(
        [sys.executable, TRAIN, *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "styles"),
    [
        ("basic", ["dots", "nowhere", "stripes"]),
        # Each style costs these a process.
        ("joblib", ["nowhere", "stripes"]),
        ("submitit_local", ["nowhere", "stripes"]),
    ],
)
def test_each_style_gets_its_folder_and_network_and_a_failure_is_reported(
    tmp_path: Path, command: Command, launcher: str, styles: list[str]
) -> None:
    chosen = f"style.image={','.join(f'{style}.png' for style in styles)}"
    arguments = bulk(tmp_path, chosen, f"hydra/launcher={launcher}", "data.workers=1")
    if launcher == "basic":
        code, _, err = command("train", *arguments)
    else:
        package = f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher"
        pytest.importorskip(package, reason="needs the extra `bulk`")
        code, err = in_a_process(tmp_path, arguments)
    assert code == 1
    number = styles.index("nowhere")
    sentence = f"Error: Expected an image at nowhere.png, found nothing; check the path (run #{number} above)"
    assert sentence in err.splitlines()
    assert "Traceback" not in err
    trained = [style for style in styles if style != "nowhere"]
    files = sorted(path.name for path in (tmp_path / "checkpoints/trained").iterdir())
    assert files == [f"{style}.safetensors" for style in trained]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(["multirun", *trained])
    assert all(len(list((tmp_path / "runs" / name).iterdir())) == 1 for name in trained)
    (report,) = (tmp_path / "runs/multirun").glob("*/figures.json")
    assert ["error" in entry for entry in json.loads(report.read_text())] == [style == "nowhere" for style in styles]
    assert (report.parent / "contact_sheet.png").is_file()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"assets", "dots.png", "stripes.png", "checkpoints", "runs"}


@pytest.mark.slow
def test_two_trainings_never_write_one_file_and_a_recipes_file_gets_the_style_name(
    tmp_path: Path, command: Command
) -> None:
    several = ["style.image=dots.png,stripes.png", "loss.tv_weight=1,2", "network_file=out/quick.safetensors"]
    code, _, err = command("train", *bulk(tmp_path, *several))
    assert code == 1
    assert err.count("Another of these trainings also writes out/quick_dots.safetensors") >= 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "quick_dots.safetensors",
        "quick_stripes.safetensors",
    ]


@pytest.mark.parametrize(
    ("worker", "visible", "expected"),
    [
        ("LokyProcess-1", None, "0"),
        ("LokyProcess-4", None, "3"),
        ("LokyProcess-6", None, "1"),
        ("LokyProcess-2", "4,5,6,7", "5"),
        ("MainProcess", None, None),
    ],
)
def test_workers_take_the_gpus_in_turn(
    monkeypatch: pytest.MonkeyPatch, worker: str, visible: str | None, expected: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(multirun.multiprocessing, "current_process", lambda: SimpleNamespace(name=worker))
    # Set, then delete, so that monkeypatch restores the variable after the test.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    multirun.take_a_gpu()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == expected
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize("settings", [["trainer=ddp", "trainer.devices=2"], ["trainer.devices=2"]])
def test_several_processes_per_style_are_refused(tmp_path: Path, command: Command, settings: list[str]) -> None:
    code, _, err = command("train", *bulk(tmp_path, "style.image=dots.png", *settings))
    assert code == 1
    assert "Error: With -m, each training must run in one process" in err
