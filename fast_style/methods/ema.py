"""Moving average (EMA) of a network's weights, updated on the device without waiting for the CPU."""

import copy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of a network with averaged weights.

    It uses the state-dict names of torch's `AveragedModel`. That class reads its counter from the device three times a
    step, which stalls a GPU. Lightning's `WeightAveraging` also copies the loss network, because it averages all of a
    LightningModule.

    Args:
        network: the network to average.
        decay: share of the old average that an update keeps, from 0 (a plain copy) to below 1.
    """

    n_averaged: Tensor

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"average_decay must be at least 0 and below 1; got {decay}.")
        self.decay = decay
        self.module = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("n_averaged", torch.tensor(0))

    @torch.no_grad()
    def update_parameters(self, network: nn.Module, *, taken: Tensor | None = None) -> None:
        """Update the average after a step of the network.

        Args:
            network: a network of the same architecture.
            taken: boolean scalar on the device: whether the step was taken. False changes nothing; None means taken.
        """
        if taken is not None and taken.device.type == "cpu" and not taken:
            return  # Reading a CPU tensor is free. Below, 0 x NaN of broken weights would reach the average.
        taken = torch.ones_like(self.n_averaged) if taken is None else taken.to(self.n_averaged)
        kept = self._kept()
        kept = torch.where(taken.bool(), kept, torch.ones_like(kept))
        averages: list[Tensor] = list(self.module.parameters())
        steps: list[Tensor] = list(torch._foreach_mul([p.detach() for p in network.parameters()], (1 - kept).float()))
        # Multiply and add are exact for shares of 0 and 1; one lerp launch with a weight on the device is not.
        torch._foreach_mul_(averages, kept.float())
        torch._foreach_add_(averages, steps)
        self.n_averaged += taken

    def _kept(self) -> Tensor:
        """Return the share of the old average to keep: 0 at the first update, then rising to `decay`.

        With a constant share, the average of a short run would still hold its first steps.
        """
        before = self.n_averaged.double()
        return ((1 + before) / (10 + before)).clamp(max=self.decay) * (before > 0)
