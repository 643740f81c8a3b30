"""A training step of johnson2016 through Lightning, against the published loop and our own step without Lightning."""

import statistics
import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from train import Loop, TakeTurns, plain_loop

from fast_style.methods.perceptual import PerceptualMethod
from fast_style.networks.transform_net import TransformNet
from gpu_parts.clock import chosen_device, wait
from gpu_parts.figures import Figures, sentence
from gpu_parts.peaks import share_of_peak
from gpu_parts.photos import photo_folder
from gpu_parts.training import RESIDENT, settings, train

#: Steps of ours before the first round, and those of each round that are not timed.
WARM_UP, UNTIMED = 8, 4
#: Seconds of a batch size beside compiling.
ROUNDS = 10.0


class Sides(TakeTurns):
    """Ours in turn with: our step without Lightning, the published loop as it is, and the same compiled in bfloat16.

    Args:
        figures: of the part; they know the time that is left.
        steps: steps per round of ours; the published loop takes a third of them.
        device: of the training.
        later: batch sizes that are still to be measured.
    """

    def __init__(self, figures: Figures, *, steps: int, device: torch.device, later: int) -> None:
        rounds = figures.sizes.rounds
        plain = max(1, steps // 3)
        super().__init__(rounds=rounds, steps=steps, plain_steps=plain, warm_up=WARM_UP, untimed=UNTIMED)
        self.figures, self.device, self.later = figures, device, later
        self.first_step = 0.0
        self.skipped: dict[str, str] = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock of the first step, which compiles."""
        if not self.first_step:
            wait(self.device)
            self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Stop the clock of the first step; take turns."""
        if not self.first_step:
            wait(self.device)
            self.first_step = time.perf_counter() - self._began
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def others(self, method: PerceptualMethod, batch: Tensor, precision: str) -> dict[str, tuple[Loop, int]]:
        """Build the other loops; the compiled one only if time is left."""
        sides = super().others(method, batch, precision)
        architecture = method.generator.architecture
        sides["plain"] = (plain_loop(batch.clone(), TransformNet(**architecture)), self.plain_steps)
        # Our first step says how long compiling takes. The other batch sizes come first.
        if self.figures.left() < (1 + self.later) * (1.2 * self.first_step + ROUNDS):
            self.skipped["plain_bf16_compiled"] = "No time was left to compile it."
            return sides
        compiled = plain_loop(batch.clone(), TransformNet(**architecture), half=True, compiled=True)
        try:
            compiled(3)
            sides["plain_bf16_compiled"] = (compiled, self.steps)
        except Exception as error:
            self.skipped["plain_bf16_compiled"] = sentence(error)
        return sides


def measure(figures: Figures) -> None:
    """Note the figures of each batch size, the smallest first, as johnson2016 uses it."""
    device = chosen_device(figures.sizes)
    photos = photo_folder(figures)
    peaks = figures.earlier.get("device", {})
    for place, batch in enumerate(figures.sizes.batches, 1):
        torch.compiler.reset()
        later = len(figures.sizes.batches) - place
        sides = Sides(figures, steps=figures.sizes.steps[batch], device=device, later=later)
        try:
            train(settings(figures, photos, batch=batch, steps=sides.all_steps, compile="true", **RESIDENT), sides)
        except torch.OutOfMemoryError as error:
            figures.note(f"batch {batch}", {"error": sentence(error)})
            continue
        figures.note(f"batch {batch}", figures_of(sides, batch, peaks))


def figures_of(sides: Sides, batch: int, peaks: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds per step of each side, ratios to ours, images a second, and shares of both peaks."""
    ours = sides.seconds["ours"]
    seconds = statistics.median(ours)
    found: dict[str, Any] = {
        "ours_ms": seconds * 1e3,
        "images_per_second": batch / seconds,
        "tflop_per_step": sides.flops / 1e12,
        "share_of_known_peak": share_of_peak(sides.flops, seconds, peaks.get("peak_tflops_known")),
        "share_of_measured_peak": share_of_peak(sides.flops, seconds, peaks.get("peak_tflops_measured")),
        "first_step_s": sides.first_step,
        "skipped": sides.skipped,
    }
    for name, other in sides.seconds.items():
        if name != "ours":
            ratios = [one / own for one, own in zip(other, ours, strict=True)]
            found[f"{name}_ms"] = statistics.median(other) * 1e3
            found[f"{name}_over_ours"] = statistics.median(ratios)
            found[f"{name}_over_ours_range"] = [min(ratios), max(ratios)]
    return found
