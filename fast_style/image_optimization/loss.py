"""How far one picture is from what it is to show and from how it is to be painted: the loss of Gatys et al. (2016)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fast_style.losses.functional import gram
from fast_style.losses.normalizations import LayerWeights, layer_weights, normalization_of
from fast_style.networks.loss_network import AnyLossNetwork, check_names


@dataclass(frozen=True)
class Style:
    """A painting to learn from.

    Attributes:
        picture: `(1, 3, H, W)` in 0..1.
        weight: its share beside other styles.
        region: `(1, 1, H, W)` in 0..1, as large as the picture to be painted: where the style goes; None: everywhere.
    """

    picture: Tensor
    weight: float = 1.0
    region: Tensor | None = None


class PictureLoss(nn.Module):
    """The terms of a picture against targets that are computed once, here.

    Styles without a region share one target, the mean of their Gram matrices by weight; a style with a region has
    spatially guided Gram matrices of its own (Gatys et al. 2017, section 4).

    Args:
        loss_network: frozen features by name.
        content: the photo `(1, 3, H, W)` in 0..1; None for a texture, which shows nothing.
        styles: at least one.
        content_layers: names, or names with weights.
        style_layers: likewise.
        content_weight, style_weight, tv_weight: of the kinds of terms; 0 drops a term from the computation.
        range_weight: of `range`, the mean squared distance of the pixels from 0..1. Without it a picture that is
            cut to 0..1 in the end has lost a tenfold of its style error (0.0006 to 0.005 in a run of ours).
        strength: multiplies the style's weight, whatever the recipe: 0.3 is gentle, 3 is strong.
        normalization: a name of `NORMALIZATIONS`, which say what each term is divided by.
        recompute: less memory for more time, see `LossNetwork.forward`.

    Raises:
        ValueError: nothing to compare with, an unknown layer, or a picture too small for the deepest one.
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
        strength: float = 1.0,
        normalization: str = "relative",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.normalization = normalization_of(normalization)
        if not styles or not all(style.weight > 0 for style in styles):
            raise ValueError(
                f"A picture needs styles with weights above 0; got weights {[style.weight for style in styles]}."
            )
        if min(content_weight, style_weight, tv_weight, range_weight, strength) < 0:
            raise ValueError(
                f"A weight or strength is at least 0; got content {content_weight}, style {style_weight}, "
                f"tv {tv_weight}, range {range_weight}, strength {strength}."
            )
        self.loss_network = loss_network
        self.recompute = recompute
        self.content_layers = layer_weights(content_layers, 0.0 if content is None else content_weight)
        self.style_layers = layer_weights(style_layers, style_weight * strength)
        check_names([*self.content_layers, *self.style_layers], loss_network.names)
        #: The weight of every term by its name, as `forward` names them.
        self.weights: dict[str, float] = {
            **{f"content/{name}": weight for name, weight in self.content_layers.items()},
            **{f"style/{name}": weight for name, weight in self.style_layers.items()},
            **({"tv": tv_weight} if tv_weight else {}),
            **({"range": range_weight} if range_weight else {}),
        }
        if not self.content_layers and not self.style_layers:
            raise ValueError("Neither content nor style weighs anything, so there is nothing to paint; raise one.")
        for name, target in self._content_targets(content).items():
            self.register_buffer(f"content_{name}", target, persistent=False)
        self.shares = self._set_style_targets(styles)

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """Unweighted terms, scalars, of `(1, 3, H, W)`, whose pixels may stray from 0..1."""
        names = {*self.content_layers, *self.style_layers}
        features = self.loss_network(picture, names, recompute=self.recompute)
        formula = self.normalization
        terms = {}
        for name in self.content_layers:
            terms[f"content/{name}"] = formula.content(features[name], self.get_buffer(f"content_{name}")).mean()
        for name in self.style_layers:
            terms[f"style/{name}"] = self._style_term(name, features[name])
        if "tv" in self.weights:
            terms["tv"] = formula.variation(picture).mean()
        if "range" in self.weights:
            terms["range"] = (picture - picture.detach().clamp(0, 1)).square().mean()
        return terms

    def weigh(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms times their weights; their sum is the loss."""
        return {name: self.weights[name] * term for name, term in terms.items()}

    def _style_term(self, name: str, features: Tensor) -> Tensor:
        errors = []
        for index, share in enumerate(self.shares):
            found = self._gram(features, self._region(index, features))
            error = self.normalization.style(found, self.get_buffer(f"style{index}_{name}"))
            errors.append(share * error.mean())
        return torch.stack(errors).sum()

    def _gram(self, features: Tensor, region: Tensor | None) -> Tensor:
        if not self.recompute or region is None:
            return gram(features, region)
        # The features as the region weighs them, in float32, would be kept for the gradient.
        found: Tensor = checkpoint(gram, features, region, use_reentrant=False)
        return found

    def _region(self, index: int, features: Tensor) -> Tensor | None:
        region: Tensor | None = getattr(self, f"region{index}")
        h, w = features.shape[-2:]
        # Each feature counts by the share of the region in what it covers.
        return None if region is None else nn.functional.interpolate(region, size=(h, w), mode="area")

    @torch.no_grad()
    def _content_targets(self, content: Tensor | None) -> dict[str, Tensor]:
        return {} if content is None else self._seen(content, self.content_layers, "photo")

    def _seen(self, picture: Tensor, names: Collection[str], what: str) -> dict[str, Tensor]:
        try:
            features: dict[str, Tensor] = self.loss_network(picture, names)
        except ValueError as error:
            raise ValueError(f"The {what} can't be compared with at this size. {error}") from error
        return features

    @torch.no_grad()
    def _set_style_targets(self, styles: Sequence[Style]) -> list[float]:
        """Register target Gram matrices and regions by their number; return the share of each."""
        everywhere = [style for style in styles if style.region is None]
        groups = [[style] for style in styles if style.region is not None] + ([everywhere] if everywhere else [])
        whole = sum(style.weight for style in styles)
        for index, group in enumerate(groups):
            weight = sum(style.weight for style in group)
            found = [self._seen(style.picture, self.style_layers, "painting") for style in group]
            for name in self.style_layers:
                parts = [style.weight / weight * gram(f[name]) for style, f in zip(group, found, strict=True)]
                self.register_buffer(f"style{index}_{name}", torch.stack(parts).sum(0), persistent=False)
            region = group[0].region
            self.register_buffer(f"region{index}", None if region is None else region.detach(), persistent=False)
        return [sum(style.weight for style in group) / whole for group in groups]
