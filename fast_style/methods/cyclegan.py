"""CycleGAN (Zhu et al. 2017): translate between two unpaired image collections."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchvision.transforms.v2 import RandomCrop

from fast_style.losses import adversarial
from fast_style.methods.ema import MovingAverage
from fast_style.methods.image_pool import ImagePool
from fast_style.methods.metrics import MeanTerms, is_seen, named_losses
from fast_style.methods.nonfinite import propagate_nonfinite, skip_unless_finite
from fast_style.networks.blocks import init_normal_
from fast_style.networks.generator import Generator
from fast_style.networks.patch_discriminator import PatchDiscriminator
from fast_style.networks.serialization import describe

#: The authors' images are in -1..1, where absolute errors are twice as large. Their loss weights assume that range.
PAPER_VALUE_RANGE = 2.0


class Translation(NamedTuple):
    """A batch of both collections and the output of the generators, each `(N, 3, H, W)` in 0..1.

    Attributes:
        real_a, real_b: images of collections A and B.
        fake_b, fake_a: the translations of `real_a` and `real_b`.
        rec_a, rec_b: the reconstructions: `fake_b` and `fake_a` translated back.
        idt_a, idt_b: the identity mappings: `real_a` through the generator B to A, `real_b` through A to B. None if the
            identity loss has no weight.
    """

    real_a: Tensor
    real_b: Tensor
    fake_b: Tensor
    fake_a: Tensor
    rec_a: Tensor
    rec_b: Tensor
    idt_a: Tensor | None
    idt_b: Tensor | None

    def fake_of(self, side: str) -> Tensor:
        """Return the fake images of side `A` or `B`."""
        return self.fake_a if side == "A" else self.fake_b


class CycleGanMethod(pl.LightningModule):
    """Train two generators, inverse to each other, against two discriminators.

    Args:
        generators: the generator from A to B and the generator from B to A.
        discriminators: the discriminator of A and the discriminator of B.
        optimizer: builds an optimiser from parameters; called for the generators and for the discriminators.
        schedule: builds a learning-rate schedule from an optimiser; it steps every training step. None: constant rate.
        cycle_weight: weight of the cycle loss; lambda, 10 in the paper.
        identity_weight: weight of the identity loss as a share of `cycle_weight`; 0.5 in the paper. 0 skips its
            computation.
        pool_size: fake images per side that are kept for the discriminators (`ImagePool`).
        average_decay: decay of the moving average (EMA) of both generators' weights. Validation and export use the
            average: it levels out the circling of adversarial training (Yazici et al. 2019). 0 keeps no average, as
            in the paper.
        discriminator_shift: largest random shift, in pixels along each axis, of every image that a discriminator gets
            in training (Zhao et al. 2020, the translation of DiffAugment). Without a shift, a pixel of a fake image
            always has the same place in the discriminator's strides, so generators learn patterns on that grid. It
            also delays overfitting to small collections. 0 shifts nothing, as in the paper.
        init_std: standard deviation of the normal init of all convolutions; 0.02 in the paper.
        seed: seed of the image pools.
        origin: metadata of every saved network: `style`, `recipe`, `version`.

    Raises:
        ValueError: not two generators and two discriminators, or a setting outside of its range.
    """

    def __init__(
        self,
        *,
        generators: Sequence[Generator],
        discriminators: Sequence[PatchDiscriminator],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        cycle_weight: float = 10.0,
        identity_weight: float = 0.5,
        pool_size: int = 50,
        average_decay: float = 0.0,
        discriminator_shift: int = 0,
        init_std: float = 0.02,
        seed: int = 0,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        if len(generators) != 2 or len(discriminators) != 2:
            raise ValueError(
                f"CycleGAN needs 2 generators and 2 discriminators; got {len(generators)} and {len(discriminators)}."
            )
        if min(cycle_weight, identity_weight) < 0:
            raise ValueError(
                "method.cycle_weight and method.identity_weight must be 0 or more; got "
                f"{cycle_weight} and {identity_weight}."
            )
        if discriminator_shift < 0:
            raise ValueError(f"method.discriminator_shift (in pixels) must be 0 or more; got {discriminator_shift}.")
        self.automatic_optimization = False
        self.a2b, self.b2a = generators
        self.disc_a, self.disc_b = discriminators
        for generator in generators:
            generator.init_normal_(init_std)
        for discriminator in discriminators:
            init_normal_(discriminator, std=init_std)
        # After the init: the average starts as a copy.
        self.average = MovingAverage(nn.ModuleDict(self._learning), decay=average_decay) if average_decay else None
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.discriminator_shift = discriminator_shift
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.seed = seed
        self.pools = {side: ImagePool(pool_size, seed=seed) for side in "AB"}
        self.origin = dict(origin or {})
        #: This process's losses of the newest batch, by the names they are logged under.
        self.newest: dict[str, Tensor] = {}
        self._trained, self._validated = MeanTerms(), MeanTerms()
        #: Whether the newest step was taken: its losses and gradients were finite.
        self.finite = torch.tensor(True)

    @property
    def networks(self) -> dict[str, Generator]:
        """The generators by direction, averaged if there is an average; these are validated and saved."""
        return self._learning if self.average is None else _by_direction(*self.average.module.children())

    @property
    def _learning(self) -> dict[str, Generator]:
        """The generators that the optimiser steps, by direction."""
        return _by_direction(self.a2b, self.b2a)

    def origin_of(self, direction: str) -> dict[str, str]:
        """Return the metadata of the network file of direction `A2B` or `B2A`."""
        style = f"{self.origin.get('style', 'translation')}_{direction}"
        return {**self.origin, "style": style, "direction": direction, "input": "RGB (sRGB), 0 to 1"}

    def setup(self, stage: str) -> None:
        """Seed each pool of each rank differently. Lightning calls this before it loads a checkpoint."""
        for number, pool in enumerate(self.pools.values()):
            pool.reseed(random.Random(f"{self.seed}/{number}/{self.global_rank}").getrandbits(32))

    def training_step(self, pictures: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Step all four networks on a batch `(N, 2, 3, H, W)`: images of A and images of B."""
        seen = is_seen(self.trainer)
        batch = self._translate(pictures, self._learning)
        pooled = {side: pool.exchange(batch.fake_of(side)) for side, pool in self.pools.items()}
        terms, rates = self._terms(batch, pooled)
        self.newest, total = named_losses("train", terms, self._weighted(terms))
        if seen:
            self._trained.add(self.newest | {f"accuracy/{name}": rate for name, rate in rates.items()})
            self.log_dict(self._trained.take())
        self._step(propagate_nonfinite(total), seen=seen)
        return {"loss": total.detach()}

    def validation_step(self, pictures: Tensor, batch_idx: int) -> dict[str, list[Tensor]]:
        """Compute the losses of validation images, with the averaged generators if there is an average.

        Returns:
            Columns of the image grid by side: image, translation, reconstruction and, if computed, identity mapping.
        """
        # Not compiled: validation has few images, so a second compilation without gradients would not pay off.
        with torch.compiler.set_stance("force_eager"):
            batch = self._translate(pictures, self.networks)
            terms, rates = self._terms(batch, {side: batch.fake_of(side) for side in "AB"})
        named, _ = named_losses("val", terms, self._weighted(terms))
        named |= {f"val_accuracy/{name}": rate for name, rate in rates.items()}
        self._validated.add(named, weight=len(pictures))
        columns = {"A": [batch.real_a, batch.fake_b, batch.rec_a], "B": [batch.real_b, batch.fake_a, batch.rec_b]}
        if batch.idt_a is not None and batch.idt_b is not None:
            columns["A"].append(batch.idt_a)
            columns["B"].append(batch.idt_b)
        return columns

    def on_validation_epoch_end(self) -> None:
        """Log the mean losses over the validation images of all ranks."""
        self.log_dict(self._validated.take())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimisers of generators and discriminators, in this order, and their schedules."""
        pairs = ((self.a2b, self.b2a), (self.disc_a, self.disc_b))
        optimizers = [self.make_optimizer([p for network in pair for p in network.parameters()]) for pair in pairs]
        return optimizers, [self.make_schedule(optimizer) for optimizer in optimizers] if self.make_schedule else []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the image pools of all ranks, and the A2B network: the checkpoint also works as its network file."""
        pools = {side: pool.state_dict() for side, pool in self.pools.items()}
        # All ranks call this, and their pools have equal sizes.
        checkpoint["image_pools"] = {
            side: {name: self._of_all_processes(tensor) for name, tensor in state.items()}
            for side, state in pools.items()
        }
        network = self.networks["A2B"]
        checkpoint["fast_style"] = {
            "metadata": describe(network, self.origin_of("A2B")),
            "tensors": network.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the image pools of this rank."""
        for side, state in checkpoint["image_pools"].items():
            if len(state["random"]) != self.trainer.world_size:
                return  # Another number of processes: effective_batch.py refuses that with a better message.
            self.pools[side].load_state_dict({name: of_all[self.global_rank] for name, of_all in state.items()})

    def _translate(self, pictures: Tensor, networks: Mapping[str, Generator]) -> Translation:
        a2b, b2a = networks["A2B"], networks["B2A"]
        real_a, real_b = (side.contiguous(memory_format=torch.channels_last) for side in pictures.unbind(1))
        fake_b, fake_a = a2b(real_a), b2a(real_b)
        rec_a, rec_b = b2a(fake_b), a2b(fake_a)
        # Separate calls: one larger batch would need a second compilation.
        idt = (b2a(real_a), a2b(real_b)) if self.identity_weight else (None, None)
        return Translation(real_a, real_b, fake_b, fake_a, rec_a, rec_b, *idt)

    def _terms(self, batch: Translation, pooled: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return all unweighted losses, and the accuracy of the discriminators (0 to 1) on real and fake images."""
        with frozen(self.disc_a, self.disc_b):
            terms = {
                "gan_AB": adversarial.least_squares_generator(self.disc_b(self._shifted(batch.fake_b))),
                "gan_BA": adversarial.least_squares_generator(self.disc_a(self._shifted(batch.fake_a))),
            }
        terms["cycle_A"] = adversarial.cycle_consistency(batch.rec_a, batch.real_a)
        terms["cycle_B"] = adversarial.cycle_consistency(batch.rec_b, batch.real_b)
        if batch.idt_a is not None and batch.idt_b is not None:
            terms["identity_A"] = adversarial.identity(batch.idt_a, batch.real_a)
            terms["identity_B"] = adversarial.identity(batch.idt_b, batch.real_b)
        rates: dict[str, Tensor] = {}
        for side, discriminator, real in (("A", self.disc_a, batch.real_a), ("B", self.disc_b, batch.real_b)):
            of_real = discriminator(self._shifted(real))
            of_fake = discriminator(self._shifted(pooled[side].detach()))
            terms[f"discriminator_{side}"] = adversarial.least_squares_discriminator(of_real, of_fake)
            rates[f"real_{side}"] = adversarial.accuracy(of_real, real=True)
            rates[f"fake_{side}"] = adversarial.accuracy(of_fake, real=False)
        return terms, rates

    def _shifted(self, pictures: Tensor) -> Tensor:
        """Return what a discriminator gets: in training, the pictures shifted at random, their border mirrored."""
        if not (self.training and self.discriminator_shift):
            return pictures
        size = pictures.shape[-2:]
        shifted: Tensor = RandomCrop(size, padding=self.discriminator_shift, padding_mode="reflect")(pictures)
        return shifted

    def _weighted(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        cycle = PAPER_VALUE_RANGE * self.cycle_weight
        weights = {"gan": 1.0, "discriminator": 1.0, "cycle": cycle, "identity": cycle * self.identity_weight}
        return {name: weights[name.split("_")[0]] * term for name, term in terms.items()}

    def _step(self, total: Tensor, *, seen: bool) -> None:
        """Step generators and discriminators after one backward pass.

        The authors step the generators before they compute the discriminator losses. These losses use fake images from
        before that step, and the generator losses use discriminators from before theirs. So one backward pass through
        both gives the same gradients, and ranks exchange them once.
        """
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(total)
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None])
        for optimizer in optimizers:
            self.finite = skip_unless_finite(optimizer.optimizer, norm)
        if seen:
            self.log("gradient_norm", norm)
            self.log(f"lr-{type(optimizers[0].optimizer).__name__}", optimizers[0].param_groups[0]["lr"])
        of_generators, of_discriminators = optimizers
        # Lightning counts a step for every call of its optimiser wrapper. With the wrapper for only one optimiser,
        # global_step counts training steps, and so do run length, checkpoints and curves.
        of_generators.step()
        of_discriminators.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(nn.ModuleDict(self._learning), taken=self.finite)
        schedules = self.lr_schedulers() or []
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            assert isinstance(schedule, LRScheduler)
            schedule.step()

    def _of_all_processes(self, tensor: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return tensor[None]
        # Not self.device: after a run Lightning moves the networks to the CPU, where NCCL cannot gather.
        mine = tensor.to(self.trainer.strategy.root_device).contiguous()
        of_all = [torch.empty_like(mine) for _ in range(self.trainer.world_size)]
        dist.all_gather(of_all, mine)
        return torch.stack(of_all).cpu()


def _by_direction(a2b: nn.Module, b2a: nn.Module) -> dict[str, Generator]:
    assert isinstance(a2b, Generator)
    assert isinstance(b2a, Generator)
    return {"A2B": a2b, "B2A": b2a}


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Freeze networks inside the block: gradients pass through them, but their weights get none."""
    try:
        for network in networks:
            network.requires_grad_(False)
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
