"""One run folder for all processes: rank 0 creates it, the other ranks use it."""

from collections.abc import Callable
from pathlib import Path

from fast_style.training.distributed.process_group import Processes


def agree_on_run_dir(processes: Processes, checkpoint: Path | None, make: Callable[[], Path]) -> Path:
    """Return the run's folder: that of `checkpoint`, or a new folder that rank 0 creates with `make`.

    Raises:
        ValueError: the processes found different checkpoints.
    """
    found = processes.all_gather(checkpoint)
    if len(set(found)) > 1:
        raise ValueError(
            f"The processes found different checkpoints to resume from ({found[0]} and others). Let all machines share "
            "the runs folder, and name one checkpoint with resume=..."
        )
    folder = checkpoint.parents[1] if checkpoint else processes.broadcast(make() if processes.first else None)
    assert folder is not None
    processes.advice = lambda: how_to_go_on(folder)
    return folder


def how_to_go_on(folder: Path) -> str:
    """Advice for a run that ended too early."""
    if any(folder.glob("checkpoints/*.ckpt")):
        return f"To continue from the last checkpoint, repeat the command with resume={folder}"
    return "There is no checkpoint yet: start again, with a smaller checkpoint_every."
