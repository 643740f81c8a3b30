"""Distil a small loss network from a large one: python scripts/distill.py loss_network=vgg19 (see --help)."""

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fast_style.cli.errors import check_keys, one_sentence_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="distill")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Train the student, then print its errors and where its files are."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ValueError("scripts/distill.py trains one student per run; got -m: leave it out.")
    check_keys(cfg, "distill")
    from fast_style.training.run import run

    outcome = run(cfg, HydraConfig.get().overrides.task)
    if not outcome.first:
        return
    if outcome.unreadable:
        print(f"{len(outcome.unreadable)} images could not be read: {', '.join(outcome.unreadable)}")
    print(f"Errors:      {', '.join(f'{k} {v:.4g}' for k, v in outcome.metrics.items() if k.startswith('val_raw/'))}")
    print(f"Student:     {outcome.network_file}")
    print(f"Use it:      python scripts/train.py loss_network=builtin loss_network.weights={outcome.network_file}")
    print(f"TensorBoard: tensorboard --logdir {outcome.folder}")


if __name__ == "__main__":
    main()
