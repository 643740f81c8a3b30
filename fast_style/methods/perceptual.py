"""Johnson et al. (2016): train a network that stylizes any photo in one style."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fast_style.losses.perceptual import PerceptualLoss
from fast_style.losses.stability import Stability, shifted
from fast_style.methods.ema import MovingAverage
from fast_style.methods.metrics import MeanTerms, is_seen, named_losses
from fast_style.methods.nonfinite import propagate_nonfinite, skip_unless_finite
from fast_style.networks.generator import Generator
from fast_style.networks.serialization import describe


class PerceptualMethod(pl.LightningModule):
    """Train a generator with a perceptual loss.

    Args:
        generator: the network to train.
        loss: names and weighs the terms.
        optimizer: builds the optimiser from parameters.
        schedule: builds a learning-rate schedule from an optimiser; it steps every training step. None: constant rate.
        average_decay: decay of the moving average (EMA) of the generator's weights. Validation and export use the
            average. 0: no averaging.
        noise_std: standard deviation of the noise (images are in 0 to 1) on the photos that the generator gets. The
            content loss uses the photos without noise.
        loss_shift: largest random shift along each axis, in pixels, of the stylized images and the photos that the loss
            gets in training. Without it, a pixel always has the same place in the pooling windows of the loss
            network, so patterns on their grid, and other patterns along the border, may pay off. 0: none.
        stability: a loss term for stable output when photos shift or become noisy. None: no such term.
        origin: metadata of every saved network: `style`, `recipe`, `version`.

    Raises:
        ValueError: noise_std or loss_shift below 0.
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
        loss_shift: int = 0,
        stability: Stability | None = None,
        origin: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        if not noise_std >= 0:
            raise ValueError(f"method.noise_std (standard deviation of the noise) must be 0 or more; got {noise_std}.")
        if not loss_shift >= 0:
            raise ValueError(f"method.loss_shift (in pixels) must be 0 or more; got {loss_shift}.")
        self.generator = generator
        self.loss = loss
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.average = MovingAverage(generator, decay=average_decay)
        self.noise_std, self.loss_shift, self.stability = noise_std, loss_shift, stability
        self.origin = origin or {}
        #: This process's losses of the newest batch, by the names they are logged under.
        self.newest: dict[str, Tensor] = {}
        self._trained, self._validated = MeanTerms(), MeanTerms()
        #: Whether the newest step was taken: its loss and gradient were finite.
        self.finite = torch.tensor(True)

    @property
    def network(self) -> Generator:
        """The averaged generator, which is validated and exported."""
        averaged = self.average.module
        assert isinstance(averaged, Generator)
        return averaged

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """Stylize a batch of photos `(N, 3, H, W)` and return its weighted loss."""
        seed = self._seed(batch_idx)
        painted = self.generator(add_noise(photos, self.noise_std, seed=seed))
        terms = self.loss(*self._shifted(painted, photos, seed=seed))
        weighted = self.loss.weigh(terms)
        if self.stability is not None and self.stability.weight:
            terms["stability"] = self.stability(self.generator, photos, painted, seed=seed)
            weighted["stability"] = self.stability.weight * terms["stability"]
        self.newest, total = named_losses("train", terms, weighted)
        self._log_train(self.newest, batch_idx)
        return propagate_nonfinite(total)

    def validation_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """Compute the losses with the averaged generator. Returns the stylized images."""
        # Not compiled: validation has few photos, so a second compilation without gradients would not pay off.
        with torch.compiler.set_stance("force_eager"):
            painted: Tensor = self.network(photos)
            terms = self.loss(painted, photos)
            self._validated.add(named_losses("val", terms, self.loss.weigh(terms))[0], weight=len(photos))
        return painted

    def on_validation_epoch_end(self) -> None:
        """Log the mean losses over the validation photos of all ranks."""
        self.log_dict(self._validated.take())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step the optimiser, then update the average. A step with a non-finite gradient changes neither."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.generator, taken=self.finite)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser of the generator's parameters, and its schedule."""
        optimizer = self.make_optimizer(self.generator.parameters())
        # A fused optimiser offers to undo GradScaler's scaling within its step. Lightning then refuses to clip, even
        # with bf16-mixed, and the logged norm would be the norm of the scaled gradients.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        if self.make_schedule is None:
            return optimizer
        schedule = self.make_schedule(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log gradient norm, before clipping, and learning rate. Skip the step if the norm is not finite."""
        gradients = [p.grad for p in self.generator.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if is_seen(self.trainer):
            self.log("gradient_norm", norm)
            self.log(f"lr-{type(optimizer).__name__}", optimizer.param_groups[0]["lr"])
        self.finite = skip_unless_finite(optimizer, norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the averaged generator, so that the checkpoint also works as a network file."""
        checkpoint["fast_style"] = {
            "metadata": describe(self.network, self.origin),
            "tensors": self.network.state_dict(),
        }

    def _shifted(self, *pictures: Tensor, seed: int) -> list[Tensor]:
        """Shift all these batches by the same random number of pixels; the border is filled by reflection."""
        if not self.loss_shift:
            return list(pictures)
        # Not torch's generator: its first numbers are those of the noise or of the stability term.
        if min(pictures[0].shape[-2:]) <= self.loss_shift:
            raise ValueError(
                f"method.loss_shift must be below the side of the crop ({min(pictures[0].shape[-2:])} pixels); got "
                f"{self.loss_shift}. Use a smaller shift, or larger crops (data.size)."
            )
        numbers = random.Random(seed)
        down, right = (numbers.randint(-self.loss_shift, self.loss_shift) for _ in range(2))
        return [shifted(batch, down, right).contiguous(memory_format=torch.channels_last) for batch in pictures]

    def _seed(self, batch_idx: int) -> int:
        """Return the seed of this batch's noise."""
        accumulated = self.trainer.accumulate_grad_batches
        return noise_seed(self.global_step, part=self.global_rank * accumulated + batch_idx % accumulated)

    def _log_train(self, named: dict[str, Tensor], batch_idx: int) -> None:
        """Log the mean losses over an effective batch, only at logged steps."""
        if not is_seen(self.trainer):
            return
        self._trained.add(named)
        if (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0:
            self.log_dict(self._trained.take())


def noise_seed(step: int, *, part: int = 0) -> int:
    """Return the noise seed of one batch, from 0 to below 2^31. A resumed run gets the same seeds.

    Args:
        step: training step.
        part: index of the batch within the step, over all ranks and accumulated batches. For part 0 the seed is the
            step.
    """
    # Multiples of an odd number near 2^32 / golden ratio lie far apart, so the seeds of two parts do not overlap.
    # The upper 32 bits are of no use: the CPU's random generator ignores them.
    return (step + part * 0x9E3779B1) % 2**31


def add_noise(photos: Tensor, deviation: float, *, seed: int) -> Tensor:
    """Add normal noise, new for each batch, which keeps dots out of smooth areas.

    Every stylized image needs the style's statistics, even that of a smooth photo. Trained without noise, a generator
    makes strokes and dots from the faintest noise, or from JPEG blocks, so the dots stand in rows. Trained with noise,
    a generator cannot tell the photo's own noise from it and ignores both. Johnson et al. do not add noise. Texture
    networks (Ulyanov et al. 2016) also get noise at inference, as a seed for strokes; so do photos in
    `stylize/input_noise.py`.

    Args:
        photos: `(N, 3, H, W)` in 0..1.
        deviation: standard deviation of the noise (images are in 0 to 1); 0 returns the photos unchanged.
        seed: from 0 to below 2^31; see `noise_seed`.
    """
    if not deviation:
        return photos
    # Not the seed of stability.py: this noise would correlate with its shift and noise.
    generator = torch.Generator(photos.device).manual_seed(2**31 + seed)
    noise = torch.randn(photos.shape, generator=generator, device=photos.device, dtype=photos.dtype)
    return photos + deviation * noise.contiguous(memory_format=torch.channels_last)
