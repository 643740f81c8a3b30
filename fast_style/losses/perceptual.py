"""The perceptual loss of Johnson et al. (2016): content, style, variation and checkerboard as named terms."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from fast_style.losses.functional import checkerboard, gram
from fast_style.losses.image_pyramid import ONE_LEVEL, LevelWeights, PyramidTerms, pyramid_features
from fast_style.losses.normalizations import LayerWeights, normalization_of
from fast_style.networks.loss_network import AnyLossNetwork, check_names

StyleOver = Literal["photo", "batch"]


class PerceptualLoss(nn.Module):
    """Distance of stylized images from the content of their photos and from the style of a style image.

    Args:
        loss_network: frozen network that returns features by layer name.
        style: style images `(1, 3, H, W)`, such as sizes and crops of one painting. Their Gram matrices are averaged.
        content_layers: layer names, or layer names with weights.
        style_layers: layer names, or layer names with weights.
        content_layer_weights, style_layer_weights: one weight for each layer of a list of names. None: equal weights.
        content_levels, style_levels: weights of the levels of the image pyramid (see `image_pyramid`). The default is
            level 1 alone.
        content_weight, style_weight, tv_weight, checkerboard_weight: weights of the four kinds of terms. 0 removes a
            term from the computation. The last is not in the paper; see `functional.checkerboard`.
        normalization: the formulas of the terms, a name of `NORMALIZATIONS`.
        style_over: compare the Gram matrix of each `photo`, as in the paper, or the mean Gram matrix of this process's
            `batch`. With `photo`, even a smooth photo must show strokes or dots. With `batch` it may stay smooth.
    """

    def __init__(
        self,
        *,
        loss_network: AnyLossNetwork,
        style: Sequence[Tensor],
        content_layers: LayerWeights,
        style_layers: LayerWeights,
        content_weight: float,
        style_weight: float,
        tv_weight: float,
        checkerboard_weight: float = 0.0,
        normalization: str = "relative",
        style_over: StyleOver = "photo",
        content_layer_weights: Sequence[float] | None = None,
        style_layer_weights: Sequence[float] | None = None,
        content_levels: LevelWeights = ONE_LEVEL,
        style_levels: LevelWeights = ONE_LEVEL,
    ) -> None:
        super().__init__()
        if style_over not in get_args(StyleOver):
            raise ValueError(f"style_over must be one of {', '.join(get_args(StyleOver))}; got {style_over!r}.")
        self.style_over = style_over
        self.normalization = normalization_of(normalization)
        if not style:
            raise ValueError("PerceptualLoss needs at least one style image; got none.")
        self.loss_network = loss_network
        self.content = PyramidTerms("content", content_layers, content_levels, content_weight, content_layer_weights)
        self.style = PyramidTerms("style", style_layers, style_levels, style_weight, style_layer_weights)
        check_names([*self.content.layer_names, *self.style.layer_names], loss_network.names)
        #: The weight of every term of `forward`, by name.
        self.weights: dict[str, float] = {
            **self.content.weights,
            **self.style.weights,
            **({"tv": tv_weight} if tv_weight else {}),
            **({"checkerboard": checkerboard_weight} if checkerboard_weight else {}),
        }
        if not self.content.weights and not self.style.weights:
            raise ValueError(
                "The content and style weights are all 0, so there is no style to learn. Raise loss.style_weight."
            )
        for name, target in self._style_targets(style).items():
            self.register_buffer(_buffer_name(name), target, persistent=False)

    def forward(self, painted: Tensor, photos: Tensor) -> dict[str, Tensor]:
        """Return the unweighted terms, scalars averaged over the batch, for images `(N, 3, H, W)` in 0..1."""
        features = pyramid_features(self.loss_network, painted, self.content, self.style)
        with torch.no_grad():
            wanted = self.content.features(self.loss_network, photos)
        formula = self.normalization
        terms = {
            name: formula.content(found, wanted[name]).mean() for name, found in self.content.by_name(features).items()
        }
        for name, found in self.style.by_name(features).items():
            painted_gram = gram(found)
            if self.style_over == "batch":
                painted_gram = painted_gram.mean(0, keepdim=True)
            terms[name] = formula.style(painted_gram, self.get_buffer(_buffer_name(name))).mean()
        if "tv" in self.weights:
            terms["tv"] = formula.variation(painted).mean()
        if "checkerboard" in self.weights:
            terms["checkerboard"] = checkerboard(painted).mean()
        return terms

    def weigh(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Multiply the terms by their weights. The sum of the results is the loss."""
        return {name: self.weights[name] * term for name, term in terms.items()}

    @torch.no_grad()
    def _style_targets(self, pictures: Sequence[Tensor]) -> dict[str, Tensor]:
        found = [self.style.features(self.loss_network, picture) for picture in pictures]
        return {name: torch.stack([gram(by[name]) for by in found]).mean(0) for name in self.style.weights}


def _buffer_name(term: str) -> str:
    return term.replace("style", "target", 1).replace("/", "_")
