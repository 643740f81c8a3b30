"""Style statistics at several levels of an image pyramid: strokes at level 1, stars and waves at levels 2 and 4.

A layer of a loss network sees a small part of an image: relu3_1 of VGG sees 24 pixels, so its Gram matrix says little
about larger structure. Deeper layers see more, but they need a larger network. A pyramid gives the same layers a
reduced image: at level 4 they see four times as much. Snelgrove (2017, "High-resolution multi-scale neural texture
synthesis") synthesises textures with the Gram matrices of such a pyramid. Johnson et al. (2016) use level 1 alone.
"""

from collections.abc import Collection, Sequence

import torch.nn.functional as F
from torch import Tensor

from fast_style.losses.normalizations import LayerWeights, layer_weights
from fast_style.networks.loss_network import AnyLossNetwork

#: Weights of the levels 1, 2, 4, ...: of the images at full size, at half of it, at a quarter of it, and so on.
LevelWeights = Sequence[float]
#: The plain style loss of the papers.
ONE_LEVEL: LevelWeights = (1.0,)


class StylePyramid:
    """Which style terms a loss has, their weights, and the features that each term compares.

    Args:
        layers: layers of the style loss, or layers with weights; every level uses the same layers.
        levels: weights of the levels 1, 2, 4, ...; 0 leaves a level out of the computation.
        weight: weight of the style loss. The weight of a term is `weight` x its layer's weight x its level's weight.

    Raises:
        ValueError: no levels, or a negative weight.
    """

    def __init__(self, layers: LayerWeights, levels: LevelWeights, weight: float) -> None:
        if not levels or min(levels) < 0:
            raise ValueError(
                "style_levels must list the weights, at least 0, of the levels 1, 2, 4, ..., as in [1.0, 0.35, 0.2]; "
                f"got {list(levels)}."
            )
        by_level = {level: layer_weights(layers, weight * share) for level, share in _by_factor(levels).items()}
        self.layers: dict[int, dict[str, float]] = {level: found for level, found in by_level.items() if found}

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every term, by name: `style/relu2_1` at level 1, `style/level4/relu2_1` at level 4."""
        return {
            term_name(level, layer): weight for level, layers in self.layers.items() for layer, weight in layers.items()
        }

    @property
    def layer_names(self) -> set[str]:
        """All layers of the style loss."""
        return {name for layers in self.layers.values() for name in layers}

    def features(
        self, network: AnyLossNetwork, pictures: Tensor, *, others: Collection[str] = (), recompute: bool = False
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the features by style term, and those of `others` at level 1 by layer. Each level is one pass.

        Args:
            network: computes the features.
            pictures: `(N, 3, H, W)` in 0..1.
            others: layers that are needed besides at level 1, such as those of the content loss.
            recompute: see `LossNetwork.forward`.

        Raises:
            ValueError: images too small for a level.
        """
        first = self.layers.get(1, {})
        whole = network(pictures, {*first, *others}, recompute=recompute) if first or others else {}
        terms = {term_name(1, name): whole[name] for name in first}
        for level, layers in self.layers.items():
            if level == 1:
                continue
            found = network(reduced(pictures, level), layers, recompute=recompute)
            terms |= {term_name(level, name): found[name] for name in layers}
        return terms, {name: whole[name] for name in others}


def _by_factor(weights: LevelWeights) -> dict[int, float]:
    return {2**index: weight for index, weight in enumerate(weights)}


def term_name(level: int, layer: str) -> str:
    """Name of a style term. Level 1 has the plain name, as in a loss with one level."""
    return f"style/{layer}" if level == 1 else f"style/level{level}/{layer}"


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
            "style loss; use a larger image, or leave out this level (loss.style_levels)."
        )
    return pictures if level == 1 else F.avg_pool2d(pictures, level)
