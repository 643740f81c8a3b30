"""Named losses on their way to the log: averaged on the device, over batches and over processes."""

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor


class MeanTerms:
    """Running means of named scalars; nothing of it makes the CPU wait for the device."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None

    def add(self, terms: Mapping[str, Tensor], weight: int = 1) -> None:
        """Take scalars in, the same names each time, as the mean of `weight` things."""
        ones = torch.ones(1, device=next(iter(terms.values())).device)
        sums = weight * torch.cat([torch.stack([term.detach().float() for term in terms.values()]), ones])
        self._names = tuple(terms)
        self._sums = sums if self._sums is None else self._sums + sums

    def take(self) -> dict[str, Tensor]:
        """The means of all that was added in all processes, in one collective; then start anew.

        Every process takes at the same time.
        """
        if self._sums is None:
            return {}
        sums, self._sums = self._sums, None
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(sums)
        return dict(zip(self._names, (sums[:-1] / sums[-1]).unbind(), strict=True))


def named_losses(
    stage: str, terms: Mapping[str, Tensor], weighted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """The losses by the names they are logged under, without gradients, and their weighted total.

    Weighted (`train/...`), so that the curves add up to the total; raw (`train_raw/...`), so that runs of other weights
    compare.
    """
    total = torch.stack(list(weighted.values())).sum()
    named = {f"{stage}/total": total}
    named |= {f"{stage}/{name}": term for name, term in weighted.items()}
    named |= {f"{stage}_raw/{name}": term for name, term in terms.items()}
    return {name: term.detach() for name, term in named.items()}, total


def is_seen(trainer: pl.Trainer) -> bool:
    """Whether somebody will see the losses of the coming step: those of the others need not be read."""
    step = trainer.global_step + 1
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined] # Lightning sets it elsewhere.
    return step % every == 0 or step == trainer.max_steps
