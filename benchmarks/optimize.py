"""Time of one evaluation of image optimisation compared with two well-known loops.

    python benchmarks/optimize.py                      # VGG-19 with random weights: they take the same time
    python benchmarks/optimize.py --size 512 --rounds 3

Each plain loop is the published algorithm in eager float32: its layers, its losses, its optimiser. Our loop uses the
same layers and the same kind of optimiser, in float32 and in bfloat16. Both loops alternate in one process.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from fast_style.image_optimization.loss import PictureLoss, Style
from fast_style.image_optimization.method import PictureOptimization
from fast_style.image_optimization.optimizer_loop import OptimizerLoop
from fast_style.networks.pretrained import vgg

Side = Callable[[int], None]  # Called with a number of evaluations.

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
COUNTED = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")


def plain_crowsonkb(photo: Tensor, painting: Tensor) -> Side:
    """Inner loop of crowsonkb/style-transfer-pytorch: relu4_2, five style layers, TV, Adam, clamp, moving average."""
    features = torchvision.models.vgg19(weights=None).features[:30].eval().requires_grad_(False)
    for module in features:
        if isinstance(module, nn.ReLU):
            module.inplace = False
    features[0].padding_mode = "replicate"
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    def seen(picture: Tensor) -> dict[int, Tensor]:
        x, found = (picture - mean) / std, {}
        for index, module in enumerate(features):
            x = module(x)
            if index in (1, 6, 11, 20, 22, 29):
                found[index] = x
        return found

    def gram(f: Tensor) -> Tensor:
        flat = f.flatten(-2)
        return flat @ flat.mT / flat.shape[-1]

    def scaled(found: Tensor, wanted: Tensor) -> Tensor:
        difference = found - wanted
        return difference.square().sum() / (difference.abs().sum() + 1e-8)

    with torch.no_grad():
        content = seen(photo)[22]
        grams = {index: gram(f) for index, f in seen(painting).items() if index != 22}
    picture = photo.clone().requires_grad_()
    optimizer = torch.optim.Adam([picture], lr=0.02)
    average = picture.detach().clone()

    def run(evaluations: int) -> None:
        for _ in range(evaluations):
            found = seen(picture)
            loss = 0.015 * scaled(found[22], content)
            for share, index in zip((256, 64, 16, 4, 1), grams, strict=True):
                loss = loss + share / 341 * scaled(gram(found[index]), grams[index])
            padded = F.pad(picture, (0, 1, 0, 1), "replicate")
            across = padded[..., :-1, 1:] - padded[..., :-1, :-1]
            down = padded[..., 1:, :-1] - padded[..., :-1, :-1]
            loss = loss + 2 * (across.square() + down.square()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                picture.clamp_(0, 1)
                average.mul_(0.99).add_(0.01 * picture)
            loss.item()  # The original callback reads the loss as well.

    return run


def plain_tutorial(photo: Tensor, painting: Tensor) -> Side:
    """Loop of PyTorch's neural transfer tutorial: five convolutions, mean squared errors, L-BFGS, clamp."""
    features = torchvision.models.vgg19(weights=None).features[:11].eval().requires_grad_(False)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    def gram(f: Tensor) -> Tensor:
        a, b, c, d = f.size()
        flat = f.view(a * b, c * d)
        return torch.mm(flat, flat.t()).div(a * b * c * d)

    def seen(picture: Tensor) -> list[Tensor]:
        x, found = (picture - mean) / std, []
        for module in features:
            x = F.relu(x) if isinstance(module, nn.ReLU) else module(x)
            if isinstance(module, nn.Conv2d):
                found.append(x)
        return found

    with torch.no_grad():
        content = seen(photo)[3]
        grams = [gram(f) for f in seen(painting)]
    picture = photo.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([picture])

    def run(evaluations: int) -> None:
        made = 0

        def closure() -> Tensor:
            nonlocal made
            with torch.no_grad():
                picture.clamp_(0, 1)
            optimizer.zero_grad()
            found = seen(picture)
            style = sum(F.mse_loss(gram(f), wanted) for f, wanted in zip(found, grams, strict=True))
            loss = 1e6 * style + F.mse_loss(found[3], content)
            loss.backward()
            made += 1
            return loss

        while made < evaluations:
            optimizer.step(closure)

    return run


def ours(photo: Tensor, painting: Tensor, precision: str, *, tutorial: bool) -> Side:
    """The same work in the loop of `PictureOptimization`; it reads the loss terms every ten evaluations."""
    settings = {"average_decay": 0.0, "optimizer": torch.optim.LBFGS} if tutorial else {"average_decay": 0.99}
    loss = (
        partial(
            PictureLoss,
            content_layers=["conv2_2"],
            style_layers=COUNTED,
            style_weight=1e6,
            range_weight=0.0,
            normalization="pytorch_tutorial",
        )
        if tutorial
        else partial(PictureLoss, content_layers=["relu4_2"], style_layers=STYLE, tv_weight=2.0)
    )
    method = PictureOptimization(
        loss_network=vgg("vgg19", weights="random"), loss=loss, precision=precision, smallest=None, **settings
    )
    targets = method.targets(photo, [Style(painting)])
    loop = method.loop(targets, photo)

    def after(loop: OptimizerLoop) -> bool:
        if loop.evaluations % 10 == 0:
            [float(term) for term in loop.weighted.values()]
        return True

    return lambda evaluations: loop.run(loop.evaluations + evaluations, after) and None


def main() -> None:
    """Print the seconds per evaluation of both loops and the ratio plain / ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="side of the square image in pixels")
    parser.add_argument("--rounds", type=int, default=7, help="rounds in which the loops alternate")
    parser.add_argument("--evaluations", type=int, default=5, help="evaluations per round of crowsonkb's loop")
    asked = parser.parse_args()
    torch.manual_seed(0)
    photo, painting = torch.rand(2, 1, 3, asked.size, asked.size)
    print(f"{asked.size}x{asked.size}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'loop':12}{'precision':12}{'plain s':>10}{'ours s':>10}{'plain / ours, median (min to max)':>40}")
    for name, plain in (("crowsonkb", plain_crowsonkb), ("tutorial", plain_tutorial)):
        for precision in ("32-true", "bf16-mixed"):
            pair = plain(photo, painting), ours(photo, painting, precision, tutorial=name == "tutorial")
            seconds: tuple[list[float], list[float]] = ([], [])
            turn = 20 if name == "tutorial" else asked.evaluations  # One L-BFGS step makes 20 evaluations.
            for side in pair:
                side(turn)
            for _ in range(asked.rounds):
                for side, taken in zip(pair, seconds, strict=True):
                    started = time.perf_counter()
                    side(turn)
                    taken.append((time.perf_counter() - started) / turn)
            ratios = [a / b for a, b in zip(*seconds, strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            a, b = (statistics.median(taken) for taken in seconds)
            print(f"{name:12}{precision:12}{a:10.3f}{b:10.3f}{spread:>40}", flush=True)


if __name__ == "__main__":
    main()
