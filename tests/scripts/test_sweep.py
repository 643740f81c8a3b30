"""Several trainings with one command: their network files are named by what differs, and one report compares them."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from test_multirun import bulk
from test_multirun import command as command
from test_multirun import in_this_process as in_this_process
from test_scripts import Command

from fast_style import load_image
from fast_style.cli.multirun import with_labels
from fast_style.cli.sweep import SHEET, SWEPT, figures, file_labels, sheet_photos, swept_values, table

SMALL = ["style.image=dots.png", "sweep.count=2", "sweep.size=32"]


def sweep_folder(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "runs/multirun").iterdir()
    return folder


@pytest.mark.slow
def test_a_sweep_ends_with_a_contact_sheet_and_a_table_also_if_a_training_failed(
    tmp_path: Path, command: Command
) -> None:
    code, out, _ = command("train", *bulk(tmp_path, *SMALL, "style.strength=low,nope,3"))
    assert code == 1
    folder = sweep_folder(tmp_path)
    assert out.count(f"Report:      {folder.relative_to(tmp_path) / SHEET}") == 3
    names = [f"dots_strength-{value}.safetensors" for value in ("3", "low")]
    assert sorted(path.name for path in (tmp_path / "checkpoints/trained").iterdir()) == names
    low, failed, three = json.loads((folder / "figures.json").read_text())
    assert [entry["settings"] for entry in (low, failed, three)] == [
        {"style.strength": value} for value in ("low", "nope", "3")
    ]
    assert failed["error"].startswith("style.strength is one of low, medium, high")
    assert all(0 < entry[kind] < 1000 for entry in (low, three) for kind in ("style", "content"))
    lines = (folder / "figures.md").read_text().splitlines()
    assert lines[2].startswith("| run | style.strength | style | content |")
    assert "failed: style.strength is one of" in lines[5]
    # Two rows of photos of at least 32x32; three columns: the photo and two networks.
    height, width = load_image(folder / SHEET).shape[-2:]
    assert height > 2 * 32
    assert width > 3 * 32


@pytest.mark.slow
def test_a_mistake_in_the_sheets_settings_shows_before_the_training(tmp_path: Path, command: Command) -> None:
    code, _, err = command("train", *bulk(tmp_path, *SMALL, "sweep.photos=nowhere", "style.strength=low,high"))
    assert code == 1
    assert "Error: Expected a folder of images at nowhere, found no folder" in err
    assert not (tmp_path / "checkpoints").exists()


def test_the_varied_settings_of_one_training(tmp_path: Path) -> None:
    (tmp_path / SWEPT).write_text(json.dumps(["style.strength", "optimizer", "data.x"]))
    overrides = ["steps=3", "style.strength=low", "optimizer@method.optimizer=muon", "+data.x=[1,2]"]
    values = swept_values(tmp_path, overrides)
    assert values == {"style.strength": "low", "optimizer": "muon", "data.x": "[1,2]"}
    assert file_labels(values) == ["strength-low", "optimizer-muon", "x-_1_2"]
    assert swept_values(tmp_path / "nowhere", overrides) == {}


@pytest.mark.parametrize(
    ("file", "labels", "expected"),
    [
        ("a/wave.safetensors", ["wave", "strength-low"], "a/wave_strength-low.safetensors"),
        ("a/quick.safetensors", ["wave"], "a/quick_wave.safetensors"),
        ("quick.safetensors", ["wave", "lr-0.5"], "quick_wave_lr-0.5.safetensors"),
        ("v1.5.safetensors", ["wave", "lr-0.5"], "v1.5_wave_lr-0.5.safetensors"),
    ],
)
def test_a_file_is_named_by_what_is_not_in_its_name_yet(file: str, labels: list[str], expected: str) -> None:
    assert with_labels(Path(file), labels) == Path(expected)


def test_figures_are_means_of_the_terms_without_weights() -> None:
    metrics = {"val/style/relu1_1": 9.0, "val_raw/style/relu1_1": 1.0, "val_raw/style/level2/relu1_1": 2.0}
    assert figures(metrics) == {"style": 1.5}
    assert figures(metrics | {"val_raw/content/relu3_1": 0.5}) == {"style": 1.5, "content": 0.5}


def test_a_table_has_a_row_for_each_training_and_no_stray_column() -> None:
    entries = [
        {"run": 0, "settings": {"a.b": "1"}, "style": 0.5, "content": 0.25, "seconds": 3.2, "network_file": "x"},
        {"run": 1, "settings": {"a.b": "1|2"}, "seconds": 0, "error": "one | two"},
    ]
    *_, first, second = table(entries).splitlines()
    assert first == "| 0 | 1 | 0.5000 | 0.2500 | 3 | x |"
    assert second == r"| 1 | 1\|2 |  |  | 0 | failed: one \| two |"


@pytest.mark.parametrize(("task", "count", "found"), [("style", 3, 3), ("style", 0, 0), ("translation", 3, 0)])
def test_the_sheet_shows_sample_photos_of_a_style(task: str, count: int, found: int) -> None:
    sweep = {"count": count, "size": 32, "photos": None}
    assert len(sheet_photos(OmegaConf.create({"task": task, "sweep": sweep}))) == found


@pytest.mark.parametrize("wrong", [{"count": -1}, {"count": "all"}, {"size": 8}, {"size": None}])
def test_wrong_settings_of_the_sheet_are_refused(wrong: dict[str, object]) -> None:
    sweep = {"count": 2, "size": 32, "photos": None} | wrong
    with pytest.raises(ValueError, match=r"sweep\.count is at least 0 and sweep\.size at least 16"):
        sheet_photos(OmegaConf.create({"task": "style", "sweep": sweep}))
