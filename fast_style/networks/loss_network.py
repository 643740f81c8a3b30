"""Loss networks: frozen networks that compute the features for the content and style losses.

Layers have the names of the literature: `relu3_3` is the third activation of the third stage of VGG, and `conv3_3` is
the same layer before the ReLU.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class LossNetwork(nn.Module):
    """A chain of named layers that is never trained or saved, and always in eval mode.

    The weights are non-persistent buffers. They move with the module to a device, but no optimiser, state_dict or
    checkpoint contains them.

    Args:
        layers: `(name, module)` pairs, in the order of computation.
        mean, std: the input in 0..1 is normalised to `(x - mean) / std`.
        heads: modules by layer name. A head maps the returned features; the next layer gets the unmapped features.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layers: Iterable[tuple[str, nn.Module]],
        *,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        heads: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(dict(layers))
        self.heads = nn.ModuleDict(dict(heads or {}))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        _freeze(self)
        super().train(False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the available layers, shallow to deep."""
        return tuple(self.layers)

    def forward(self, pictures: Tensor, names: Collection[str], *, recompute: bool = False) -> dict[str, Tensor]:
        """Return the features of `(N, 3, H, W)` in 0..1 by layer name; deeper layers are not computed.

        Args:
            pictures: images `(N, 3, H, W)` in 0..1.
            names: requested layers, in any order.
            recompute: keep only the first and the requested features of each stage (the layers between two poolings).
                The backward pass computes the other features again: less memory, more time.

        Raises:
            ValueError: an unknown layer, or an image too small for the requested depth.
        """
        check_names(names, self.names)
        x = (pictures - self.mean) / self.std
        features: dict[str, Tensor] = {}
        for stage in self._stages(names):
            if recompute:
                x, found = checkpoint(self._run, stage, x, names, pictures.shape, use_reentrant=False)
            else:
                x, found = self._run(stage, x, names, pictures.shape)
            features |= found
        return features

    def _stages(self, names: Collection[str]) -> list[list[str]]:
        """Group the layers to compute into stages; each stage ends with its pooling."""
        depth = max((self.names.index(name) for name in names), default=-1)
        stages: list[list[str]] = [[]]
        for name in self.names[: depth + 1]:
            stages[-1].append(name)
            if isinstance(self.layers[name], nn.MaxPool2d | nn.AvgPool2d):
                stages.append([])
        return stages

    def _run(
        self, stage: Sequence[str], x: Tensor, names: Collection[str], shape: torch.Size
    ) -> tuple[Tensor, dict[str, Tensor]]:
        features = {}
        for name in stage:
            layer = self.layers[name]
            if min(x.shape[-2:]) < _needed_side(layer):
                raise ValueError(
                    f"An image of {shape[-1]}x{shape[-2]} pixels is too small "
                    f"for layer {name}; use a larger image or shallower layers."
                )
            x = layer(x)
            if name in names:
                features[name] = self.heads[name](x) if name in self.heads else x
        return x, features

    def train(self, mode: bool = True) -> "LossNetwork":
        """Stay in eval mode; the argument is ignored."""
        return self


class CombinedLossNetwork(nn.Module):
    """Two loss networks as one: `first` computes the layers that it has, `second` all others."""

    def __init__(self, first: LossNetwork, second: LossNetwork) -> None:
        super().__init__()
        self.first, self.second = first, second

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the available layers."""
        return tuple(dict.fromkeys(self.first.names + self.second.names))

    def forward(self, pictures: Tensor, names: Collection[str], *, recompute: bool = False) -> dict[str, Tensor]:
        """As `LossNetwork.forward`; a network without requested layers does not run."""
        check_names(names, self.names)
        ours = [name for name in names if name in self.first.names]
        others = [name for name in names if name not in self.first.names]
        features = self.first(pictures, ours, recompute=recompute) if ours else {}
        return features | (self.second(pictures, others, recompute=recompute) if others else {})


AnyLossNetwork = LossNetwork | CombinedLossNetwork


def check_names(names: Collection[str], known: Collection[str]) -> None:
    """Raise a ValueError with the known layers if a name is unknown."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"This loss network has no layer {', '.join(unknown)}; its layers are {', '.join(known)}.")


def _needed_side(layer: nn.Module) -> int:
    """Return the minimum height and width of the input of a layer, in pixels."""
    if isinstance(layer, nn.Conv2d):
        kernel, padding = layer.kernel_size[0], layer.padding
        assert not isinstance(padding, str)
        return 2 if layer.padding_mode == "reflect" else kernel - 2 * padding[0]
    return 2 if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d) else 1


def _freeze(network: nn.Module) -> None:
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach(), persistent=False)
