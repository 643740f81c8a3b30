"""The perceptual losses of Johnson et al. (2016): content, style and smoothness as named terms."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from fast_style.losses.functional import gram
from fast_style.losses.normalizations import LayerWeights, layer_weights, normalization_of
from fast_style.networks.loss_network import AnyLossNetwork, check_names

StyleOver = Literal["photo", "batch"]


class PerceptualLoss(nn.Module):
    """How far a painted picture is from its photo's content and from a painting's style.

    Args:
        loss_network: frozen features by name.
        style: pictures `(1, 3, H, W)` of the style, sizes and crops of one painting; their Gram matrices are averaged.
        content_layers: names, or names with weights.
        style_layers: likewise.
        content_weight, style_weight, tv_weight: of the three kinds of terms; 0 drops a term from the computation.
        normalization: a name of `NORMALIZATIONS`, which say what each term is divided by.
        style_over: whose Gram matrices are compared with the painting's: of each `photo`, as in the paper, or of the
            `batch` (here: this process's) in the mean. A photo that is smooth by itself must find strokes or dots
            somewhere to have a painting's statistics; among others it may stay smooth.
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
        normalization: str = "relative",
        style_over: StyleOver = "photo",
    ) -> None:
        super().__init__()
        if style_over not in get_args(StyleOver):
            raise ValueError(f"style_over is one of {', '.join(get_args(StyleOver))}; got {style_over!r}.")
        self.style_over = style_over
        self.normalization = normalization_of(normalization)
        if not style:
            raise ValueError("A style needs at least one picture.")
        self.loss_network = loss_network
        self.content_layers = layer_weights(content_layers, content_weight)
        self.style_layers = layer_weights(style_layers, style_weight)
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
        formula = self.normalization
        terms = {
            f"content/{name}": formula.content(features[name], content[name]).mean() for name in self.content_layers
        }
        for name in self.style_layers:
            painted_gram = gram(features[name])
            if self.style_over == "batch":
                painted_gram = painted_gram.mean(0, keepdim=True)
            terms[f"style/{name}"] = formula.style(painted_gram, self.get_buffer(f"target_{name}")).mean()
        if "tv" in self.weights:
            terms["tv"] = formula.variation(painted).mean()
        return terms

    def weigh(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms times their weights; their sum is the loss."""
        return {name: self.weights[name] * term for name, term in terms.items()}

    @torch.no_grad()
    def _style_targets(self, pictures: Sequence[Tensor]) -> dict[str, Tensor]:
        grams = [
            {name: gram(f) for name, f in self.loss_network(picture, self.style_layers).items()} for picture in pictures
        ]
        return {name: torch.stack([found[name] for found in grams]).mean(0) for name in self.style_layers}
