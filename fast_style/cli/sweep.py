"""Report of several trainings (`-m`): contact sheet and table of figures, written anew whenever a training ends.

Hydra's `on_multirun_end` is not called if a training failed, and launchers run each training in a process of its own.
So every training adds an entry to the folder of the sweep, and the report is made of the entries that are there.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fast_style.atomic_files import atomic_write, safe_file_name

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

SHEET, TABLE, FIGURES = "contact_sheet.png", "figures.md", "figures.json"
#: Which settings the command varies, and the folder of the trainings' entries.
SWEPT, PARTS = "swept.json", "parts"
Entry = dict[str, Any]


class SweepReport(Callback):
    """Hydra callback of `conf/train.yaml`. A single training has no report."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Save which settings the command varies; a single training cannot tell that from its own settings."""
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        params = OmegaConf.select(config, "hydra.sweeper.params") or {}
        lines = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
        given = OverridesParser.create().parse_overrides(lines)
        (folder / SWEPT).write_text(json.dumps([one.key_or_group for one in given if one.is_sweep_override()]))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_job_end(self, config: DictConfig, job_return: "JobReturn", **kwargs: Any) -> None:
        """Add this training to the report. A problem with the report is printed and fails no training."""
        # Not the property without underscore: it raises the error of a failed training.
        outcome = job_return._return_value
        if config.hydra.mode != RunMode.MULTIRUN or not getattr(outcome, "first", True):
            return
        folder, number = Path(config.hydra.runtime.output_dir), int(config.hydra.job.num)
        settings = swept_values(folder, config.hydra.overrides.task)
        entry: Entry = {"run": number, "settings": settings, "seconds": round(time.monotonic() - self.started, 1)}
        try:
            photos = sheet_photos(config)
            if isinstance(outcome, Exception):
                entry["error"] = str(outcome).removeprefix("Error: ").removesuffix(f" (run #{number} above)")
            elif outcome is not None:
                entry |= figures(outcome.metrics) | {"network_file": str(outcome.network_file)}
                _stylize(outcome.network_file, photos, config.sweep.size, folder / PARTS, number)
            _write(folder / PARTS / f"run_{number}.json", json.dumps(entry))
            print(f"Report:      {os.path.relpath(report(folder, photos, size=config.sweep.size))}")
        except (ValueError, OSError) as error:
            print(f"Report:      {folder} has no report of run #{number}. {error}")


def swept_values(folder: Path, overrides: Sequence[str]) -> dict[str, str]:
    """Return the settings of one training that the command varies, by key.

    Args:
        folder: of the sweep.
        overrides: of the one training.
    """
    file = folder / SWEPT
    swept = json.loads(file.read_text()) if file.is_file() else []
    given = {line.lstrip("+").partition("=")[0]: line.partition("=")[2] for line in overrides}
    given = {key.partition("@")[0] if key not in swept else key: value for key, value in given.items()}
    return {key: given[key] for key in swept if key in given}


def short(settings: Mapping[str, str], *, joined_by: str) -> list[str]:
    """Settings with the last part of their keys: `strength=low` for style.strength=low."""
    return [f"{key.rpartition('.')[2]}{joined_by}{value}" for key, value in settings.items()]


def file_labels(settings: Mapping[str, str]) -> list[str]:
    """What the name of a network file says of the settings: `strength-low`."""
    return [safe_file_name(text) for text in short(settings, joined_by="-")]


def sheet_photos(cfg: DictConfig) -> list[str]:
    """Photos of the contact sheet: the first of `sweep.photos`, or of the sample photos. A translation has none.

    Raises:
        ValueError: a folder without photos, or an invalid number or size.
    """
    count, size = cfg.sweep.count, cfg.sweep.size
    if not isinstance(count, int) or count < 0 or not isinstance(size, int) or size < 16:
        raise ValueError(f"sweep.count is at least 0 and sweep.size at least 16; got {count!r} and {size!r}.")
    if cfg.task != "style" or count == 0:
        return []
    if cfg.sweep.photos is None:
        from fast_style.data.sample_photos import sample_files

        return sample_files()[:count]
    from fast_style.images.listing import find_pictures

    return find_pictures(cfg.sweep.photos)[:count]


def figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """Mean of the validation terms of each kind over the layers, without their weights."""
    by_kind = {
        kind: [value for name, value in metrics.items() if name.startswith(f"val_raw/{kind}/")]
        for kind in ("style", "content")
    }
    return {kind: fmean(values) for kind, values in by_kind.items() if values}


def report(folder: Path, photos: Sequence[str], *, size: int) -> Path:
    """Write table, figures and contact sheet of all trainings that have ended; return the sheet, or the table."""
    parts = folder / PARTS
    with FileLock(parts / ".lock"):  # Trainings of parallel launchers may end at the same time.
        entries = sorted((json.loads(file.read_text()) for file in parts.glob("run_*.json")), key=lambda e: e["run"])
        _write(folder / FIGURES, json.dumps(entries, indent=2))
        _write(folder / TABLE, table(entries))
        trained = [entry for entry in entries if "error" not in entry]
        if not trained or not photos:
            return folder / TABLE
        _draw(folder, trained, photos, size)
        return folder / SHEET


def table(entries: Sequence[Entry]) -> str:
    """Return the figures of all trainings as a Markdown table."""
    keys = list(dict.fromkeys(key for entry in entries for key in entry["settings"]))
    head = ["run", *keys, "style", "content", "seconds", "network file or error"]
    rows = [head, ["---"] * len(head)]
    for entry in entries:
        errors = [f"{entry[kind]:.4f}" if kind in entry else "" for kind in ("style", "content")]
        last = f"failed: {entry['error']}" if "error" in entry else entry.get("network_file", "")
        values = [entry["settings"].get(key, "") for key in keys]
        rows.append([str(entry["run"]), *values, *errors, f"{entry['seconds']:.0f}", last])
    cells = [[text.replace("|", "\\|") for text in row] for row in rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    return f"Style and content: means of the validation terms over the layers, without weights.\n\n{lines}\n"


def _stylize(network_file: Path, photos: Sequence[str], size: int, parts: Path, number: int) -> None:
    from fast_style.images.tensors import load_image, save_image
    from fast_style.stylize.stylizer import load_stylizer

    stylizer = load_stylizer(network_file, runtime="torch", precision="fp32") if photos else None
    for index, photo in enumerate(photos):
        assert stylizer is not None
        save_image(stylizer(load_image(photo, size=size)), _picture(parts, number, index))


def _draw(folder: Path, trained: Sequence[Entry], photos: Sequence[str], size: int) -> None:
    from fast_style.images.contact_sheet import contact_sheet
    from fast_style.images.tensors import load_image, save_image

    def label(entry: Entry) -> str:
        errors = [f"{kind} {entry[kind]:.3f}" for kind in ("style", "content") if kind in entry]
        return "\n".join([" ".join(short(entry["settings"], joined_by="=")), ", ".join(errors)])

    rows = [
        [load_image(photo, size=size), *(load_image(_picture(folder / PARTS, e["run"], index)) for e in trained)]
        for index, photo in enumerate(photos)
    ]
    labels = ["photo", *map(label, trained)]
    save_image(contact_sheet(rows, column_labels=labels, cell=None), folder / SHEET)


def _picture(parts: Path, number: int, index: int) -> Path:
    return parts / f"run_{number}_photo_{index}.png"


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
