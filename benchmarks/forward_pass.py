"""How many evaluations of L-BFGS reach the loss of one forward pass (Johnson et al. 2016, section 4.1).

    python benchmarks/forward_pass.py checkpoints/johnson/wave.safetensors photos/val -- generator=johnson style=wave

The settings after `--` are those of the training; they build the loss. For every photo, L-BFGS minimises this loss over
the pixels, from the photo and from noise, until it is as low as that of the stylized photo. The script prints the
number of evaluations for each photo, and the medians. Both sides compute in float32. A penalty keeps the pixels of
L-BFGS near 0..1; it is not part of the compared loss.
"""

import argparse
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from tqdm import tqdm

from fast_style.image_optimization.optimizer_loop import OptimizerLoop
from fast_style.images.listing import find_pictures
from fast_style.images.tensors import load_image
from fast_style.losses.perceptual import PerceptualLoss
from fast_style.stylize.stylizer import load_stylizer
from fast_style.training.tasks.style import loss_of, style_of, with_strength

CONF = Path(__file__).resolve().parents[1] / "conf"


class LossOfPhoto(nn.Module):
    """A training loss for the pixels of one image, with a penalty for pixels outside 0..1 (see `PictureLoss`)."""

    def __init__(self, loss: PerceptualLoss, photo: Tensor) -> None:
        super().__init__()
        self.loss, self.photo = loss, photo

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the terms of an image `(1, 3, H, W)`."""
        outside = (pixels - pixels.detach().clamp(0, 1)).square().mean()
        return {**self.loss(pixels, self.photo), "range": outside}

    def weigh(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Multiply the terms by their weights."""
        weighted = self.loss.weigh({name: term for name, term in terms.items() if name != "range"})
        return {**weighted, "range": 1000 * terms["range"]}

    @torch.no_grad()
    def total(self, picture: Tensor) -> float:
        """Return the training loss of an image, without the penalty."""
        terms = self.loss(picture, self.photo)
        return float(sum(self.loss.weigh(terms).values()))


def main() -> None:
    """Print a row for each photo and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="network file")
    parser.add_argument("photos", help="folder of photos")
    parser.add_argument("--size", type=int, default=256, help="shorter side in pixels")
    parser.add_argument("--count", type=int, default=16, help="number of photos")
    parser.add_argument("--limit", type=int, default=200, help="most evaluations")
    options, overrides = parser.parse_known_args()
    loss = training_loss([override for override in overrides if override != "--"])
    stylizer = load_stylizer(options.network, runtime="torch", precision="fp32", device="cpu")
    found: dict[str, list[float]] = {"photo": [], "noise": []}
    for file in tqdm(find_pictures(options.photos)[: options.count], unit="photo"):
        photo = load_image(file, size=options.size)
        target = LossOfPhoto(loss, photo)
        wanted = target.total(stylizer(photo))
        starts = {"photo": photo, "noise": torch.rand(photo.shape, generator=torch.Generator().manual_seed(0))}
        for name, start in starts.items():
            found[name].append(evaluations_to(wanted, target, start, options.limit))
        tqdm.write(
            f"{Path(file).stem:32} loss {wanted:.3f}: {found['photo'][-1]:4} from the photo, "
            f"{found['noise'][-1]:4} from noise"
        )
    for name, counts in found.items():
        print(f"median from the {name}: {statistics.median(counts)} evaluations (inf: more than {options.limit})")


def training_loss(overrides: list[str]) -> PerceptualLoss:
    """Build the loss of `scripts/train.py` with these settings."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = with_strength(compose("train", overrides))
    loss = loss_of(cfg, style_of(cfg))
    assert isinstance(loss, PerceptualLoss)
    return loss


def evaluations_to(wanted: float, target: LossOfPhoto, start: Tensor, limit: int) -> float:
    """Return the number of L-BFGS evaluations until the loss is at most `wanted`; infinity if `limit` is too few."""
    loop = OptimizerLoop(
        start,
        target,  # type: ignore[arg-type]  # It has the methods of a PictureLoss that the loop uses.
        lambda pixels: torch.optim.LBFGS(pixels, max_iter=10**6, history_size=20, tolerance_grad=0, tolerance_change=0),
        average_decay=0,
        clamp=False,
        precision="32-true",
    )

    def goes_on(loop: OptimizerLoop) -> bool:
        return float(sum(term for name, term in loop.weighted.items() if name != "range")) > wanted

    reached = not loop.run(limit, goes_on)
    return loop.evaluations if reached else math.inf


if __name__ == "__main__":
    main()
