"""Speed of a training step compared with a well-known loop: python benchmarks/train.py (see --help).

Three loops alternate in one process. *Ours* is `scripts/train.py` with the data loader, Lightning, logging and the
moving average. *Plain* is the training loop of pytorch/examples (fast_neural_style), with its generator and VGG-16 in
eager float32, on one batch that stays in memory. Every loss network is compared with this plain VGG-16 loop. *Bare* is
our compiled step alone on one batch. The difference between ours and bare is the cost of the data loader, Lightning and
logging.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from published import published_network
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.vgg import cfgs, make_layers

from fast_style.methods.perceptual import PerceptualMethod
from fast_style.training.run import run

Loop = Callable[[int], None]  # Trains a number of steps.
CONF = Path(__file__).resolve().parents[1] / "conf"
WANTED = {"vgg16": 2.5, "vgg19_mix": 5.0, "vgg19_distilled": 8.0, "builtin": 15.0}
# The work of the plain loop: images at full size only, four style layers, one content layer.
ALIKE = ["loss.style_levels=[1.0]"]
VGG16 = [
    *ALIKE,
    "loss_network=vgg16",
    "loss_network.weights=random",  # Random weights take the same time.
    "loss.style_layers=[relu1_2,relu2_2,relu3_3,relu4_3]",
    "loss.content_layers=[relu2_2]",
]
SETTINGS = {
    "vgg16": VGG16,
    **{name: [*ALIKE, f"loss_network={name}"] for name in ("vgg19_mix", "vgg19_distilled", "builtin")},
}


def plain_loop(
    photos: Tensor, generator: nn.Module | None = None, *, half: bool = False, compiled: bool = False
) -> Loop:
    """The published loop in float32: forward, two feature passes, MSE of features and of Gram matrices, Adam.

    Args:
        photos: the batch.
        generator: the network to train; None takes that of pytorch/examples.
        half: use autocast to bfloat16, which the published loop does not.
        compiled: use torch.compile for the losses, which the published loop does not.
    """
    device = photos.device
    photos = photos.contiguous()
    generator = (generator or published_network()).to(device)
    features = make_layers(cfgs["D"])[:23].to(device).requires_grad_(False)
    ends = (3, 8, 15, 22)  # relu1_2, relu2_2, relu3_3, relu4_3
    mean, std = (
        torch.tensor(v, device=device).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3)

    def look(x: Tensor) -> list[Tensor]:
        found = []
        x = (x - mean) / std
        for index, layer in enumerate(features):
            x = layer(x)
            if index in ends:
                found.append(x)
        return found

    def gram(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        flat = x.view(n, c, h * w)
        return flat.bmm(flat.transpose(1, 2)) / (c * h * w)

    targets = [gram(f) for f in look(torch.rand(1, 3, 256, 256, device=device))]

    def losses() -> tuple[Tensor, Tensor]:
        painted = generator(photos)
        found, wanted = look(painted), look(photos)
        content = 1e5 * F.mse_loss(found[1], wanted[1])
        errors = [F.mse_loss(gram(f), t.expand(len(photos), -1, -1)) for f, t in zip(found, targets, strict=True)]
        return content, torch.stack(errors).sum()

    computed = torch.compile(losses, dynamic=False) if compiled else losses

    def go(steps: int) -> None:
        content_seen = style_seen = 0.0
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                content, style = computed()
            (content + 1e10 * style).backward()
            optimizer.step()
            content_seen += content.item()
            style_seen += style.item()

    return go


def bare_loop(method: PerceptualMethod, photos: Tensor, precision: str) -> Loop:
    """The step of `method` alone with its compiled networks, without Lightning and the data loader."""
    optimizer = method.make_optimizer(method.generator.parameters())
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    taken = torch.tensor(True, device=photos.device)  # Made here: a copy to a GPU waits for all its work.

    def go(steps: int) -> None:
        for _ in range(steps):
            with torch.autocast(photos.device.type, dtype=half or torch.bfloat16, enabled=half is not None):
                terms = method.loss(method.generator(photos), photos)
                total = torch.stack(list(method.loss.weigh(terms).values())).sum()
            optimizer.zero_grad()
            total.backward()
            nn.utils.get_total_norm([p.grad for p in method.generator.parameters() if p.grad is not None])
            optimizer.step()
            method.average.update_parameters(method.generator, taken=taken)

    return go


class TakeTurns(pl.Callback):
    """Time `steps` of our steps, then the two other loops; repeat `rounds` times.

    Args:
        rounds: number of rounds.
        steps: steps per round of our loop and of the bare loop.
        plain_steps: steps per round of the plain loop; 0 skips the plain loop.
        warm_up: our steps before the first round.
        untimed: our steps at the start of each round that are not timed. During the pause the data loader has
            prefetched more batches than it could in continuous training.
    """

    def __init__(self, *, rounds: int, steps: int, plain_steps: int, warm_up: int, untimed: int) -> None:
        self.rounds, self.steps, self.plain_steps = rounds, steps, plain_steps
        self.warm_up, self.untimed = warm_up, untimed
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.busy: list[float] = []
        self.gpu_busy: list[float] = []
        self.flops = 0
        self._step = 0

    @property
    def all_steps(self) -> int:
        """Number of training steps needed."""
        return self.warm_up + self.rounds * (self.untimed + self.steps)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Start and stop the timer; run the other loops in between."""
        self._step += 1
        place = (self._step - self.warm_up) % (self.untimed + self.steps)
        if self._step < self.warm_up:
            return
        if place == 0 and self._step > self.warm_up:
            self._note("ours", self._started, self.steps, batch)
            self.busy.append((cpu_seconds() - self._cpu) / (time.perf_counter() - self._started) / os.cpu_count())
            self._let_others(pl_module, batch, str(trainer.precision))
        elif place == 0:
            self._prepare(pl_module, batch, str(trainer.precision))
        if place == self.untimed:
            wait_for(batch)
            self._started, self._cpu = time.perf_counter(), cpu_seconds()
            self._load = GpuLoad().start() if batch.is_cuda else None

    def others(self, method: PerceptualMethod, batch: Tensor, precision: str) -> dict[str, tuple[Loop, int]]:
        """The loops beside ours, with their steps per round; `bare` must be one of them."""
        loops = {"bare": (bare_loop(method, batch.clone(), precision), self.steps)}
        if self.plain_steps:
            loops["plain"] = (plain_loop(batch.clone()), self.plain_steps)
        return loops

    def _prepare(self, method: pl.LightningModule, batch: Tensor, precision: str) -> None:
        assert isinstance(method, PerceptualMethod)
        self._others = self.others(method, batch, precision)
        with FlopCounterMode(display=False) as counter, torch.compiler.set_stance("force_eager"):
            self._others["bare"][0](1)
        self.flops = counter.get_total_flops()
        for loop, _ in self._others.values():
            loop(1)

    def _let_others(self, method: pl.LightningModule, batch: Tensor, precision: str) -> None:
        for name, (loop, steps) in self._others.items():
            wait_for(batch)
            started = time.perf_counter()
            loop(steps)
            self._note(name, started, steps, batch)

    def _note(self, name: str, started: float, steps: int, batch: Tensor) -> None:
        wait_for(batch)
        self.seconds[name].append((time.perf_counter() - started) / steps)
        if name == "ours" and self._load is not None:
            self.gpu_busy.append(self._load.stop())


class GpuLoad:
    """Sample the GPU utilisation ten times per second."""

    def start(self) -> "GpuLoad":
        """Start sampling in a thread."""
        self._samples: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        with suppress(Exception):  # Without nvidia-ml-py there are no samples.
            while not self._done.wait(0.1):
                self._samples.append(torch.cuda.utilization() / 100)

    def stop(self) -> float:
        """Stop sampling and return the mean utilisation from 0 to 1; NaN without samples."""
        self._done.set()
        self._thread.join()
        return statistics.mean(self._samples) if self._samples else float("nan")


def wait_for(batch: Tensor) -> None:
    """Wait until the GPU has finished, if `batch` is on one."""
    if batch.is_cuda:
        torch.cuda.synchronize()


def cpu_seconds() -> float:
    """CPU seconds used by this process and its data loader workers."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def measure(name: str, turns: TakeTurns, folder: Path, overrides: list[str]) -> None:
    """Train as `scripts/train.py` does, alternating with the other loops."""
    settings = [
        *SETTINGS[name],
        *("style=starry_night", "compile=true", f"steps={turns.all_steps}"),
        *(f"val_every={turns.all_steps}", f"checkpoint_every={turns.all_steps}"),
        *(f"runs={folder / 'runs'}", f"network_file={folder / 'network.safetensors'}"),
        *overrides,
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", settings)
    torch.compiler.reset()
    run(cfg, settings, callbacks=[turns])


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def report(name: str, turns: TakeTurns, batch: int, peak: float | None) -> None:
    """Print the figures of one loss network."""
    ours, bare = turns.seconds["ours"], turns.seconds["bare"]
    rate = batch / statistics.median(ours)
    print(f"\n{name}, batch {batch}")
    print(f"  ours          {statistics.median(ours) * 1e3:9.1f} ms a step, {rate:.2f} images a second")
    print(f"  bare          {statistics.median(bare) * 1e3:9.1f} ms a step")
    overhead = statistics.median([a / b - 1 for a, b in zip(ours, bare, strict=True)])
    print(f"  loader, Lightning, logging: {overhead:+.1%} of the step; CPU busy {statistics.median(turns.busy):.0%}")
    if plain := turns.seconds["plain"]:
        ratios = [a / b for a, b in zip(plain, ours, strict=True)]
        print(f"  plain VGG-16  {statistics.median(plain) * 1e3:9.1f} ms a step")
        print(f"  plain / ours: {spread(ratios)}; wanted {WANTED[name]}")
    if peak:
        done = turns.flops / statistics.median(ours) / 1e12
        print(f"  {done:.1f} TFLOP/s, {done / peak:.0%} of the peak; GPU busy {statistics.median(turns.gpu_busy):.0%}")
        print(f"  160,000 images: {160_000 / rate / 60:.2f} minutes")


def main() -> None:
    """Print the figures for each loss network and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), help="loss networks; default: all"
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[4], help="batch sizes")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which the loops alternate")
    parser.add_argument("--steps", type=int, default=8, help="steps per round of ours and bare; use hundreds on a GPU")
    parser.add_argument("--plain-steps", type=int, default=2, help="steps per round of the plain loop; 0 skips it")
    parser.add_argument("--peak", type=float, help="peak TFLOP/s of the GPU in bfloat16; 989 for an H200")
    parser.add_argument("overrides", nargs="*", help="more settings of scripts/train.py, such as data.workers=8")
    asked = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, 256x256, {' '.join(asked.overrides)}")
    for name in asked.networks:
        for batch in asked.batches:
            turns = TakeTurns(
                rounds=asked.rounds, steps=asked.steps, plain_steps=asked.plain_steps, warm_up=8, untimed=4
            )
            with tempfile.TemporaryDirectory() as folder:
                measure(name, turns, Path(folder), [f"data.batch_size={batch}", *asked.overrides])
            report(name, turns, batch, asked.peak)


if __name__ == "__main__":
    main()
