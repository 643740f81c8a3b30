"""How many photos a step sees in all, and what that makes of the learning rate."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import pytorch_lightning as pl

Rule = Literal["constant", "sqrt", "linear"]


@dataclass(frozen=True, kw_only=True)
class EffectiveBatch:
    """The batch of one optimiser step, over all processes and accumulated gradients.

    Attributes:
        photos: a process and backward pass.
        processes: over all machines.
        accumulated: backward passes a step.
        rule: how the learning rate follows the batch: not at all, with its square root (which keeps the noise of
            Adam's steps), or linearly (Goyal et al. 2017, for SGD).
        reference: the batch that the learning rate is made for.
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
        """Photos an optimiser step."""
        return self.photos * self.processes * self.accumulated

    @property
    def factor(self) -> float:
        """What the learning rate is multiplied with."""
        ratio = self.size / self.reference
        return {"constant": 1.0, "sqrt": math.sqrt(ratio), "linear": ratio}[self.rule]

    def as_recipe(self) -> dict[str, Any]:
        """All of it by name, for the network file."""
        return asdict(self) | {"size": self.size, "lr_factor": self.factor}

    def sentence(self, rate: float | None) -> str:
        """What was decided, for a person; `rate` is the learning rate before the rule."""
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
    """Keeps the effective batch in the checkpoint and refuses to go on with another.

    The place in the photos' order is counted in batches, and the learning rate may follow their size.
    """

    def __init__(self, batch: EffectiveBatch) -> None:
        self.batch = batch

    def state_dict(self) -> dict[str, Any]:
        """The three numbers that make the batch."""
        return {"photos": self.batch.photos, "processes": self.batch.processes, "accumulated": self.batch.accumulated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare.

        Raises:
            ValueError: the run was trained otherwise.
        """
        if state_dict != self.state_dict():
            then, now = (EffectiveBatch(**state).sentence(None) for state in (state_dict, self.state_dict()))
            raise ValueError(
                f"This run can't go on with another number of processes (then: {then} Now: {now}): it would see other "
                "photos; set trainer.devices and trainer.num_nodes as they were, or start another run."
            )
