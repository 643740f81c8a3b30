"""Many styles with one command: python scripts/train.py -m style=starry_night,wave (see --help)."""

import multiprocessing
import os
import re
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig


def is_multirun() -> bool:
    """Whether this is one training of several."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def multirun_config(cfg: DictConfig) -> DictConfig:
    """What a training among others is told: a network file and a GPU of its own.

    Raises:
        ValueError: it would write over another's network, or start processes that would train everything again.
    """
    if not is_multirun():
        return cfg
    # Processes that Lightning starts would read this command line, and each train all styles again.
    starts_processes = (
        cfg.trainer.get("strategy") or str(cfg.trainer.devices) != "1" or cfg.trainer.get("num_nodes", 1) > 1
    )
    if starts_processes and int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) == 1:
        raise ValueError(
            "Several trainings at once have one process each: say trainer=auto trainer.devices=1, or let SLURM start "
            "more (hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=...)."
        )
    take_a_gpu()
    from fast_style.training.config_checks import network_file_of
    from fast_style.training.run import TASKS

    cfg = cfg.copy()
    name = TASKS[cfg.task].run_name(cfg)
    file = network_file_of(cfg, name)
    # A recipe's name for its network, as quick's, is one for all styles.
    cfg.network_file = str(file if name in file.stem else file.with_stem(f"{file.stem}_{name}"))
    if os.environ.get("SLURM_PROCID", "0") == "0":
        _claim(cfg.network_file)
    return cfg


def _claim(network_file: str) -> None:
    claim = Path(HydraConfig.get().runtime.output_dir) / f"{Path(network_file).name}.txt"
    try:
        with open(claim, "x", encoding="utf-8") as file:
            file.write("\n".join(HydraConfig.get().overrides.task))
    except FileExistsError:
        raise ValueError(
            f"Another of these trainings writes {network_file}, too; tell them apart, as with "
            "network_file='checkpoints/trained/${style.name}_${loss.style_weight}.safetensors'."
        ) from None


def take_a_gpu() -> None:
    """Let the workers of the joblib launcher, which are numbered from 1, take the GPUs in turn, one each."""
    import torch

    worker = re.fullmatch(r"LokyProcess-(\d+)", multiprocessing.current_process().name)
    count = torch.cuda.device_count()
    if worker and count > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[(int(worker[1]) - 1) % count]
