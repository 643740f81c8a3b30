"""The moving average of a network's weights, which follows on the device: no step waits for the CPU."""

import copy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of a network that follows it.

    torch's `AveragedModel` under the names it has in a state dict; that one reads its counter from the device three
    times a step.

    Args:
        network: what to follow.
        decay: share of itself that the average keeps in an update, from 0, a mere copy, to below 1.
    """

    n_averaged: Tensor

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"average_decay is from 0 to below 1; got {decay}.")
        self.decay = decay
        self.module = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("n_averaged", torch.tensor(0))

    @torch.no_grad()
    def update_parameters(self, network: nn.Module, *, taken: Tensor | None = None) -> None:
        """Follow a step of the network.

        Args:
            network: of the same architecture.
            taken: whether there was a step, a truth value on the device; False leaves everything as it is.
        """
        if taken is not None and taken.device.type == "cpu" and not taken:
            return  # Where looking costs nothing: below, 0 x NaN would reach the average from broken weights.
        taken = torch.ones_like(self.n_averaged) if taken is None else taken.to(self.n_averaged)
        kept = self._kept()
        kept = torch.where(taken.bool(), kept, torch.ones_like(kept))
        averages: list[Tensor] = list(self.module.parameters())
        steps: list[Tensor] = list(torch._foreach_mul([p.detach() for p in network.parameters()], (1 - kept).float()))
        # Both shares are exact at 0 and 1, which a lerp with a weight on the device would not be in one launch.
        torch._foreach_mul_(averages, kept.float())
        torch._foreach_add_(averages, steps)
        self.n_averaged += taken

    def _kept(self) -> Tensor:
        """The average's share of itself: nothing at first, and less while it is young.

        Otherwise short runs would export their first steps.
        """
        before = self.n_averaged.double()
        return ((1 + before) / (10 + before)).clamp(max=self.decay) * (before > 0)
