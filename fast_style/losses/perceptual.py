"""The perceptual losses of Johnson et al. (2016): content, style and smoothness as named terms."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from fast_style.losses.statistics import gram, relative_error, squared_error, total_variation
from fast_style.networks.loss_network import AnyLossNetwork, check_names

Normalization = Literal["relative", "johnson2016"]
LayerWeights = Sequence[str] | Mapping[str, float]


class PerceptualLoss(nn.Module):
    """How far a painted picture is from its photo's content and from a painting's style.

    `relative` divides every term by the size of what it is compared with, so that one set of weights serves every
    style and every loss network:
        content: `||F - F_c||^2 / ||F_c||^2`; style: `||G - G_s||^2 / ||G_s||^2`;
        tv: mean squared difference of neighbouring pixels.
    `johnson2016` is the paper's:
        content: `||F - F_c||^2 / (C H W)` (eq. 2); style: `||G - G_s||_F^2` (eq. 4);
        tv: the sum of squared differences of neighbouring pixels on the 0..255 scale, to which its 1e-6..1e-4 belong.

    Args:
        loss_network: frozen features by name.
        style: pictures `(1, 3, H, W)` of the style, sizes and crops of one painting; their Gram matrices are averaged.
        content_layers: names, or names with weights.
        style_layers: likewise.
        content_weight, style_weight, tv_weight: of the three kinds of terms; 0 drops a term from the computation.
        normalization: `relative` or `johnson2016`.
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
        normalization: Normalization = "relative",
    ) -> None:
        super().__init__()
        if normalization not in get_args(Normalization):
            raise ValueError(f"normalization is one of {get_args(Normalization)}; got {normalization!r}.")
        if not style:
            raise ValueError("A style needs at least one picture.")
        self.loss_network = loss_network
        self.normalization = normalization
        self.content_layers = _weights(content_layers, content_weight)
        self.style_layers = _weights(style_layers, style_weight)
        check_names([*self.content_layers, *self.style_layers], loss_network.names)
        #: The weight of every term by its name, as `forward` names them.
        self.weights: dict[str, float] = {
            **{f"content/{name}": weight for name, weight in self.content_layers.items()},
            **{f"style/{name}": weight for name, weight in self.style_layers.items()},
            **({"tv": tv_weight} if tv_weight else {}),
        }
        if not self.weights:
            raise ValueError("Every loss weight is 0, so there is nothing to learn from; raise one.")
        for name, target in self._style_targets(style).items():
            self.register_buffer(f"target_{name}", target, persistent=False)

    def forward(self, painted: Tensor, photos: Tensor) -> dict[str, Tensor]:
        """Unweighted terms, scalars averaged over the batch, of `(N, 3, H, W)` in 0..1 each."""
        features = self.loss_network(painted, {*self.content_layers, *self.style_layers})
        with torch.no_grad():
            content = self.loss_network(photos, self.content_layers)
        terms = {f"content/{name}": self._content_term(features[name], content[name]) for name in self.content_layers}
        for name in self.style_layers:
            target = self.get_buffer(f"target_{name}")
            error = relative_error if self.normalization == "relative" else squared_error
            terms[f"style/{name}"] = error(gram(features[name]), target).mean()
        if "tv" in self.weights:
            terms["tv"] = self._tv_term(painted)
        return terms

    def weigh(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms times their weights; their sum is the loss."""
        return {name: self.weights[name] * term for name, term in terms.items()}

    def _content_term(self, found: Tensor, wanted: Tensor) -> Tensor:
        if self.normalization == "relative":
            return relative_error(found, wanted).mean()
        return squared_error(found, wanted).mean() / found[0].numel()

    def _tv_term(self, painted: Tensor) -> Tensor:
        if self.normalization == "relative":
            return total_variation(painted).mean()
        return total_variation(painted, reduction="sum").mean() * 255**2

    @torch.no_grad()
    def _style_targets(self, pictures: Sequence[Tensor]) -> dict[str, Tensor]:
        grams = [
            {name: gram(f) for name, f in self.loss_network(picture, self.style_layers).items()} for picture in pictures
        ]
        return {name: torch.stack([found[name] for found in grams]).mean(0) for name in self.style_layers}


def _weights(layers: LayerWeights, overall: float) -> dict[str, float]:
    """Layer names with the weight of each; no layers at all where the overall weight is 0."""
    shares = dict(layers) if isinstance(layers, Mapping) else dict.fromkeys(layers, 1.0)
    return {name: overall * share for name, share in shares.items() if overall * share}
