"""One folder for the run of many processes: the first one makes it, the others take it."""

from collections.abc import Callable
from pathlib import Path

from fast_style.training.distributed.process_group import Processes


def agree_on_run_dir(processes: Processes, checkpoint: Path | None, make: Callable[[], Path]) -> Path:
    """The run's folder: the one that `checkpoint` lies in, or a new one.

    Raises:
        ValueError: the processes found different checkpoints.
    """
    found = processes.all_gather(checkpoint)
    if len(set(found)) > 1:
        raise ValueError(
            f"The processes of this run found different checkpoints to go on from ({found[0]} and others); let all "
            "machines share the folder of the runs, and name one: resume=..."
        )
    folder = checkpoint.parents[1] if checkpoint else processes.broadcast(make() if processes.first else None)
    assert folder is not None
    processes.advice = lambda: how_to_go_on(folder)
    return folder


def how_to_go_on(folder: Path) -> str:
    """What a person can do after a run in that folder ended too early."""
    if any(folder.glob("checkpoints/*.ckpt")):
        return f"Everything up to the last checkpoint is saved; go on with the same command and resume={folder}"
    return "There was no checkpoint yet; start again, with a smaller checkpoint_every."
