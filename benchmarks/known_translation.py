"""Errors of CycleGAN on a translation with a known answer: python benchmarks/known_translation.py (see --help).

Two synthetic collections differ by a known change: red and blue are swapped, and dark vertical stripes are added.
CycleGAN learns this change without pairs. The script translates new images and prints the mean absolute difference
(images are in 0 to 1) between the translations and the correct images, and between the images and their cycles. It also
prints the difference without any translation.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import Tensor

from fast_style import load_stylizer, save_image
from fast_style.training.run import run

CONF = Path(__file__).resolve().parents[1] / "conf"
STRIPES = 0.12
#: Small networks suffice for this small change. A discriminator needs no large receptive field here.
SMALL = (
    "data.flip=0",  # A horizontal flip would change the stripes.
    "data.batch_size=2",
    "data.workers=0",
    "generator.width=8",
    "generator.blocks=1",
    "discriminator.width=12",
    "discriminator.layers=1",
    "method.optimizer.lr=2e-3",
    "precision=32-true",  # bf16 does not speed up networks this narrow.
    "trainer.accelerator=cpu",
)


@dataclass(frozen=True)
class Errors:
    """Mean absolute differences; images are in 0 to 1.

    Attributes:
        untranslated: between images and the result of the known change.
        to_b, to_a: between translations and the correct images.
        cycle_a, cycle_b: between images and their cycles (translated and translated back).
    """

    untranslated: float
    to_b: float
    to_a: float
    cycle_a: float
    cycle_b: float


def plain(seed: int, size: int) -> Tensor:
    """An image of soft orange spots on a dark ground, `(1, 3, size, size)`.

    Dark pixels outnumber bright ones, and each brightness has nearly one colour. So any other translation, for example
    one that inverts the brightness or permutes colours, would produce a different collection.
    """
    generator = torch.Generator().manual_seed(seed)
    brightness = torch.rand(1, 1, 4, 4, generator=generator) ** 2
    coarse = 0.85 * brightness + 0.15 * torch.rand(1, 3, 4, 4, generator=generator)
    spots = F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    dark, bright = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.3, 0.2, 0.1), (1.0, 0.6, 0.2)))
    return dark + (bright - dark) * spots


def changed(picture: Tensor) -> Tensor:
    """Apply the known change: swap red and blue, and darken two of every four columns."""
    stripes = (torch.arange(picture.shape[-1]) % 4 < 2).float() * STRIPES
    return (picture.flip(1) - stripes).clamp(0, 1)


def collections(root: Path, size: int) -> Path:
    """Write both collections; they are made from different images."""
    for number in range(40):
        save_image(plain(number, size), root / "trainA" / f"{number}.png")
        save_image(changed(plain(1000 + number, size)), root / "trainB" / f"{number}.png")
    for number in range(4):
        save_image(plain(2000 + number, size), root / "testA" / f"{number}.png")
        save_image(changed(plain(3000 + number, size)), root / "testB" / f"{number}.png")
    return root


def learnt(folder: Path, *, size: int, steps: int, seed: int = 0) -> Errors:
    """Train in `folder` and measure the errors on new images."""
    settings = [
        *("method=cyclegan", f"steps={steps}", f"val_every={steps}", f"checkpoint_every={steps}", f"seed={seed}"),
        *(f"data.root={collections(folder / 'plain2striped', size)}", f"data.size={size}", f"data.load_size={size}"),
        *(f"runs={folder / 'runs'}", f"network_file={folder / 'network.safetensors'}", *SMALL),
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", settings)
    a2b, b2a = (
        load_stylizer(file, runtime="torch", precision="fp32", device="cpu")
        for file in run(cfg, settings).network_files
    )
    pictures = torch.cat([plain(4000 + number, size) for number in range(16)])
    targets = changed(pictures)
    return Errors(
        untranslated=_error(pictures, targets),
        to_b=_error(a2b(pictures), targets),
        to_a=_error(b2a(targets), pictures),
        cycle_a=_error(b2a(a2b(pictures)), pictures),
        cycle_b=_error(a2b(b2a(targets)), targets),
    )


def _error(found: Tensor, wanted: Tensor) -> float:
    return (found - wanted).abs().mean().item()


def main() -> None:
    """Print the errors for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="side of the square images in pixels")
    parser.add_argument("--steps", type=int, default=2000, help="training steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training per seed")
    asked = parser.parse_args()
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            found = learnt(Path(folder), size=asked.size, steps=asked.steps, seed=seed)
        print(
            f"seed {seed}, {time.perf_counter() - began:.0f} s: A to B {found.to_b:.3f}, B to A {found.to_a:.3f} "
            f"(untranslated {found.untranslated:.3f}); cycles {found.cycle_a:.3f} and {found.cycle_b:.3f}"
        )


if __name__ == "__main__":
    main()
