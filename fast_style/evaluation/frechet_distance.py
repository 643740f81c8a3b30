"""Fréchet distance between the features of two image collections, per layer.

The formula is eq. 6 of Heusel et al. (2017), with another network: `|m_1 - m_2|^2 + Tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))`.
Each image gives one vector per layer, the spatial mean of its channels. `m` and `C` are mean and covariance of these
vectors over a collection. Compare only figures with the same network, the same layers and the same numbers of images,
because small collections have large distances by chance.
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
        untranslated, translated: distance by layer, before and after the translation.
        pictures, targets: number of translated images and of target images.
    """

    untranslated: dict[str, float]
    translated: dict[str, float]
    pictures: int
    targets: int

    def as_json(self) -> dict[str, object]:
        """Return plain values for a JSON file."""
        return asdict(self)

    def as_table(self) -> str:
        """Return the figures as a text table."""
        rows = [("layer", "untranslated", "translated", "ratio")]
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
    """Compare images, before and after a translation, with a target collection.

    Args:
        translations: pairs of a translated image and its original, `(1, 3, H, W)` each, in 0..1.
        targets: images of the target collection, `(1, 3, H, W)` in 0..1, of any sizes.
        loss_network: computes the features.
        layers: layers of the loss network to compare.

    Raises:
        ValueError: no layers, or fewer than two images in a collection, which have no covariance.
    """
    if not layers:
        raise ValueError("The Fréchet distance needs at least one layer; got none.")
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
            f"Each collection needs at least two images; got {len(given)} to translate and {len(wanted)} target images."
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
    return max(0.0, float(distance.compute()))  # Equal collections may give a rounding error below 0.


class _IdentityFeatures(nn.Module):
    """Pass features through to a metric that expects a feature network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
