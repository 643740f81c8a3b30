"""How alike two collections of pictures are: the Fréchet distance of their features' statistics, layer by layer.

Heusel et al. (2017, eq. 6) with another network than theirs: `|m_1 - m_2|^2 + Tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))` of
the means and covariances, over a collection, of what a picture's channels are on average. Figures of other networks,
layers or numbers of pictures don't compare: few pictures lie far from one another by chance alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from fast_style.networks.loss_network import AnyLossNetwork


@dataclass(frozen=True)
class FrechetResult:
    """Distances to a target collection.

    Attributes:
        untranslated, translated: by layer, of pictures as they are, and of what was made of them.
        pictures, targets: how many there were.
    """

    untranslated: dict[str, float]
    translated: dict[str, float]
    pictures: int
    targets: int

    def as_json(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)

    def as_table(self) -> str:
        """The figures for a terminal."""
        rows = [("layer", "as they are", "translated", "ratio")]
        for name, before in self.untranslated.items():
            after = self.translated[name]
            rows.append((name, f"{before:.4g}", f"{after:.4g}", f"{after / before:.2f}" if before else ""))
        return "\n".join(f"{name:12}{before:>15}{after:>15}{ratio:>10}" for name, before, after, ratio in rows)


@torch.inference_mode()
def frechet_distance(
    translations: Iterable[tuple[Tensor, Tensor]],
    targets: Iterable[Tensor],
    *,
    loss_network: AnyLossNetwork,
    layers: Sequence[str],
) -> FrechetResult:
    """Compare pictures, before and after a translation, with those that they should be like.

    Args:
        translations: a translated picture and the one that it was made of, `(1, 3, H, W)` each, 0..1.
        targets: pictures of the other collection, the same, of any sizes.
        loss_network: whose features are compared.
        layers: of it.

    Raises:
        ValueError: no layers, or fewer than two pictures of a side, which have no covariance.
    """
    if not layers:
        raise ValueError("A distance needs layers to look at.")
    device = next(loss_network.buffers()).device

    def means(picture: Tensor) -> dict[str, Tensor]:
        return {name: found.mean((2, 3)) for name, found in loss_network(picture.to(device), layers).items()}

    wanted = [means(picture) for picture in targets]
    made, given = [], []
    for translated, picture in translations:
        made.append(means(translated))
        given.append(means(picture))
    if min(len(wanted), len(given)) < 2:
        raise ValueError(
            f"Two collections have at least two pictures each; got {len(given)} to translate and {len(wanted)} to "
            "compare them with."
        )
    return FrechetResult(
        untranslated={name: _distance(given, wanted, name) for name in layers},
        translated={name: _distance(made, wanted, name) for name in layers},
        pictures=len(given),
        targets=len(wanted),
    )


def _distance(ones: Sequence[dict[str, Tensor]], others: Sequence[dict[str, Tensor]], layer: str) -> float:
    one, other = (torch.cat([means[layer] for means in side]) for side in (ones, others))
    distance = FrechetInceptionDistance(feature=_IdentityFeatures(one.shape[1])).to(one.device)
    distance.set_dtype(torch.float64)
    distance.update(one.double(), real=False)
    distance.update(other.double(), real=True)
    return max(0.0, float(distance.compute()))  # Of the same twice it may be a rounding error below 0.


class _IdentityFeatures(nn.Module):
    """Features that are known already, for a metric that would look for them."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
