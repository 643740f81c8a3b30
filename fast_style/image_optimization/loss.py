"""The loss of Gatys et al. (2016): content error, style error and smoothness of one image."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fast_style.losses.functional import gram
from fast_style.losses.image_pyramid import ONE_LEVEL, LevelWeights, PyramidTerms, pyramid_features
from fast_style.losses.normalizations import LayerWeights, normalization_of
from fast_style.losses.presets import STRENGTHS, preset_factor
from fast_style.networks.loss_network import AnyLossNetwork, check_names


@dataclass(frozen=True)
class Style:
    """A style image with its weight and region.

    Attributes:
        picture: the style image, `(1, 3, H, W)` in 0..1.
        weight: weight relative to other styles.
        region: `(1, 1, H, W)` in 0..1, with the size of the result: 1 where the style applies. None: everywhere.
    """

    picture: Tensor
    weight: float = 1.0
    region: Tensor | None = None


class PictureLoss(nn.Module):
    """Loss terms of an image; the targets are computed once, in the constructor.

    Styles without a region share one target: the weighted mean of their Gram matrices. A style with a region has its
    own spatially guided Gram matrices (Gatys et al. 2017, section 4).

    Args:
        loss_network: frozen loss network.
        content: the photo `(1, 3, H, W)` in 0..1; None for a texture, which has no content term.
        styles: at least one style.
        content_layers, style_layers: layer names, or layer names with weights.
        content_weight, style_weight, tv_weight: weights of the terms; 0 skips the computation of the term.
        range_weight: weight of `range`, the mean square of the excess of pixel values below 0 or above 1. Without this
            term, the final clamp raised the style error from 0.0006 to 0.005 in one measurement.
        strength: factor of the style weight in every recipe, or a name of `STRENGTHS`; 0.3 is gentle, 3 is strong.
        normalization: a name of `NORMALIZATIONS`, which define the divisor of each term.
        content_layer_weights, style_layer_weights: one weight for each layer of a list of names. None: equal weights.
        content_levels, style_levels: weights of the levels of the image pyramid (see `image_pyramid`). The default is
            level 1 alone.
        recompute: less memory but more time, see `LossNetwork.forward`.

    Raises:
        ValueError: no style, no weight above 0, an unknown layer, or an image too small for the deepest layer.
    """

    def __init__(
        self,
        *,
        loss_network: AnyLossNetwork,
        content: Tensor | None,
        styles: Sequence[Style],
        content_layers: LayerWeights = ("relu4_2",),
        style_layers: LayerWeights = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        content_weight: float = 1.0,
        style_weight: float = 5.0,
        tv_weight: float = 0.0,
        range_weight: float = 1000.0,
        strength: str | float = 1.0,
        normalization: str = "relative",
        recompute: bool = False,
        content_layer_weights: Sequence[float] | None = None,
        style_layer_weights: Sequence[float] | None = None,
        content_levels: LevelWeights = ONE_LEVEL,
        style_levels: LevelWeights = ONE_LEVEL,
    ) -> None:
        super().__init__()
        self.normalization = normalization_of(normalization)
        if not styles or not all(style.weight > 0 for style in styles):
            raise ValueError(
                f"The loss needs styles with weights above 0; got weights {[style.weight for style in styles]}."
            )
        if min(content_weight, style_weight, tv_weight, range_weight) < 0:
            raise ValueError(
                f"Loss weights must be at least 0; got content {content_weight}, style {style_weight}, "
                f"tv {tv_weight}, range {range_weight}."
            )
        style_weight *= preset_factor(STRENGTHS, strength, setting="strength")
        self.loss_network = loss_network
        self.recompute = recompute
        content_weight = 0.0 if content is None else content_weight
        self.content = PyramidTerms("content", content_layers, content_levels, content_weight, content_layer_weights)
        self.style = PyramidTerms("style", style_layers, style_levels, style_weight, style_layer_weights)
        check_names([*self.content.layer_names, *self.style.layer_names], loss_network.names)
        #: Weight of each term, by the names that `forward` returns.
        self.weights: dict[str, float] = {
            **self.content.weights,
            **self.style.weights,
            **({"tv": tv_weight} if tv_weight else {}),
            **({"range": range_weight} if range_weight else {}),
        }
        if not self.content.weights and not self.style.weights:
            raise ValueError(
                "All weights of content and style are 0: set loss.content_weight, or loss.style_weight and strength, "
                "above 0."
            )
        for name, target in self._content_targets(content).items():
            self.register_buffer(_content_buffer(name), target, persistent=False)
        self.shares = self._set_style_targets(styles)

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """Return the unweighted terms (scalars) of an image `(1, 3, H, W)`; its pixels may be outside 0..1."""
        features = pyramid_features(self.loss_network, picture, self.content, self.style, recompute=self.recompute)
        formula = self.normalization
        terms = {}
        for name, found in self.content.by_name(features).items():
            terms[name] = formula.content(found, self.get_buffer(_content_buffer(name))).mean()
        for name, found in self.style.by_name(features).items():
            terms[name] = self._style_term(name, found)
        if "tv" in self.weights:
            terms["tv"] = formula.variation(picture).mean()
        if "range" in self.weights:
            terms["range"] = (picture - picture.detach().clamp(0, 1)).square().mean()
        return terms

    def weigh(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Multiply the terms by their weights; the sum is the loss."""
        return {name: self.weights[name] * term for name, term in terms.items()}

    def _style_term(self, name: str, features: Tensor) -> Tensor:
        errors = []
        for index, share in enumerate(self.shares):
            found = self._gram(features, self._region(index, features))
            error = self.normalization.style(found, self.get_buffer(_style_buffer(index, name)))
            errors.append(share * error.mean())
        return torch.stack(errors).sum()

    def _gram(self, features: Tensor, region: Tensor | None) -> Tensor:
        if not self.recompute or region is None:
            return gram(features, region)
        # Without checkpointing, autograd would keep a float32 copy of the features, multiplied by the region.
        found: Tensor = checkpoint(gram, features, region, use_reentrant=False)
        return found

    def _region(self, index: int, features: Tensor) -> Tensor | None:
        region: Tensor | None = getattr(self, f"region{index}")
        h, w = features.shape[-2:]
        # Area interpolation: the weight of a feature is the part of its pixels inside the region.
        return None if region is None else nn.functional.interpolate(region, size=(h, w), mode="area")

    @torch.no_grad()
    def _content_targets(self, content: Tensor | None) -> dict[str, Tensor]:
        if content is None:
            return {}
        with _named("photo"):
            return self.content.features(self.loss_network, content)

    @torch.no_grad()
    def _set_style_targets(self, styles: Sequence[Style]) -> list[float]:
        """Register the target Gram matrices and regions as numbered buffers; return the weight share of each."""
        everywhere = [style for style in styles if style.region is None]
        groups = [[style] for style in styles if style.region is not None] + ([everywhere] if everywhere else [])
        whole = sum(style.weight for style in styles)
        for index, group in enumerate(groups):
            weight = sum(style.weight for style in group)
            with _named("style image"):
                found = [self.style.features(self.loss_network, style.picture) for style in group]
            for name in self.style.weights:
                parts = [style.weight / weight * gram(f[name]) for style, f in zip(group, found, strict=True)]
                self.register_buffer(_style_buffer(index, name), torch.stack(parts).sum(0), persistent=False)
            region = group[0].region
            self.register_buffer(f"region{index}", None if region is None else region.detach(), persistent=False)
        return [sum(style.weight for style in group) / whole for group in groups]


def _content_buffer(term: str) -> str:
    return term.replace("/", "_")


def _style_buffer(index: int, term: str) -> str:
    return term.replace("style", f"style{index}", 1).replace("/", "_")


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Add which image is too small to the error of the loss network."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"The {what} is too small for the loss network. {error}") from error
