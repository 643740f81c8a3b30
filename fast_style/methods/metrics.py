"""Means of named losses for the log, computed on the device over batches and ranks."""

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor


class MeanTerms:
    """Running means of named scalars that never make the CPU wait for the device.

    torchmetrics' `MeanMetric` needs a collective for each name, and waits for the device to look for NaN.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None

    def add(self, terms: Mapping[str, Tensor], weight: int = 1) -> None:
        """Add scalars, each the mean over `weight` items. Every call must use the same names."""
        ones = torch.ones(1, device=next(iter(terms.values())).device)
        sums = weight * torch.cat([torch.stack([term.detach().float() for term in terms.values()]), ones])
        self._names = tuple(terms)
        self._sums = sums if self._sums is None else self._sums + sums

    def take(self) -> dict[str, Tensor]:
        """Return the means over all ranks with one collective, and reset the sums.

        All ranks must call this at the same time.
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
    """Return the losses by their log names, without gradients, and the weighted total.

    The weighted losses (`train/...`) add up to the total. The raw losses (`train_raw/...`) allow a comparison of runs
    with other weights.
    """
    total = torch.stack(list(weighted.values())).sum()
    named = {f"{stage}/total": total}
    named |= {f"{stage}/{name}": term for name, term in weighted.items()}
    named |= {f"{stage}_raw/{name}": term for name, term in terms.items()}
    return {name: term.detach() for name, term in named.items()}, total


def is_seen(trainer: pl.Trainer) -> bool:
    """Return whether the coming step is logged. Losses of other steps need not be read."""
    step = trainer.global_step + 1
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined] # Lightning sets it elsewhere.
    return step % every == 0 or step == trainer.max_steps
