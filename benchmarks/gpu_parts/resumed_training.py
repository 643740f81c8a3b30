"""The training that `resuming` kills and resumes: python -m gpu_parts.resumed_training REQUEST."""

import json
import os
import sys
import time
from pathlib import Path

import pytorch_lightning as pl
from torch import Tensor

from gpu_parts.figures import Figures
from gpu_parts.photos import photo_folder
from gpu_parts.sizes import DRY, Sizes
from gpu_parts.training import settings, train


class Tell(pl.Callback):
    """Appends number and time of each finished step to a file."""

    def __init__(self, file: str) -> None:
        self.file = open(file, "a", buffering=1)  # noqa: SIM115 - open until the process ends

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Write a line."""
        self.file.write(json.dumps({"step": trainer.global_step, "time": time.time()}) + "\n")


def main() -> None:
    """Train with resume=auto."""
    request = json.loads(sys.argv[1])
    sizes = DRY if request["dry"] else Sizes()
    folder = Path(request["folder"])
    figures = Figures(folder / "unused.json", sizes, folder, {}, limit=0)
    overrides = settings(
        figures,
        photo_folder(figures),
        batch=sizes.batches[0],
        steps=sizes.resume_steps,
        compile="false",
        resume="auto",
        checkpoint_every=sizes.checkpoint_every,
        **{"data.workers": 1 if sizes.dry else os.cpu_count(), "runs": folder / "resume"},
    )
    train(overrides, Tell(request["told"]))


if __name__ == "__main__":
    main()
