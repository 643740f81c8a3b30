"""Loss terms at several levels of an image pyramid: strokes at level 1, stars and waves at levels 2 and 4.

A layer of a loss network sees a small part of an image: relu3_1 of VGG sees 24 pixels, so its Gram matrix says little
about larger structure, and its features say little about larger shapes. Deeper layers see more, but they need a larger
network. A pyramid gives the same layers a reduced image: at level 4 they see four times as much. Snelgrove (2017,
"High-resolution multi-scale neural texture synthesis") synthesises textures with the Gram matrices of such a pyramid.
Johnson et al. (2016) use level 1 alone.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from fast_style.losses.normalizations import LayerWeights, layer_weights
from fast_style.networks.loss_network import AnyLossNetwork

#: Weights of the levels 1, 2, 4, ...: of the images at full size, at half of it, at a quarter of it, and so on.
LevelWeights = Sequence[float]
#: The plain loss of the papers.
ONE_LEVEL: LevelWeights = (1.0,)
_SETTINGS = "loss.style_levels, loss.content_levels"
#: Features by level and layer.
PyramidFeatures = Mapping[int, Mapping[str, Tensor]]


class PyramidTerms:
    """The content terms or the style terms of a loss: at which levels, of which layers, with which weights.

    Args:
        kind: `content` or `style`, the first part of a term's name.
        layers: layers, or layers with weights; every level uses the same layers.
        levels: weights of the levels 1, 2, 4, ...; 0 leaves a level out of the computation.
        layer_shares: one weight for each layer of a list; None: equal weights.
        weight: weight of all terms. The weight of a term is `weight` x its layer's weight x its level's weight.

    Attributes:
        layers: the weight of every term, by level and layer.
        weights: the same by name: `style/relu2_1` at level 1, `style/level4/relu2_1` at level 4.

    Raises:
        ValueError: no levels, a negative weight, or not one weight for each layer.
    """

    def __init__(
        self,
        kind: Literal["content", "style"],
        layers: LayerWeights,
        levels: LevelWeights,
        weight: float,
        layer_shares: Sequence[float] | None = None,
    ) -> None:
        if not levels or min(levels) < 0:
            raise ValueError(
                f"{kind}_levels must list the weights, at least 0, of the levels 1, 2, 4, ..., as in [1.0, 0.35, 0.2]; "
                f"got {list(levels)}."
            )
        by_level = {2**index: layer_weights(layers, weight * share, layer_shares) for index, share in enumerate(levels)}
        self.kind = kind
        self.layers: dict[int, dict[str, float]] = {level: found for level, found in by_level.items() if found}
        self.weights: dict[str, float] = {
            self._name(level, layer): share for level, found in self.layers.items() for layer, share in found.items()
        }

    @property
    def layer_names(self) -> set[str]:
        """All layers of these terms."""
        return {name for found in self.layers.values() for name in found}

    def by_name(self, features: PyramidFeatures) -> dict[str, Tensor]:
        """Return those of these features that each term compares, by the term's name."""
        return {
            self._name(level, layer): features[level][layer] for level, found in self.layers.items() for layer in found
        }

    def features(self, network: AnyLossNetwork, pictures: Tensor) -> dict[str, Tensor]:
        """Return the features of images `(N, 3, H, W)` that each term compares, by the term's name."""
        return self.by_name(pyramid_features(network, pictures, self))

    def _name(self, level: int, layer: str) -> str:
        # Level 1 has the plain name, as in a loss with one level.
        return f"{self.kind}/{layer}" if level == 1 else f"{self.kind}/level{level}/{layer}"


def pyramid_features(
    network: AnyLossNetwork, pictures: Tensor, *groups: PyramidTerms, recompute: bool = False
) -> PyramidFeatures:
    """Return the features that these terms compare. Each level is one pass through the network.

    Args:
        network: computes the features.
        pictures: `(N, 3, H, W)` in 0..1.
        groups: the terms.
        recompute: see `LossNetwork.forward`.

    Raises:
        ValueError: images too small for a level.
    """
    wanted: dict[int, set[str]] = {}
    for terms in groups:
        for level, layers in terms.layers.items():
            wanted.setdefault(level, set()).update(layers)
    found: dict[int, Mapping[str, Tensor]] = {}
    for level, names in wanted.items():
        small = reduced(pictures, level)
        try:
            found[level] = network(small, names, recompute=recompute)
        except ValueError as error:
            if level == 1:
                raise
            # The loss network names the size of the reduced image, which nobody has asked for.
            raise ValueError(f"Level {level} of the image pyramid ({_SETTINGS}): {error}") from None
    return found


def reduced(pictures: Tensor, level: int) -> Tensor:
    """Images `(N, C, H, W)` reduced `level` times by the mean of each square of pixels.

    Rows and columns that fill no square are left out. The mean of a square is what a person sees from `level` times as
    far away; other filters blur more or let small strokes through as moire.

    Raises:
        ValueError: an image with a side below `level`.
    """
    if min(pictures.shape[-2:]) < level:
        raise ValueError(
            f"An image of {pictures.shape[-1]}x{pictures.shape[-2]} pixels is too small for level {level} of the "
            f"image pyramid; use a larger image, or leave out this level ({_SETTINGS})."
        )
    return pictures if level == 1 else F.avg_pool2d(pictures, level)
