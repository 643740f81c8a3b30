"""Distillation (Hinton et al. 2015; Romero et al. 2015): train a small loss network on the features of a large one."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fast_style.methods.distillation.hard_examples import HardExamples
from fast_style.methods.distillation.loss import DistillationLoss
from fast_style.methods.ema import MovingAverage
from fast_style.methods.metrics import MeanTerms, is_seen, named_losses
from fast_style.methods.nonfinite import propagate_nonfinite, skip_unless_finite
from fast_style.networks.loss_network import check_names
from fast_style.networks.student import Student


class DistillationModule(nn.Module):
    """The student and its loss: all trainable weights in one module, so that one graph is compiled."""

    def __init__(self, student: Student, loss: DistillationLoss) -> None:
        super().__init__()
        self.student, self.loss = student, loss

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the unweighted loss terms of images `(N, 3, H, W)` in 0..1."""
        terms: dict[str, Tensor] = self.loss(self.student, pictures)
        return terms


class DistillationMethod(pl.LightningModule):
    """Train a student network to match the features of its teacher.

    Args:
        student: the network to train.
        loss: names and weighs the terms. It holds the teacher and the trainable heads.
        optimizer: builds the optimiser from parameters.
        schedule: builds a learning-rate schedule from an optimiser; it steps every training step. None: constant rate.
        average_decay: decay of the moving average (EMA) of the weights. Validation and the saved file use the average.
        hard_examples: replaces a part of each batch by images that fool the student. None trains on plain batches.
        origin: metadata of the saved file: `recipe`, `version`.
    """

    def __init__(
        self,
        *,
        student: Student,
        loss: DistillationLoss,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        average_decay: float = 0.999,
        hard_examples: HardExamples | None = None,
        origin: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.student_and_loss = DistillationModule(student, loss)
        self.make_optimizer, self.make_schedule = optimizer, schedule
        # Only trainable parts: the average must not hold a second copy of the teacher.
        self.average = MovingAverage(nn.ModuleDict({"student": student, "heads": loss.heads}), decay=average_decay)
        if hard_examples is not None:
            check_names(hard_examples.layers, student.names)
        self.hard_examples = hard_examples
        self.origin = origin or {}
        #: This process's losses of the newest batch, by the names they are logged under.
        self.newest: dict[str, Tensor] = {}
        self._trained, self._validated = MeanTerms(), MeanTerms()
        #: Whether the newest step was taken: its loss and gradient were finite.
        self.finite = torch.tensor(True)

    @property
    def network(self) -> Student:
        """The averaged student, which is validated and saved."""
        student = self.average.module.get_submodule("student")
        assert isinstance(student, Student)
        return student

    @property
    def heads(self) -> dict[str, nn.Conv2d]:
        """The averaged heads by layer name."""
        heads = self.average.module.get_submodule("heads")
        return {name: head for name, head in heads.named_children() if isinstance(head, nn.Conv2d)}

    def training_step(self, pictures: Tensor, batch_idx: int) -> Tensor:
        """Return the weighted loss of a batch `(N, 3, H, W)`."""
        if self.hard_examples is not None:
            speak = partial(self.student_and_loss.loss.projected_features, self.student_and_loss.student)
            with torch.compiler.set_stance("force_eager"):
                pictures = self.hard_examples(speak, pictures)
        self.newest, total = self._named("train", self.student_and_loss(pictures))
        if is_seen(self.trainer):
            self._trained.add(self.newest)
            if (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0:
                self.log_dict(self._trained.take())
        return propagate_nonfinite(total)

    def validation_step(self, pictures: Tensor, batch_idx: int) -> None:
        """Compute the losses with the averaged student and heads."""
        with torch.compiler.set_stance("force_eager"):
            terms = self.student_and_loss.loss(self.network, pictures, heads=self.heads)
            self._validated.add(self._named("val", terms)[0], weight=len(pictures))

    def on_validation_epoch_end(self) -> None:
        """Log the mean losses over the validation images of all ranks."""
        self.log_dict(self._validated.take())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step the optimiser, then update the average. A step with a non-finite gradient changes neither."""
        super().optimizer_step(*args, **kwargs)
        learning = nn.ModuleDict({"student": self.student_and_loss.student, "heads": self.student_and_loss.loss.heads})
        self.average.update_parameters(learning, taken=self.finite)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser of student and heads, and its schedule."""
        optimizer = self.make_optimizer(self.student_and_loss.parameters())
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined] # As in methods/perceptual.py.
        if self.make_schedule is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.make_schedule(optimizer), "interval": "step"},
        }

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log gradient norm and learning rate. Skip the step if the gradient is not finite."""
        norm = nn.utils.get_total_norm([p.grad for p in self.student_and_loss.parameters() if p.grad is not None])
        if is_seen(self.trainer):
            self.log("gradient_norm", norm)
            self.log(f"lr-{type(optimizer).__name__}", optimizer.param_groups[0]["lr"])
        self.finite = skip_unless_finite(optimizer, norm)

    def _named(self, stage: str, terms: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        return named_losses(stage, terms, self.student_and_loss.loss.weigh(terms))
