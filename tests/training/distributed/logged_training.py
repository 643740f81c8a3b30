"""A training that logs which photos each process trains on: `logged_training.py FOLDER OVERRIDE...`, for torchrun."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from training_runs import composed

from fast_style.interrupts import Interrupted
from fast_style.training.run import run


class PhotoLog(pl.Callback):
    """Appends a line per step to a file per process; a pause per step leaves time to disturb the run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.file = open(folder / f"{time.time():.3f}-{os.getpid()}.jsonl", "a")  # noqa: SIM115

    def on_train_batch_start(self, trainer: Any, *_: object) -> None:
        line = {"step": trainer.global_step + 1, "rank": trainer.global_rank, "count": trainer.world_size}
        line |= {"photos": [Path(name).name for name in trainer.datamodule.files_of()], "time": time.time()}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        time.sleep(0.1)


if __name__ == "__main__":
    overrides = sys.argv[2:]
    try:
        run(composed(overrides), overrides, callbacks=[PhotoLog(Path(sys.argv[1]))])
    except Interrupted as stop:
        sys.exit(128 + stop.signal_number)
