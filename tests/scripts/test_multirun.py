"""Several styles with one command: a run folder and a network file each; a failure does not stop the others."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from checkout import SCRIPTS
from training_runs import settings

from fast_style import save_image
from fast_style.cli import multirun

TRAIN = SCRIPTS / "train.py"
OWN = ("style.image", "runs", "network_file")


def bulk(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shared = [word for word in settings(folder / "assets") if word.split("=")[0] not in OWN]
    save_image(torch.rand(1, 3, 40, 40), folder / "dots.png")
    save_image(torch.rand(1, 3, 40, 40), folder / "stripes.png")
    return subprocess.run(
        [sys.executable, TRAIN, "-m", *shared, *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_each_style_gets_its_folder_and_network_and_a_failure_is_reported(tmp_path: Path, launcher: str) -> None:
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher", reason="needs the extra `bulk`")
    done = bulk(
        tmp_path, "style.image=dots.png,nowhere.png,stripes.png", f"hydra/launcher={launcher}", "data.workers=1"
    )
    assert done.returncode == 1
    sentence = "Error: Expected an image at nowhere.png, found nothing; check the path (#1 of those above)"
    assert sentence in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "checkpoints/trained").iterdir()) == [
        "dots.safetensors",
        "stripes.safetensors",
    ]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["dots", "multirun", "stripes"]
    assert all(len(list((tmp_path / "runs" / name).iterdir())) == 1 for name in ("dots", "stripes"))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"assets", "dots.png", "stripes.png", "checkpoints", "runs"}


@pytest.mark.slow
def test_two_trainings_never_write_one_file_and_a_recipes_file_gets_the_style_name(tmp_path: Path) -> None:
    done = bulk(
        tmp_path, "style.image=dots.png,stripes.png", "loss.tv_weight=1,2", "network_file=out/quick.safetensors"
    )
    assert done.returncode == 1
    assert done.stderr.count("Another of these trainings writes out/quick_dots.safetensors, too") >= 1
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
def test_several_processes_per_style_are_refused(tmp_path: Path, settings: list[str]) -> None:
    done = bulk(tmp_path, "style.image=dots.png", *settings)
    assert done.returncode == 1
    assert "Error: Several trainings at once have one process each" in done.stderr
