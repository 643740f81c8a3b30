"""Style and content errors of stylized images, from the features of a loss network.

The default loss network of scripts/evaluate.py is `builtin`, which was distilled from `vgg19_mix`. The networks in
checkpoints/ were trained with `vgg19_mix`. By these two, the figures measure how well a network minimises its training
loss. For an independent measurement, use a loss network that had no part in the training.

Errors are relative as in the losses, so figures of different styles, networks and runs are comparable: the style error
is `||G - G_s||^2 / ||G_s||^2`, the content error `||F - F_c||^2 / ||F_c||^2`, per layer, averaged over the photos.
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
Pair = tuple[Tensor, Tensor]  # (stylized image, photo)


@dataclass(frozen=True)
class StyleMetrics:
    """Style and content errors, averaged over the photos.

    Attributes:
        photos: number of photos.
        style_size: shorter side of the style image, in pixels, with the lowest style error.
        style: style error by layer at that size.
        style_by_size: mean style error over the layers, by size of the style image.
        content: content error by layer.
    """

    photos: int
    style_size: int
    style: dict[str, float]
    style_by_size: dict[int, float]
    content: dict[str, float]

    @property
    def style_error(self) -> float:
        """Mean style error over the layers at the best size."""
        return self.style_by_size[self.style_size]

    def as_json(self) -> dict[str, object]:
        """Return plain values for a JSON file."""
        return {**asdict(self), "style_error": self.style_error}

    def as_table(self) -> str:
        """Return the figures as a text table."""
        rows = [("layer", "style error", "content error")]
        for name in dict.fromkeys([*self.style, *self.content]):
            rows.append((name, _figure(self.style.get(name)), _figure(self.content.get(name))))
        rows.append((f"mean, style size {self.style_size}", _figure(self.style_error), ""))
        return "\n".join(f"{name:24}{style:>12}{content:>15}" for name, style, content in rows)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def from_model(painter: PaintFn, photos: Sequence[str], *, size: int | None, enlarge: bool = True) -> Iterator[Pair]:
    """Stylize each photo and yield the stylized image with its photo.

    Args:
        painter: maps `(1, 3, H, W)` in 0..1 to the same shape and range.
        photos: image files.
        size: shorter side in pixels to which photos are resized; None keeps their original size.
        enlarge: also resize photos that are smaller than `size`.
    """
    for file in photos:
        fits = size is None or (not enlarge and min(size_of(file)) <= size)
        photo = load_image(file, size=None if fits else size)
        yield painter(photo), photo


def from_folder(folder: str, photos: Sequence[str]) -> Iterator[Pair]:
    """Yield the stylized image in `folder` for each photo; the names are equal, up to a suffix such as `_style`.

    The stylized image keeps its size, because resizing would blur the strokes. The photo is resized to that size.

    Raises:
        ValueError: a photo has no stylized image.
    """
    stems = sorted((Path(file).stem for file in photos), key=len)
    pictures = {}
    for file in find_pictures(folder):
        name = Path(file).stem
        # Use the longest stem that fits: a_b_wave belongs to photo a_b, even if there is a photo a.
        fitting = [stem for stem in stems if name == stem or name.startswith(f"{stem}_")]
        if fitting and (name == fitting[-1] or fitting[-1] not in pictures):
            pictures[fitting[-1]] = file
    for file in photos:
        picture = pictures.get(Path(file).stem)
        if picture is None:
            name = Path(file).stem
            raise ValueError(
                f"Expected a stylized image of {file} in {folder}, found no file named {name} or {name}_*."
            )
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
    """Measure the style and content errors of stylized images.

    Args:
        pairs: pairs of a stylized image and its photo, `(1, 3, H, W)` in 0..1, with equal sizes within a pair.
        styles: the style image `(1, 3, H, W)` in 0..1, by its shorter side in pixels.
        loss_network: computes the features.
        style_layers, content_layers: layers for the style and the content error.

    Raises:
        ValueError: no pairs, no style image or layers, or a stylized image and a photo of unequal size.
    """
    if not styles or not style_layers or not content_layers:
        raise ValueError("The metrics need at least one style image, one style layer and one content layer.")
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
                f"A stylized image must have the height and width of its photo; got {tuple(painted.shape[-2:])} for "
                f"{tuple(photo.shape[-2:])}."
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
        raise ValueError("Expected at least one stylized image with its photo, found none.")
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
