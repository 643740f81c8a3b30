"""Johnson et al. (2016): train a network to paint any photo in one style."""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fast_style.losses.perceptual import PerceptualLoss
from fast_style.losses.stability import Stability
from fast_style.methods.ema import MovingAverage
from fast_style.methods.metrics import MeanTerms, is_seen, named_losses
from fast_style.methods.nonfinite import propagate_nonfinite, skip_unless_finite
from fast_style.networks.generator import Generator
from fast_style.networks.serialization import describe


class PerceptualMethod(pl.LightningModule):
    """A generator under a perceptual loss.

    Args:
        generator: the network that learns to paint.
        loss: names and weighs the terms.
        optimizer: makes the optimiser of given parameters.
        schedule: makes a learning-rate schedule of an optimiser, stepped every training step; None keeps it constant.
        average_decay: of the moving average of the generator's weights, which is what validation sees and what is
            exported; 0 averages nothing.
        noise_std: standard deviation of the noise (images are in 0..1) on the photos that the generator is given;
            content is compared without it.
        stability: a term that holds paintings still while photos move; None trains without.
        origin: text by name that every saved network carries: `style`, `recipe`, `version`.

    Raises:
        ValueError: noise_std below 0.
    """

    def __init__(
        self,
        *,
        generator: Generator,
        loss: PerceptualLoss,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        average_decay: float = 0.999,
        noise_std: float = 0.0,
        stability: Stability | None = None,
        origin: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        if not noise_std >= 0:
            raise ValueError(f"method.noise_std is the deviation of noise, 0 or more; got {noise_std}.")
        self.generator = generator
        self.loss = loss
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.average = MovingAverage(generator, decay=average_decay)
        self.noise_std, self.stability = noise_std, stability
        self.origin = origin or {}
        #: This process's losses of the newest batch, by the names they are logged under.
        self.newest: dict[str, Tensor] = {}
        self._trained, self._validated = MeanTerms(), MeanTerms()
        #: Whether the newest step was taken: its loss and gradient were finite.
        self.finite = torch.tensor(True)

    @property
    def network(self) -> Generator:
        """The averaged generator: what is looked at, validated and exported."""
        averaged = self.average.module
        assert isinstance(averaged, Generator)
        return averaged

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """Paint a batch `(N, 3, H, W)` and return how far it is from its content and the style."""
        seed = self._seed(batch_idx)
        painted = self.generator(add_noise(photos, self.noise_std, seed=seed))
        terms = self.loss(painted, photos)
        weighted = self.loss.weigh(terms)
        if self.stability is not None and self.stability.weight:
            terms["stability"] = self.stability(self.generator, photos, painted, seed=seed)
            weighted["stability"] = self.stability.weight * terms["stability"]
        self.newest, total = named_losses("train", terms, weighted)
        self._log_train(self.newest, batch_idx)
        return propagate_nonfinite(total)

    def validation_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """The same with the averaged generator; returns what it painted."""
        # Not compiled: a few photos now and then would not repay a second compilation, without gradients.
        with torch.compiler.set_stance("force_eager"):
            painted: Tensor = self.network(photos)
            terms = self.loss(painted, photos)
            self._validated.add(named_losses("val", terms, self.loss.weigh(terms))[0], weight=len(photos))
        return painted

    def on_validation_epoch_end(self) -> None:
        """Log the means over the held-out photos of all processes."""
        self.log_dict(self._validated.take())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then let the average follow; a step that is not finite changes neither."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.generator, taken=self.finite)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over the generator's parameters alone, and its schedule."""
        optimizer = self.make_optimizer(self.generator.parameters())
        # A fused one offers to undo GradScaler's scaling within its step; Lightning then refuses to clip, with
        # bf16-mixed too, and the norm below would be that of the scaled gradients.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        if self.make_schedule is None:
            return optimizer
        schedule = self.make_schedule(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Look at the gradient's norm, before any clipping: log it, and skip a step where it is not finite.

        The learning rate is logged with it.
        """
        gradients = [p.grad for p in self.generator.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if is_seen(self.trainer):
            self.log("gradient_norm", norm)
            self.log(f"lr-{type(optimizer).__name__}", optimizer.param_groups[0]["lr"])
        self.finite = skip_unless_finite(optimizer, norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint serve as a network file too: it describes its averaged generator."""
        checkpoint["fast_style"] = {
            "metadata": describe(self.network, self.origin),
            "tensors": self.network.state_dict(),
        }

    def _seed(self, batch_idx: int) -> int:
        """What this batch's noise is drawn from."""
        accumulated = self.trainer.accumulate_grad_batches
        return noise_seed(self.global_step, part=self.global_rank * accumulated + batch_idx % accumulated)

    def _log_train(self, named: dict[str, Tensor], batch_idx: int) -> None:
        """Log the means over an effective batch, at those steps alone whose losses somebody will see."""
        if not is_seen(self.trainer):
            return
        self._trained.add(named)
        if (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0:
            self.log_dict(self._trained.take())


def noise_seed(step: int, *, part: int = 0) -> int:
    """A number for the noise of one batch, from 0 to below 2^31; a resumed run has the same ones again.

    Args:
        step: of the training.
        part: which of the batches that make the step, over all processes. The first batch of the first process is 0,
            and its number is the step's.
    """
    # Multiples of an odd number near 2^32 over the golden ratio lie far apart, so no part meets another one's steps.
    # Not in the upper bits: the CPU's generator takes the lower 32 alone.
    return (step + part * 0x9E3779B1) % 2**31


def add_noise(photos: Tensor, deviation: float, *, seed: int) -> Tensor:
    """Add normal noise, new for each batch.

    Every painting has to have the style's statistics, that of a smooth photo too, and a generator without noise learns
    to make strokes and dots of what is left there: the faintest noise, or the blocks of a JPEG file, so that they come
    in rows. One that learns on noise cannot tell the photo's own from it, and lets both be. Our departure from Johnson
    et al.; texture networks (Ulyanov et al. 2016) are given noise for strokes to begin from, when they paint too.

    Args:
        photos: `(N, 3, H, W)`.
        deviation: of the noise, of 1; 0 leaves photos as they are.
        seed: from 0 to below 2^31; see `noise_seed`.
    """
    if not deviation:
        return photos
    # Another one than that of stability.py, whose shift and noise it would follow.
    random = torch.Generator(photos.device).manual_seed(2**31 + seed)
    noise = torch.randn(photos.shape, generator=random, device=photos.device, dtype=photos.dtype)
    return photos + deviation * noise.contiguous(memory_format=torch.channels_last)
