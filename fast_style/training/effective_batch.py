"""Effective batch size, and the learning rate that follows it."""

import math
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


class BatchSizeCheck(pl.Callback):
    """Saves the effective batch in checkpoints and refuses to resume with another one.

    The position in the data order is counted in batches, and the learning rate may depend on the batch size.
    """

    def __init__(self, batch: EffectiveBatch) -> None:
        self.batch = batch

    def state_dict(self) -> dict[str, Any]:
        """The three numbers that determine the batch size."""
        return {"photos": self.batch.photos, "processes": self.batch.processes, "accumulated": self.batch.accumulated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare the saved batch with this run's.

        Raises:
            ValueError: they differ.
        """
        if state_dict != self.state_dict():
            then, now = (EffectiveBatch(**state).sentence(None) for state in (state_dict, self.state_dict()))
            raise ValueError(
                f"A run cannot resume with another effective batch, because it would see other photos. Saved: {then} "
                f"Now: {now} Restore trainer.devices, trainer.num_nodes and data.batch_size, or start a new run."
            )
