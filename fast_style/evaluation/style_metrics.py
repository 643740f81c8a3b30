"""How near painted pictures are to a style and to their photos, by the features of a loss network.

The default judge of scripts/evaluate.py is `loss_network=builtin`. The networks in checkpoints/ were trained on
`vgg19_mix`, from which `builtin` was distilled, and the README's figures are by `vgg19_mix` too: they say how well a
network learned what it was taught. For an independent judgement, give a loss network that had no part in the training.

Relative errors as in the losses, so that figures of different styles, networks and trainings compare:
style `||G - G_s||^2 / ||G_s||^2`, content `||F - F_c||^2 / ||F_c||^2`, each by layer, averaged over the photos.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from fast_style.images.decode import size_of
from fast_style.images.listing import find_pictures
from fast_style.images.tensors import load_image
from fast_style.losses.functional import gram, relative_error
from fast_style.networks.loss_network import AnyLossNetwork

PaintFn = Callable[[Tensor], Tensor]
Pair = tuple[Tensor, Tensor]  # (painted, photo)


@dataclass(frozen=True)
class StyleMetrics:
    """The judge's figures.

    Attributes:
        photos: how many were judged.
        style_size: shorter side of the style picture, in pixels, that fits best.
        style: error by layer at that size.
        style_by_size: mean error over the layers, by size.
        content: error by layer.
    """

    photos: int
    style_size: int
    style: dict[str, float]
    style_by_size: dict[int, float]
    content: dict[str, float]

    @property
    def style_error(self) -> float:
        """Mean over the layers at the best size."""
        return self.style_by_size[self.style_size]

    def as_json(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return {**asdict(self), "style_error": self.style_error}

    def as_table(self) -> str:
        """The figures for a terminal."""
        rows = [("layer", "style error", "content error")]
        for name in dict.fromkeys([*self.style, *self.content]):
            rows.append((name, _figure(self.style.get(name)), _figure(self.content.get(name))))
        rows.append((f"mean, style size {self.style_size}", _figure(self.style_error), ""))
        return "\n".join(f"{name:24}{style:>12}{content:>15}" for name, style, content in rows)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def from_model(painter: PaintFn, photos: Sequence[str], *, size: int | None, enlarge: bool = True) -> Iterator[Pair]:
    """Paint each photo and pair the result with it.

    Args:
        painter: `(1, 3, H, W)` in 0..1 to the same.
        photos: files.
        size: shorter side in pixels to paint at; None is a photo's own.
        enlarge: bring smaller photos to that size too, instead of leaving them as they are.
    """
    for file in photos:
        fits = size is None or (not enlarge and min(size_of(file)) <= size)
        photo = load_image(file, size=None if fits else size)
        yield painter(photo), photo


def from_folder(folder: str, photos: Sequence[str]) -> Iterator[Pair]:
    """Pair each photo with the picture in `folder` that carries its name, or its name and `_style`.

    The painted picture is judged as it is, since resizing would blur away strokes; its photo is brought to its size.

    Raises:
        ValueError: a photo without a picture.
    """
    stems = sorted((Path(file).stem for file in photos), key=len)
    pictures = {}
    for file in find_pictures(folder):
        name = Path(file).stem
        # The longest stem that fits: a_b_wave is a painting of a_b, even where there is a photo a.
        fitting = [stem for stem in stems if name == stem or name.startswith(f"{stem}_")]
        if fitting and (name == fitting[-1] or fitting[-1] not in pictures):
            pictures[fitting[-1]] = file
    for file in photos:
        picture = pictures.get(Path(file).stem)
        if picture is None:
            raise ValueError(f"{folder} holds no picture of the name {Path(file).stem}, which {file} has.")
        painted = load_image(picture)
        yield painted, load_image(file, size=min(painted.shape[-2:]))


@torch.inference_mode()
def compute_style_metrics(
    pairs: Iterable[Pair],
    styles: Mapping[int, Tensor],
    *,
    loss_network: AnyLossNetwork,
    style_layers: Sequence[str],
    content_layers: Sequence[str],
) -> StyleMetrics:
    """Judge painted pictures.

    Args:
        pairs: painted picture and its photo, `(1, 3, H, W)` each and of one size.
        styles: the style picture by its size (shorter side), `(1, 3, H, W)`.
        loss_network: the network of the features.
        style_layers, content_layers: the layers that are compared.

    Raises:
        ValueError: no pairs, or a painted picture that has not its photo's size.
    """
    if not styles or not style_layers or not content_layers:
        raise ValueError("The judge needs a style picture, style layers and content layers.")
    device = next(loss_network.buffers()).device
    layers = {*style_layers, *content_layers}
    targets = {
        size: {name: gram(f) for name, f in loss_network(picture.to(device), style_layers).items()}
        for size, picture in styles.items()
    }
    style: dict[int, dict[str, float]] = {size: dict.fromkeys(style_layers, 0.0) for size in styles}
    content = dict.fromkeys(content_layers, 0.0)
    count = 0
    for painted, photo in pairs:
        if painted.shape != photo.shape:
            raise ValueError(
                f"A painted picture has its photo's size; got {tuple(painted.shape[-2:])} for "
                f"{tuple(photo.shape[-2:])} (height, width)."
            )
        count += 1
        found = loss_network(painted.to(device), layers)
        wanted = loss_network(photo.to(device), content_layers)
        for name in content_layers:
            content[name] += relative_error(found[name], wanted[name]).item()
        for size, target in targets.items():
            for name in style_layers:
                style[size][name] += relative_error(gram(found[name]), target[name]).item()
    if not count:
        raise ValueError("There is nothing to judge: no painted picture with its photo.")
    return _mean_over_photos(count, style, content)


def _mean_over_photos(count: int, style: dict[int, dict[str, float]], content: dict[str, float]) -> StyleMetrics:
    means = {size: sum(by.values()) / len(by) / count for size, by in style.items()}
    best = min(means, key=means.__getitem__)
    return StyleMetrics(
        photos=count,
        style_size=best,
        style={name: error / count for name, error in style[best].items()},
        style_by_size=means,
        content={name: error / count for name, error in content.items()},
    )
