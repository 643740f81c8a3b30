"""Frozen networks whose features say what a picture shows and how it is painted.

Layers go by the names of the literature (`relu3_3` is the third activation of VGG's third stage); `conv3_3` is the
same before its ReLU.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class LossNetwork(nn.Module):
    """A chain of named layers that is never trained, never saved and never leaves eval mode.

    Its weights are non-persistent buffers: they follow the module to a device, but no optimiser, state_dict or
    checkpoint ever sees them.

    Args:
        layers: `(name, module)` pairs, run in this order.
        mean, std: what the chain wants its input normalised by; pictures come in 0..1.
        heads: by layer, what its features go through on their way out, and not on their way to the next layer.
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
        """The layers that can be asked for, shallow to deep."""
        return tuple(self.layers)

    def forward(self, pictures: Tensor, names: Collection[str], *, recompute: bool = False) -> dict[str, Tensor]:
        """Features of `(N, 3, H, W)` in 0..1 by layer name; runs no deeper than the deepest one asked for.

        Args:
            pictures: what to look at.
            names: layers, in any order.
            recompute: keep only the first and the asked-for features of each stage (what lies between two poolings)
                for the gradient, and compute the others again when it is their turn: less memory, more time.

        Raises:
            ValueError: a layer that this network has not; a picture too small for the depth.
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
        """The layers to run, each pooling the last of its stage."""
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
                    f"A picture of {shape[-1]}x{shape[-2]} pixels is too small "
                    f"for layer {name}: use a larger one or shallower layers."
                )
            x = layer(x)
            if name in names:
                features[name] = self.heads[name](x) if name in self.heads else x
        return x, features

    def train(self, mode: bool = True) -> "LossNetwork":
        """Stay in eval mode, whatever the surrounding module does."""
        return self


class CombinedLossNetwork(nn.Module):
    """Two loss networks as one: `first` answers for the layers of its own, `second` for all others."""

    def __init__(self, first: LossNetwork, second: LossNetwork) -> None:
        super().__init__()
        self.first, self.second = first, second

    @property
    def names(self) -> tuple[str, ...]:
        """The layers that can be asked for."""
        return tuple(dict.fromkeys(self.first.names + self.second.names))

    def forward(self, pictures: Tensor, names: Collection[str], *, recompute: bool = False) -> dict[str, Tensor]:
        """As `LossNetwork.forward`; a network none of whose layers is asked for does not run."""
        check_names(names, self.names)
        ours = [name for name in names if name in self.first.names]
        others = [name for name in names if name not in self.first.names]
        features = self.first(pictures, ours, recompute=recompute) if ours else {}
        return features | (self.second(pictures, others, recompute=recompute) if others else {})


AnyLossNetwork = LossNetwork | CombinedLossNetwork


def check_names(names: Collection[str], known: Collection[str]) -> None:
    """Raise a ValueError that lists the known layers if one of `names` is not among them."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"This loss network has no layer {', '.join(unknown)}; its layers are {', '.join(known)}.")


def _needed_side(layer: nn.Module) -> int:
    """Pixels a side below which a layer has nothing to look at."""
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
