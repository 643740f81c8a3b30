"""Johnson et al. (2016): train a network to paint any photo in one style."""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from fast_style.losses.perceptual import PerceptualLoss
from fast_style.networks.saved import describe
from fast_style.networks.transform_net import TransformNet


class PerceptualMethod(pl.LightningModule):
    """A generator under a perceptual loss.

    Args:
        generator: the network that learns to paint.
        loss: names and weighs the terms.
        optimizer: makes the optimiser of given parameters.
        schedule: makes a learning-rate schedule of an optimiser, stepped every training step; None keeps it constant.
        average_decay: of the moving average of the generator's weights, which is what validation sees and what is
            exported; 0 averages nothing.
        origin: text by name that every saved network carries: `style`, `recipe`, `version`.
    """

    def __init__(
        self,
        *,
        generator: TransformNet,
        loss: PerceptualLoss,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        average_decay: float = 0.999,
        origin: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= average_decay < 1:
            raise ValueError(f"average_decay is from 0 to below 1; got {average_decay}.")
        self.generator = generator
        self.loss = loss
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.average = AveragedModel(generator, multi_avg_fn=_moving_average(average_decay))
        self.average.requires_grad_(False)
        self.origin = origin or {}

    @property
    def network(self) -> TransformNet:
        """The averaged generator: what is looked at, validated and exported."""
        averaged = self.average.module
        assert isinstance(averaged, TransformNet)
        return averaged

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """Paint a batch `(N, 3, H, W)` and return how far it is from its content and the style."""
        painted = self.generator(photos)
        terms = self.loss(painted, photos)
        return self._log_terms("train", terms)

    def validation_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """The same with the averaged generator; returns what it painted."""
        painted: Tensor = self.network(photos)
        self._log_terms("val", self.loss(painted, photos))
        return painted

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then let the average follow."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.generator)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over the generator's parameters alone, and its schedule."""
        optimizer = self.make_optimizer(self.generator.parameters())
        if self.make_schedule is None:
            return optimizer
        schedule = self.make_schedule(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient's norm, before any clipping."""
        gradients = [p.grad for p in self.generator.parameters() if p.grad is not None]
        self.log("gradient_norm", nn.utils.get_total_norm(gradients))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint serve as a network file too: it describes its averaged generator."""
        checkpoint["fast_style"] = {
            "metadata": describe(self.network, self.origin),
            "tensors": self.network.state_dict(),
        }

    def _log_terms(self, stage: str, terms: dict[str, Tensor]) -> Tensor:
        weighted = self.loss.weigh(terms)
        total = torch.stack(list(weighted.values())).sum()
        # Weighted, so that the curves add up to the total; raw, so that runs of other weights compare.
        self.log(f"{stage}/total", total.detach(), prog_bar=stage == "train")
        self.log_dict({f"{stage}/{name}": term.detach() for name, term in weighted.items()})
        self.log_dict({f"{stage}_raw/{name}": term.detach() for name, term in terms.items()})
        return total


def _moving_average(decay: float) -> Callable[..., None]:
    @torch.no_grad()
    def update(averages: list[Tensor], currents: list[Tensor], updates: Tensor | int) -> None:
        # The average forgets faster while it is young: otherwise short runs export their first steps.
        weight = 1 - min(decay, (1 + int(updates)) / (10 + int(updates)))
        torch._foreach_lerp_(averages, currents, weight)

    return update
