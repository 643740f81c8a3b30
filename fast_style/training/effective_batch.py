"""Effective batch size, and the learning rate that follows it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import pytorch_lightning as pl

Rule = Literal["constant", "sqrt", "linear"]


@dataclass(frozen=True, kw_only=True)
class EffectiveBatch:
    """The batch of one optimiser step, over all processes and accumulated gradients.

    Attributes:
        photos: photos per process and backward pass.
        processes: processes on all machines.
        accumulated: backward passes per step.
        rule: how the learning rate follows the batch size: not at all, with the square root (which keeps the noise of
            Adam's steps), or linearly (Goyal et al. 2017, for SGD).
        reference: batch size that the learning rate is meant for.

    Raises:
        ValueError: an unknown rule, or a reference below 1.
    """

    photos: int
    processes: int = 1
    accumulated: int = 1
    rule: Rule = "constant"
    reference: int = 4

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"lr_rule is one of {', '.join(get_args(Rule))}; got {self.rule!r}.")
        if self.reference < 1:
            raise ValueError(f"lr_reference_batch is at least 1; got {self.reference}.")

    @property
    def size(self) -> int:
        """Photos per optimiser step."""
        return self.photos * self.processes * self.accumulated

    @property
    def factor(self) -> float:
        """Factor of the learning rate."""
        ratio = self.size / self.reference
        return {"constant": 1.0, "sqrt": math.sqrt(ratio), "linear": ratio}[self.rule]

    def as_recipe(self) -> dict[str, Any]:
        """All fields, the size and the factor, for the network file."""
        return asdict(self) | {"size": self.size, "lr_factor": self.factor}

    def sentence(self, rate: float | None) -> str:
        """One sentence for the log; `rate` is the learning rate before the rule, or None."""
        parts = [f"{self.photos} photos"]
        parts += [f"{self.processes} processes"] if self.processes > 1 else []
        parts += [f"{self.accumulated} accumulated"] if self.accumulated > 1 else []
        batch = f"Effective batch {self.size}" + (f" = {' x '.join(parts)}" if len(parts) > 1 else "")
        if rate is None:
            return f"{batch}."
        scaled = f"{rate:g}" if self.rule == "constant" else f"{rate:g} x {self.factor:.3g}"
        against = "" if self.rule == "constant" else f", reference batch {self.reference}"
        return f"{batch}; learning rate {scaled} (lr_rule={self.rule}{against})."


def shared_batch(size: int, *, processes: int, accumulated: int, **rule: Any) -> EffectiveBatch:
    """Divide an effective batch of `size` photos evenly among processes and accumulated backward passes.

    Args:
        size: photos per optimiser step.
        processes: processes on all machines.
        accumulated: backward passes per step.
        **rule: `rule` and `reference` of `EffectiveBatch`.

    Raises:
        ValueError: no even shares.
    """
    photos, rest = divmod(size, processes * accumulated)
    if rest or not photos:
        passes = f" and {accumulated} accumulated batches" if accumulated > 1 else ""
        count = f"{processes} processes" if processes > 1 else "1 process"
        possible = [number for number in range(1, size // accumulated + 1) if size % (number * accumulated) == 0]
        others = f"start one of {_listed(possible)} processes, or " if possible else ""
        raise ValueError(
            f"An effective batch of {size} photos can't be shared evenly by {count}{passes}: {others}set "
            "trainer.accumulate_grad_batches; a new run can set batch to a multiple of all."
        )
    return EffectiveBatch(photos=photos, processes=processes, accumulated=accumulated, **rule)


def saved_batch(checkpoint: Mapping[str, Any]) -> EffectiveBatch | None:
    """The effective batch of a checkpoint's run; None in a checkpoint without one."""
    saved = checkpoint.get("callbacks", {}).get(BatchSizeCheck.__qualname__)
    return EffectiveBatch(**saved) if saved else None


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


class BatchSizeCheck(pl.Callback):
    """Saves the effective batch in checkpoints, and lets a run resume with other processes if the batch is equal.

    The position in the data is counted in photos, so only the photos per step must be equal: the learning rate and the
    order depend on them.

    Args:
        batch: of this run.
        per_process_state: what each process keeps for itself, such as "image pools". Nobody could continue the part of
            a missing process, so processes and accumulated batches must be equal too. Empty if there is nothing.
    """

    def __init__(self, batch: EffectiveBatch, *, per_process_state: str = "") -> None:
        self.batch, self.per_process_state = batch, per_process_state

    def state_dict(self) -> dict[str, Any]:
        """The three numbers that determine the batch size."""
        return {"photos": self.batch.photos, "processes": self.batch.processes, "accumulated": self.batch.accumulated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare the saved batch with this run's.

        Raises:
            ValueError: they differ.
        """
        then = EffectiveBatch(**state_dict)
        if then.size != self.batch.size:
            raise ValueError(
                "A run cannot resume with another effective batch, because it would see other photos. Saved: "
                f"{then.sentence(None)} Now: {self.batch.sentence(None)} Leave out batch, or start a new run."
            )
        if self.per_process_state and state_dict != self.state_dict():
            raise ValueError(
                f"This run can resume only with the same processes, because each process keeps its own "
                f"{self.per_process_state}. Saved: {then.sentence(None)} Now: {self.batch.sentence(None)} Restore "
                "trainer.devices, trainer.num_nodes and trainer.accumulate_grad_batches, or start a new run."
            )

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restate Lightning's number of batches, which steps and validations follow, for other accumulated batches."""
        saved = saved_batch(checkpoint)
        if saved is None or saved.accumulated == self.batch.accumulated:
            return
        more = checkpoint["global_step"] * (self.batch.accumulated - saved.accumulated)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            counts |= {name: number + more for name, number in counts.items()}
