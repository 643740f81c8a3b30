"""Named losses on their way to the log: averaged on the device, over batches and over processes."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor


class MeanTerms:
    """Running means of named scalars; nothing of it makes the processor wait for the device."""

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
