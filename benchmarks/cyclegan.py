"""Speed of a CycleGAN training step compared with a plain loop: python benchmarks/cyclegan.py (see --help).

The two loops alternate in one process. *Ours* is `scripts/train.py method=cyclegan` with the data loader, Lightning,
the image pools and logging. It runs in bf16 where the CPU supports it, and compiled if `compile=true` is given.
*Plain* runs the authors' order of steps with the same networks in eager float32, on one pair that stays in memory.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from fast_style import save_image
from fast_style.methods.cyclegan import CycleGanMethod
from fast_style.methods.image_pool import ImagePool
from fast_style.networks.patch_discriminator import PatchDiscriminator
from fast_style.networks.transform_net import TransformNet
from fast_style.training.run import run

CONF = Path(__file__).resolve().parents[1] / "conf"
WANTED = 1.5


def plain_loop(method: CycleGanMethod, batch: Tensor) -> Callable[[int], None]:
    """The authors' step: the generators first, then each discriminator in its own backward pass."""
    device = batch.device
    a2b, b2a = (TransformNet(**method.a2b.architecture).to(device) for _ in range(2))
    width, layers = method.disc_a.patches[0][0].out_channels, len(method.disc_a.patches) - 1
    disc_a, disc_b = (PatchDiscriminator(width=width, layers=layers).to(device) for _ in range(2))
    of_generators, of_discriminators = (
        torch.optim.Adam([*one.parameters(), *other.parameters()], lr=2e-4, betas=(0.5, 0.999))
        for one, other in ((a2b, b2a), (disc_a, disc_b))
    )
    pools = [ImagePool(50, seed=seed) for seed in (0, 1)]
    mse, l1 = nn.MSELoss(), nn.L1Loss()
    real_a, real_b = (side.contiguous() for side in batch.float().unbind(1))

    def judged(said: Tensor, real: bool) -> Tensor:
        found: Tensor = mse(said, torch.full_like(said, float(real)))
        return found

    def go(steps: int) -> None:
        for _ in range(steps):
            fake_b, fake_a = a2b(real_a), b2a(real_b)
            rec_a, rec_b = b2a(fake_b), a2b(fake_a)
            for disc in (disc_a, disc_b):
                disc.requires_grad_(False)
            of_generators.zero_grad()
            total = judged(disc_b(fake_b), True) + judged(disc_a(fake_a), True)
            total = total + 20 * (l1(rec_a, real_a) + l1(rec_b, real_b))
            total = total + 10 * (l1(a2b(real_b), real_b) + l1(b2a(real_a), real_a))
            total.backward()
            of_generators.step()
            for disc in (disc_a, disc_b):
                disc.requires_grad_(True)
            of_discriminators.zero_grad()
            pooled = [pool.exchange(fake) for pool, fake in zip(pools, (fake_a, fake_b), strict=True)]
            for disc, real, fake in zip((disc_a, disc_b), (real_a, real_b), pooled, strict=True):
                (0.5 * (judged(disc(real), True) + judged(disc(fake), False))).backward()
            of_discriminators.step()

    return go


class TakeTurns(pl.Callback):
    """Time `steps` of our steps, then `plain_steps` of the plain loop; repeat `rounds` times."""

    def __init__(self, *, rounds: int, steps: int, plain_steps: int, warm_up: int) -> None:
        self.rounds, self.steps, self.plain_steps, self.warm_up = rounds, steps, plain_steps, warm_up
        self.seconds: dict[str, list[float]] = {"ours": [], "plain": []}
        self._step = 0

    @property
    def all_steps(self) -> int:
        """Number of training steps needed; the first step after a pause is not timed."""
        return self.warm_up + self.rounds * (1 + self.steps)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Start and stop the timer."""
        assert isinstance(pl_module, CycleGanMethod)
        self._step += 1
        place = (self._step - self.warm_up) % (self.steps + 1)
        if self._step < self.warm_up:
            return
        if self._step == self.warm_up:
            self._plain = plain_loop(pl_module, batch.clone())
            self._eagerly(1)
        elif place == 0:
            self.seconds["ours"].append(self._since(batch) / self.steps)
            self._started = time.perf_counter()
            self._eagerly(self.plain_steps)
            self.seconds["plain"].append(self._since(batch) / self.plain_steps)
        elif place == 1:
            self._since(batch)
            self._started = time.perf_counter()

    def _eagerly(self, steps: int) -> None:
        with torch.enable_grad(), torch.compiler.set_stance("force_eager"):
            self._plain(steps)

    def _since(self, batch: Tensor) -> float:
        if batch.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - getattr(self, "_started", 0.0)


def measure(turns: TakeTurns, folder: Path, overrides: list[str]) -> None:
    """Train on noise images as `scripts/train.py` does, alternating with the plain loop."""
    for side in ("trainA", "trainB", "testA", "testB"):
        for number in range(4):
            save_image(torch.rand(1, 3, 286, 286), folder / side / f"{number}.jpg")
    settings = [
        *("method=cyclegan", f"data.root={folder}", f"steps={turns.all_steps}", "data.held_out=1"),
        *(f"val_every={turns.all_steps}", f"checkpoint_every={turns.all_steps}"),
        *(f"runs={folder / 'runs'}", f"network_file={folder / 'network.safetensors'}"),
        *overrides,
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", settings)
    run(cfg, settings, callbacks=[turns])


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Print the times of both loops and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which the loops alternate")
    parser.add_argument("--steps", type=int, default=6, help="our steps per round; use hundreds on a GPU")
    parser.add_argument("--plain-steps", type=int, default=2, help="steps of the plain loop per round")
    parser.add_argument("--warm-up", type=int, default=3, help="our steps before the first round")
    parser.add_argument(
        "overrides", nargs="*", help="more settings of scripts/train.py, such as generator.width=32 compile=true"
    )
    asked = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {' '.join(asked.overrides)}")
    turns = TakeTurns(rounds=asked.rounds, steps=asked.steps, plain_steps=asked.plain_steps, warm_up=asked.warm_up)
    with tempfile.TemporaryDirectory() as folder:
        measure(turns, Path(folder), asked.overrides)
    for name, seconds in turns.seconds.items():
        print(f"{name:6s} {spread([1e3 * value for value in seconds])} ms a step")
    ratios = [plain / ours for plain, ours in zip(turns.seconds["plain"], turns.seconds["ours"], strict=True)]
    print(f"plain / ours: {spread(ratios)}; wanted {WANTED}")


if __name__ == "__main__":
    main()
