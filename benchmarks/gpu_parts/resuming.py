"""A training is killed by kill -9 and resumed with resume=auto; both are processes of their own."""

import json
import subprocess
import sys
import time
from typing import Any

from gpu_parts.figures import Figures
from gpu_parts.running import environment


def measure(figures: Figures) -> None:
    """Note where the first training was killed and where the second one went on."""
    sizes = figures.sizes
    first = Training(figures, "first")
    try:
        first.wait_for(sizes.kill_after)
    finally:
        first.process.kill()
        first.process.wait()
    killed, killed_at = time.time(), first.steps()[-1]["step"]
    figures.note("killed_after_step", killed_at)
    second = Training(figures, "second")
    try:
        second.wait_for(sizes.resume_steps)
        code = second.process.wait(timeout=max(1.0, figures.left()))
    finally:
        second.process.kill()
        second.process.wait()
    steps = second.steps()
    expected = killed_at // sizes.checkpoint_every * sizes.checkpoint_every
    resumed_at = steps[0]["step"] - 1
    figures.note("resumed_at_step", resumed_at)
    # The next step's checkpoint may have been finished just before the kill, and its line not.
    right = resumed_at == expected or (resumed_at == killed_at + 1 and resumed_at % sizes.checkpoint_every == 0)
    figures.note("at_the_right_step", right)
    figures.note("lost_steps", killed_at - resumed_at)
    figures.note("seconds_from_kill_to_next_step", steps[0]["time"] - killed)
    figures.note("seconds_from_start_to_first_step", first.steps()[0]["time"] - first.started)
    numbers = [step["step"] for step in steps]
    figures.note("every_step_once", numbers == list(range(resumed_at + 1, sizes.resume_steps + 1)))
    figures.note("exit_code", code)
    if code != 0 or not figures.values["at_the_right_step"] or not figures.values["every_step_once"]:
        raise RuntimeError("The resumed training did not continue as it should; see the figures and the log.")


class Training:
    """A process that trains and writes a line after each step."""

    def __init__(self, figures: Figures, name: str) -> None:
        self.figures = figures
        self.told = figures.folder / f"{name}.steps"
        self.told.touch()
        self.started = time.time()
        request = {"folder": str(figures.folder), "told": str(self.told), "dry": figures.sizes.dry}
        # In the group of this part, so that it ends with it.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gpu_parts.resumed_training", json.dumps(request)],
            env=environment(figures.folder, dry=figures.sizes.dry),
        )

    def steps(self) -> list[dict[str, Any]]:
        """Number and time of the steps so far; the last line may be unfinished."""
        return [json.loads(line) for line in self.told.read_text().split("\n")[:-1]]

    def wait_for(self, step: int) -> None:
        """Wait until a step is done.

        Raises:
            RuntimeError: the process ended before.
        """
        while True:
            over = self.process.poll() is not None
            steps = self.steps()
            if steps and steps[-1]["step"] >= step:
                return
            if over:
                raise RuntimeError(f"The training ended before step {step}; the log has its last lines.")
            time.sleep(0.02)
