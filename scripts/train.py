"""Train a style, or a translation with method=cyclegan: python scripts/train.py style=starry_night (see --help)."""

from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fast_style.cli.errors import check_keys, one_sentence_errors
from fast_style.cli.multirun import multirun_config

if TYPE_CHECKING:
    from fast_style.training.run import TrainingResult


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@one_sentence_errors
def main(cfg: DictConfig) -> "TrainingResult":
    """Train, then print losses and file names. With `-m`, `SweepReport` reads the result."""
    check_keys(cfg, "train")
    from fast_style.training.run import run

    outcome = run(multirun_config(cfg), HydraConfig.get().overrides.task)
    if not outcome.first:
        return outcome
    if outcome.unreadable:
        print(f"{len(outcome.unreadable)} image files could not be read: {', '.join(outcome.unreadable)}")
    print(f"Losses:      {', '.join(f'{k} {v:.4g}' for k, v in outcome.metrics.items() if '/total' in k)}")
    for file in outcome.network_files:
        print(f"Model:       {file}")
    print(f"Use it:      python scripts/stylize.py ckpt={outcome.network_file} input=photo.jpg")
    print(f"TensorBoard: tensorboard --logdir {outcome.folder}")
    return outcome


if __name__ == "__main__":
    main()
