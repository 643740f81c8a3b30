"""Style and content errors of a stylized image by one judge, with the style at several scales.

Errors are relative as in the losses, so figures of different styles, networks and runs are comparable: the style error
of a layer is `||G - G_s||^2 / ||G_s||^2`, its content error `||F - F_c||^2 / ||F_c||^2`. `F`: features of the stylized
image, `F_c`: of its photo, `G` and `G_s`: Gram matrices of the stylized image and of the painting.

A layer sees a small part of an image. relu3_1 of VGG sees 24 pixels, so at scale 1 it judges strokes. At scale 4 the
stylized image and the painting are both reduced 4 times, so the same layer judges waves and stars. Snelgrove (2017)
synthesises textures with such a pyramid; `losses/image_pyramid.py` trains with it and calls scales levels.

The brush size of a stylized image is free, so the painting is given in several sizes, and the one with the lowest style
error at scale 1 counts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fast_style.evaluation.judges import Judge
from fast_style.losses.functional import gram, relative_error
from fast_style.losses.image_pyramid import reduced

#: How many times the stylized image and the painting are reduced.
SCALES = (1, 2, 4, 8)

Features = dict[str, Tensor]


@dataclass(frozen=True)
class ImageErrors:
    """Errors of one stylized image.

    Attributes:
        style: style error by size of the painting, scale and layer; scales that are too small are left out.
        content: content error by layer.
    """

    style: dict[int, dict[int, dict[str, float]]]
    content: dict[str, float]

    def style_error(self, size: int, scale: int) -> float:
        """Mean style error over the layers; NaN if the image is too small for this scale."""
        return _mean(self.style[size].get(scale, {}))

    @property
    def content_error(self) -> float:
        """Mean content error over the layers."""
        return _mean(self.content)


class StyleMetrics:
    """Measures stylized images by one judge; the Gram matrices of the painting are computed once.

    Args:
        judge: loss network and layers.
        painting: the style image `(1, 3, H, W)` in 0..1, by its shorter side in pixels.
        scales: how many times images are reduced; 1 is needed.

    Raises:
        ValueError: no painting, no scale 1, or a painting too small for the judge at scale 1.
    """

    def __init__(self, judge: Judge, painting: Mapping[int, Tensor], *, scales: Sequence[int] = SCALES) -> None:
        if not painting or 1 not in scales or min(scales) < 1:
            raise ValueError(
                f"The style metrics need a painting of at least one size, and scales with 1 and none below it; got "
                f"sizes {list(painting)} and scales {list(scales)}."
            )
        self.judge = judge
        self.scales = sorted(set(scales))
        self._targets = {size: self._grams(picture) for size, picture in painting.items()}

    def photo_features(self, photo: Tensor) -> Features:
        """Content features of a photo `(1, 3, H, W)` in 0..1, for `errors`."""
        features: Features = self.judge.network(photo.to(self.judge.device), self.judge.content_layers)
        return features

    def errors(self, painted: Tensor, photo_features: Features) -> ImageErrors:
        """Measure a stylized image `(1, 3, H, W)` in 0..1; one pass of the judge for each scale.

        Raises:
            ValueError: an image too small for the judge at scale 1.
        """
        pictures = painted.to(self.judge.device)
        whole = self.judge.network(pictures, {*self.judge.style_layers, *self.judge.content_layers})
        found = self._grams(pictures, whole)
        style = {
            size: {
                scale: {name: relative_error(found[scale][name], wanted).item() for name, wanted in targets.items()}
                for scale, targets in by_scale.items()
                if scale in found
            }
            for size, by_scale in self._targets.items()
        }
        content = {name: relative_error(whole[name], wanted).item() for name, wanted in photo_features.items()}
        return ImageErrors(style, content)

    def _grams(self, pictures: Tensor, whole: Features | None = None) -> dict[int, Features]:
        """Gram matrices by scale and layer, without the scales for which the image is too small."""
        names, found = self.judge.style_layers, {}
        for scale in self.scales:
            if scale == 1 and whole is not None:
                features = whole
            else:
                try:
                    features = self.judge.network(reduced(pictures.to(self.judge.device), scale), names)
                except ValueError:  # The layers are known, so the image is too small.
                    if scale == 1:
                        raise
                    break
            found[scale] = {name: gram(features[name]) for name in names}
        return found


def best_size(errors: Sequence[ImageErrors]) -> int:
    """The size of the painting with the lowest mean style error at scale 1 over all images."""
    return min(errors[0].style, key=lambda size: math.fsum(error.style_error(size, 1) for error in errors))


def _mean(errors: Mapping[str, float]) -> float:
    return math.fsum(errors.values()) / len(errors) if errors else math.nan
