"""`experiment=quick` from the start of the process to the judged network, with the bundled files."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from fast_style.data.style_images import pictures_of
from fast_style.evaluation.comparison import compare_sides
from fast_style.evaluation.judges import load_judge
from fast_style.evaluation.sides import NetworkSide
from fast_style.images.listing import find_pictures
from fast_style.images.tensors import load_image
from fast_style.stylize.stylizer import load_stylizer
from gpu_parts.clock import chosen_device
from gpu_parts.figures import Figures
from gpu_parts.running import CHECKOUT
from gpu_parts.training import train

STYLE = "starry_night"
PHOTOS = CHECKOUT / "docs" / "photos"


class FirstStep(pl.Callback):
    """Remembers when the first step ended, in seconds from the start."""

    def __init__(self, figures: Figures) -> None:
        self.figures, self.ended = figures, 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Take the time once."""
        self.ended = self.ended or self.figures.passed()


def measure(figures: Figures) -> None:
    """Note the seconds of the training and its losses, then the figures of the judge."""
    device = chosen_device(figures.sizes)
    network = figures.folder / "quick.safetensors"
    first = FirstStep(figures)
    files = [f"network_file={network}", f"runs={figures.folder / 'quick'}", f"style.cache={figures.folder / 'styles'}"]
    result = train(["experiment=quick", f"style={STYLE}", *files, *figures.sizes.quick], first)
    figures.note("seconds", {"to_the_first_step": first.ended, "to_the_network_file": figures.passed()})
    figures.note("losses", {name: value for name, value in result.metrics.items() if "/total" in name})
    judging = time.perf_counter()
    figures.note("judge", judged(figures, str(network), device.type))
    figures.note("judging_s", time.perf_counter() - judging)


def judged(figures: Figures, network: str, device: str) -> dict[str, Any]:
    """Style and content errors as scripts/evaluate.py measures them, on the photos of the documentation."""
    with initialize_config_dir(str(CHECKOUT / "conf"), version_base="1.3"):
        cfg = compose("evaluate", [f"style={STYLE}", f"photos={PHOTOS}", f"size={figures.sizes.evaluation_size}"])
    (picture,) = pictures_of(OmegaConf.to_container(cfg.style, resolve=True))
    found = compare_sides(
        [NetworkSide(STYLE, load_stylizer(network, runtime="torch", precision="fp32", device=device))],
        find_pictures(cfg.photos),
        {size: load_image(picture, size=size) for size in cfg.style_sizes},
        [judge := load_judge("builtin", device=device)],
        size=cfg.size,
        scales=[1],
        device=torch.device(device),
    )
    means = {name.removeprefix("builtin/"): figure.mean for name, figure in found.figures[STYLE].items()}
    return {
        "photos": found.photos,
        "style_size": int(means["style_size"]),
        "style_error": means["style/scale1"],
        "style": {layer: means[f"style/scale1/{layer}"] for layer in judge.style_layers},
        "content": {layer: means[f"content/{layer}"] for layer in judge.content_layers},
    }
