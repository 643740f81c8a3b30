"""Cost of the loss network `builtin` in a training step compared with VGG-16: python benchmarks/loss_network.py.

Both networks compute the loss of a batch and its gradient with respect to the images, as a training step does. They
alternate in one process. VGG-16 uses the layers of Johnson et al. and random weights, which take the same time.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from fast_style.losses.perceptual import PerceptualLoss
from fast_style.networks.loss_network import AnyLossNetwork
from fast_style.networks.pretrained import builtin, vgg

WANTED = 4.0


def step(
    network: AnyLossNetwork, style: list[str], content: list[str], photos: Tensor, *, fast: bool
) -> Callable[[], None]:
    """Make a function that computes the loss and its gradient, compiled in bfloat16 (`fast`) or eager in float32."""
    loss = PerceptualLoss(
        loss_network=network,
        style=[torch.rand(1, 3, 256, 256)],
        content_layers=content,
        style_layers=style,
        content_weight=1.0,
        style_weight=5.0,
        tv_weight=1.0,
    ).to(memory_format=torch.channels_last)
    if fast:
        loss.compile(dynamic=False)

    def go() -> None:
        painted = photos.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            terms = loss(painted, photos)
        torch.stack(list(loss.weigh(terms).values())).sum().backward()

    return go


def main() -> None:
    """Print the times in milliseconds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds in which the networks alternate")
    parser.add_argument("--batch", type=int, default=4, help="images per batch")
    parser.add_argument("--size", type=int, default=256, help="side of the square images in pixels")
    options = parser.parse_args()
    photos = torch.rand(options.batch, 3, options.size, options.size).to(memory_format=torch.channels_last)
    torch.manual_seed(0)
    for fast in (True, False):
        sides = {
            "vgg16": (vgg("vgg16", weights="random"), ["relu1_2", "relu2_2", "relu3_3", "relu4_3"], ["relu2_2"]),
            "builtin": (builtin(), ["relu1_1", "relu2_1", "relu3_1", "relu4_1"], ["relu3_1"]),
        }
        loops = {name: step(*side, photos, fast=fast) for name, side in sides.items()}
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for go in loops.values():
            go()
        for _ in range(options.rounds):
            for name, go in loops.items():
                started = time.perf_counter()
                go()
                seconds[name].append(time.perf_counter() - started)
        ratios = [a / b for a, b in zip(seconds["vgg16"], seconds["builtin"], strict=True)]
        print("compiled, bfloat16" if fast else "eager, float32")
        for name, times in seconds.items():
            print(f"  {name:8} {statistics.median(times) * 1e3:7.0f} ms")
        print(f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); wanted {WANTED}")


if __name__ == "__main__":
    main()
