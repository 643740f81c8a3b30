"""Many trainings with one command: python scripts/train.py -m style=starry_night,wave (see --help)."""

import multiprocessing
import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fast_style.cli.sweep import file_labels, sheet_photos, swept_values


def is_multirun() -> bool:
    """Return whether this training is one of several."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def multirun_config(cfg: DictConfig) -> DictConfig:
    """Give one training of several its own network file and its own GPU.

    Raises:
        ValueError: two trainings with the same network file, or settings that start more processes.
    """
    if not is_multirun():
        return cfg
    # Processes that Lightning starts read the same command line, so each would train all styles again.
    starts_processes = (
        cfg.trainer.get("strategy") or str(cfg.trainer.devices) != "1" or cfg.trainer.get("num_nodes", 1) != 1
    )
    if starts_processes and int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) == 1:
        raise ValueError(
            "With -m, each training must run in one process: use trainer=auto trainer.devices=1, or let SLURM start "
            "the processes (hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=...)."
        )
    take_a_gpu()
    from fast_style.training.config_checks import network_file_of
    from fast_style.training.run import TASKS

    sheet_photos(cfg)  # A mistake shows before the training, not after it.
    cfg = cfg.copy()
    task = TASKS[cfg.task]
    name = task.run_name(cfg)
    file = network_file_of(cfg, name)
    # A recipe such as quick has one file name for all styles.
    cfg.network_file = str(with_labels(file, [name, *_varied(task.named_by)]))
    if os.environ.get("SLURM_PROCID", "0") == "0":
        _claim(cfg.network_file)
    return cfg


def _varied(named_by: Sequence[str]) -> list[str]:
    """What this training has of its own besides its name, unless the command names the network files itself."""
    overrides = HydraConfig.get().overrides.task
    if any(line.lstrip("+").startswith("network_file=") for line in overrides):
        return []
    values = swept_values(Path(HydraConfig.get().runtime.output_dir), overrides)
    return file_labels({key: value for key, value in values.items() if key not in named_by})


def with_labels(file: Path, labels: Sequence[str]) -> Path:
    """Add to a file's name the labels that it does not have yet."""
    stem = file.stem
    for label in labels:
        stem = stem if label in stem else f"{stem}_{label}"
    # Not with_stem: a label may have a dot.
    return file.with_name(stem + file.suffix)


def _claim(network_file: str) -> None:
    claim = Path(HydraConfig.get().runtime.output_dir) / f"{Path(network_file).name}.txt"
    try:
        with open(claim, "x", encoding="utf-8") as file:
            file.write("\n".join(HydraConfig.get().overrides.task))
    except FileExistsError:
        raise ValueError(
            f"Another of these trainings also writes {network_file}; name the files by what differs, such as "
            "network_file='checkpoints/trained/weight_${loss.style_weight}.safetensors'."
        ) from None


def take_a_gpu() -> None:
    """Give each worker of the joblib launcher one GPU; the workers are numbered from 1 and take the GPUs in turn."""
    import torch

    worker = re.fullmatch(r"LokyProcess-(\d+)", multiprocessing.current_process().name)
    count = torch.cuda.device_count()
    if worker and count > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[(int(worker[1]) - 1) % count]
