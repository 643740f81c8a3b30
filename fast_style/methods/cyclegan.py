"""CycleGAN (Zhu et al. 2017): translate between two collections of which no two pictures belong together."""

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

from fast_style.losses import adversarial
from fast_style.methods.image_pool import ImagePool
from fast_style.methods.metrics import MeanTerms, is_seen, named_losses
from fast_style.methods.nonfinite import propagate_nonfinite, skip_unless_finite
from fast_style.networks.blocks import init_normal_
from fast_style.networks.generator import Generator
from fast_style.networks.patch_discriminator import PatchDiscriminator
from fast_style.networks.serialization import describe

#: The authors' pictures are in -1..1, where the same absolute error is twice as large: their weights are for that.
PAPER_VALUE_RANGE = 2.0


class Translation(NamedTuple):
    """A batch of both sides, `(N, 3, H, W)` in 0..1 each, and what the generators made of it.

    Attributes:
        real_a, real_b: the pictures.
        fake_b, fake_a: `real_a`, and `real_b`, translated.
        rec_a, rec_b: `fake_b`, and `fake_a`, translated back: the reconstructions.
        idt_a, idt_b: `real_a`, and `real_b`, by the generators whose results they could be: the identity mappings;
            None where their loss has no weight.
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
        """The fake pictures of side `A` or `B`."""
        return self.fake_a if side == "A" else self.fake_b


class CycleGanMethod(pl.LightningModule):
    """Two generators, each other's inverse, before two discriminators.

    Args:
        generators: from A to B, and from B to A.
        discriminators: of pictures of A, and of B.
        optimizer: makes an optimiser of given parameters; one for the generators, one for the discriminators.
        schedule: makes a learning-rate schedule of an optimiser, stepped every training step; None keeps it constant.
        cycle_weight: of the pictures there and back; lambda, 10 in the paper.
        identity_weight: of pictures that are in the collection already, a share of `cycle_weight`; 0.5 in the paper,
            and 0 computes nothing of it.
        pool_size: how many fake pictures of either side are kept to be shown again.
        init_std: deviation of the normal distribution that all convolutions start from; 0.02 in the paper.
        seed: of the pools.
        origin: text by name that every saved network carries: `style`, `recipe`, `version`.

    Raises:
        ValueError: not two of each, a weight below 0, or what parts refuse.
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
        init_std: float = 0.02,
        seed: int = 0,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        if len(generators) != 2 or len(discriminators) != 2:
            raise ValueError(
                f"CycleGAN has two generators and two discriminators; got {len(generators)} and {len(discriminators)}."
            )
        if min(cycle_weight, identity_weight) < 0:
            raise ValueError(
                "method.cycle_weight and method.identity_weight are 0 or more; got "
                f"{cycle_weight} and {identity_weight}."
            )
        self.automatic_optimization = False
        self.a2b, self.b2a = generators
        self.disc_a, self.disc_b = discriminators
        for generator in generators:
            generator.init_normal_(init_std)
        for discriminator in discriminators:
            init_normal_(discriminator, std=init_std)
        self.make_optimizer, self.make_schedule = optimizer, schedule
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
        """The generators by direction."""
        return {"A2B": self.a2b, "B2A": self.b2a}

    def origin_of(self, direction: str) -> dict[str, str]:
        """What the network file of `A2B`, or of `B2A`, says."""
        style = f"{self.origin.get('style', 'translation')}_{direction}"
        return {**self.origin, "style": style, "direction": direction, "input": "RGB (sRGB), 0 to 1"}

    def setup(self, stage: str) -> None:
        """Let chance differ between the pools, and between processes; before a checkpoint is looked at."""
        for number, pool in enumerate(self.pools.values()):
            pool.reseed(random.Random(f"{self.seed}/{number}/{self.global_rank}").getrandbits(32))

    def training_step(self, pictures: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Step all four networks on `(N, 2, 3, H, W)`: pictures of A and of B."""
        seen = is_seen(self.trainer)
        batch = self._translate(pictures)
        pooled = {side: pool.exchange(batch.fake_of(side)) for side, pool in self.pools.items()}
        terms, rates = self._terms(batch, pooled)
        self.newest, total = named_losses("train", terms, self._weighted(terms))
        if seen:
            self._trained.add(self.newest | {f"accuracy/{name}": rate for name, rate in rates.items()})
            self.log_dict(self._trained.take())
        self._step(propagate_nonfinite(total), seen=seen)
        return {"loss": total.detach()}

    def validation_step(self, pictures: Tensor, batch_idx: int) -> dict[str, list[Tensor]]:
        """The losses of held-out pictures; returns what to look at: a picture, translated, back, and left as it is."""
        # Not compiled: a few pictures now and then would not repay a second compilation, without gradients.
        with torch.compiler.set_stance("force_eager"):
            batch = self._translate(pictures)
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
        """Log the means over the held-out pictures of all processes."""
        self.log_dict(self._validated.take())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser of the generators, then that of the discriminators, and their schedules."""
        pairs = ((self.a2b, self.b2a), (self.disc_a, self.disc_b))
        optimizers = [self.make_optimizer([p for network in pair for p in network.parameters()]) for pair in pairs]
        return optimizers, [self.make_schedule(optimizer) for optimizer in optimizers] if self.make_schedule else []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add every process's pools; and let the checkpoint serve as a network file of A2B."""
        pools = {side: pool.state_dict() for side, pool in self.pools.items()}
        # All processes come here, and have kept equally many.
        checkpoint["image_pools"] = {
            side: {name: self._of_all_processes(tensor) for name, tensor in state.items()}
            for side, state in pools.items()
        }
        checkpoint["fast_style"] = {
            "metadata": describe(self.a2b, self.origin_of("A2B")),
            "tensors": self.a2b.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with this process's pools."""
        for side, state in checkpoint["image_pools"].items():
            if len(state["random"]) != self.trainer.world_size:
                return  # Of another number of processes, which is refused (effective_batch.py) with its sentence.
            self.pools[side].load_state_dict({name: of_all[self.global_rank] for name, of_all in state.items()})

    def _translate(self, pictures: Tensor) -> Translation:
        real_a, real_b = (side.contiguous(memory_format=torch.channels_last) for side in pictures.unbind(1))
        fake_b, fake_a = self.a2b(real_a), self.b2a(real_b)
        rec_a, rec_b = self.b2a(fake_b), self.a2b(fake_a)
        # In calls of their own: a batch of another size would be compiled once more.
        idt = (self.b2a(real_a), self.a2b(real_b)) if self.identity_weight else (None, None)
        return Translation(real_a, real_b, fake_b, fake_a, rec_a, rec_b, *idt)

    def _terms(self, batch: Translation, pooled: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """All losses, unweighted, and the discriminators' shares of right answers on what they are shown."""
        with frozen(self.disc_a, self.disc_b):
            terms = {
                "gan_AB": adversarial.least_squares_generator(self.disc_b(batch.fake_b)),
                "gan_BA": adversarial.least_squares_generator(self.disc_a(batch.fake_a)),
            }
        terms["cycle_A"] = adversarial.cycle_consistency(batch.rec_a, batch.real_a)
        terms["cycle_B"] = adversarial.cycle_consistency(batch.rec_b, batch.real_b)
        if batch.idt_a is not None and batch.idt_b is not None:
            terms["identity_A"] = adversarial.identity(batch.idt_a, batch.real_a)
            terms["identity_B"] = adversarial.identity(batch.idt_b, batch.real_b)
        rates: dict[str, Tensor] = {}
        for side, discriminator, real in (("A", self.disc_a, batch.real_a), ("B", self.disc_b, batch.real_b)):
            of_real, of_fake = discriminator(real), discriminator(pooled[side].detach())
            terms[f"discriminator_{side}"] = adversarial.least_squares_discriminator(of_real, of_fake)
            rates[f"real_{side}"] = adversarial.accuracy(of_real, real=True)
            rates[f"fake_{side}"] = adversarial.accuracy(of_fake, real=False)
        return terms, rates

    def _weighted(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        cycle = PAPER_VALUE_RANGE * self.cycle_weight
        weights = {"gan": 1.0, "discriminator": 1.0, "cycle": cycle, "identity": cycle * self.identity_weight}
        return {name: weights[name.split("_")[0]] * term for name, term in terms.items()}

    def _step(self, total: Tensor, *, seen: bool) -> None:
        """Step generators and discriminators.

        The authors step the generators before they compute the discriminators' losses. Those look at pictures that were
        made before that step, and the generators' at discriminators before theirs; so one backward pass through both
        gives the same gradients, which processes share at once.
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
        # Lightning counts the steps of its own wrappers: through one of the two alone its number of steps, and with it
        # the length of a run, its checkpoints and curves, is that of training steps.
        of_generators.step()
        of_discriminators.optimizer.step()
        schedules = self.lr_schedulers() or []
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            assert isinstance(schedule, LRScheduler)
            schedule.step()

    def _of_all_processes(self, tensor: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return tensor[None]
        # Not self.device: once a run is over the networks lie in the CPU's memory, where NCCL gathers nothing.
        mine = tensor.to(self.trainer.strategy.root_device).contiguous()
        of_all = [torch.empty_like(mine) for _ in range(self.trainer.world_size)]
        dist.all_gather(of_all, mine)
        return torch.stack(of_all).cpu()


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Let gradients pass through networks and none stay in them."""
    try:
        for network in networks:
            network.requires_grad_(False)
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
