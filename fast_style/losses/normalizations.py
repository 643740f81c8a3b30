"""Formulas of the loss terms. Each paper divides by a different number, and its loss weights assume that number."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fast_style.losses.functional import relative_error, squared_error, total_variation

#: Layer names, or names with the weight of each.
LayerWeights = Sequence[str] | Mapping[str, float]


@dataclass(frozen=True)
class Normalization:
    """The formulas of one paper. Each function returns one number per image, `(N,)`.

    Attributes:
        content: error between found and wanted features, `(N, C, H, W)`.
        style: error between found and wanted Gram matrices, `(N, C, C)`, from `functional.gram`.
        variation: total variation of images in 0..1.
    """

    content: Callable[[Tensor, Tensor], Tensor]
    style: Callable[[Tensor, Tensor], Tensor]
    variation: Callable[[Tensor], Tensor]


def _mean_square(found: Tensor, wanted: Tensor) -> Tensor:
    return squared_error(found, wanted) / found[0].numel()


def _paper_variation(pictures: Tensor) -> Tensor:
    # The published weights, 1e-6 to 1e-4, assume images in 0..255.
    return total_variation(pictures, reduction="sum") * 255**2


#: `F`: features, `G = F F^T / (C H W)`: Gram matrix, `_c`: of the photo, `_s`: of the style image.
NORMALIZATIONS: dict[str, Normalization] = {
    # ||F - F_c||^2 / ||F_c||^2 and ||G - G_s||^2 / ||G_s||^2: the same weights fit every style and loss network.
    "relative": Normalization(relative_error, relative_error, total_variation),
    # Gatys, Ecker and Bethge (2016), eq. 1 and 4: 1/2 ||F - F_c||^2 and 1/(4 N^2 M^2) ||F F^T - F_s F_s^T||^2, with
    # N = C and M = H W. With this G it is 1/4 ||G - G_s||^2. In the paper, the style image has the size of the photo.
    # Here each Gram matrix is divided by its own M, so the size does not matter. The paper has no variation term.
    "gatys2016": Normalization(
        lambda found, wanted: squared_error(found, wanted) / 2,
        lambda found, wanted: squared_error(found, wanted) / 4,
        total_variation,
    ),
    # Johnson, Alahi and Fei-Fei (2016), eq. 2 and 4: ||F - F_c||^2 / (C H W) and the squared Frobenius norm.
    "johnson2016": Normalization(_mean_square, squared_error, _paper_variation),
    # Jacq's PyTorch tutorial: means of squares, of features and of Gram matrices divided by a b c d.
    "pytorch_tutorial": Normalization(_mean_square, _mean_square, total_variation),
}


def normalization_of(name: str) -> Normalization:
    """Return the formulas of this name.

    Raises:
        ValueError: an unknown name; the message lists the known names.
    """
    if name not in NORMALIZATIONS:
        raise ValueError(f"normalization is one of {', '.join(NORMALIZATIONS)}; got {name!r}.")
    return NORMALIZATIONS[name]


def layer_weights(layers: LayerWeights, overall: float, weights: Sequence[float] | None = None) -> dict[str, float]:
    """Return each layer's weight by name, without layers of weight 0.

    Args:
        layers: layer names, or names with weights.
        overall: factor of all weights.
        weights: one weight for each name of a list. None: 1 for each.

    Raises:
        ValueError: not one weight for each layer, or weights for layers that have weights of their own.
    """
    layers = [layers] if isinstance(layers, str) else layers
    if isinstance(layers, Mapping):
        if weights is not None:
            raise ValueError(
                f"The layers {dict(layers)} have weights of their own; leave out the list {list(weights)}."
            )
        shares = dict(layers)
    else:
        weights = [1.0] * len(layers) if weights is None else weights
        if len(weights) != len(layers):
            raise ValueError(
                f"There are {len(weights)} layer weights, {list(weights)}, for {len(layers)} layers, {list(layers)}: "
                "give one weight for each layer, or null for equal weights."
            )
        shares = dict(zip(layers, weights, strict=True))
    return {name: overall * share for name, share in shares.items() if overall * share}
