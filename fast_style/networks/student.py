"""A small loss network, distilled from the features of a large one (Hinton et al. 2015, applied to features)."""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence

import torch
from safetensors.torch import save
from torch import Tensor, nn

from fast_style.atomic_files import atomic_write
from fast_style.networks.layers import MaxPool, ReLU
from fast_style.networks.loss_network import check_names
from fast_style.networks.serialization import WeightPrecision, check_finite


class Student(nn.Module):
    """A VGG-like chain of 3x3 convolutions in stages, with 2x2 max pooling between the stages.

    Layers have the names of VGG: `stages=[[32, 32], [64, 64]]` gives `relu1_1` and `relu1_2` with 32 channels, and
    `relu2_1` and `relu2_2` with 64 channels. Padding is by reflection, as in the networks of universal style transfer.
    The input is normalised by one mean and one standard deviation for all channels, so that the usual init also suits
    the first layer. `save_student` folds this normalisation into the first layer.

    Args:
        stages: channels of each convolution, by stage.
        expansions: channels by layer name. A 1x1 convolution and a ReLU expand the returned features of that layer to
            this number of channels; the next layer gets the unexpanded features. This gives more features to compare
            with a wide teacher, at little cost.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, stages: Sequence[Sequence[int]], expansions: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.45), persistent=False)
        self.register_buffer("std", torch.tensor(0.25), persistent=False)
        if not stages or not all(stage and min(stage) >= 1 for stage in stages):
            raise ValueError(
                f"Each stage of a student needs at least one convolution with at least one channel; got {stages}."
            )
        self.layers, self.expansions = nn.ModuleDict(), nn.ModuleDict()
        #: Channels of the returned features, by layer name.
        self.channels: dict[str, int] = {}
        channels = 3
        for number, widths in enumerate(stages, 1):
            if number > 1:
                self.layers[f"pool{number - 1}"] = MaxPool()
            for index, width in enumerate(widths, 1):
                conv = nn.Conv2d(channels, width, 3, padding=1, padding_mode="reflect")
                self.layers[f"conv{number}_{index}"] = conv
                self.layers[f"relu{number}_{index}"] = ReLU()
                self.channels[f"relu{number}_{index}"] = channels = width
        check_names(expansions or {}, self.names)
        for name, width in (expansions or {}).items():
            self.expansions[name] = nn.Sequential(nn.Conv2d(self.channels[name], width, 1), ReLU())
            self.channels[name] = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type] # The bias exists.

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the available layers, shallow to deep."""
        return tuple(self.channels)

    def forward(self, pictures: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Return the features of `(N, 3, H, W)` in 0..1 by layer name; deeper layers are not computed.

        Raises:
            ValueError: an unknown layer, or an image too small for the number of stages.
        """
        check_names(names, self.names)
        poolings = sum(name.startswith("pool") for name in self.layers)
        if min(pictures.shape[-2:]) < 2 << poolings:
            raise ValueError(
                f"An image of {pictures.shape[-1]}x{pictures.shape[-2]} pixels is too small for a student of "
                f"{poolings + 1} stages, which needs at least {2 << poolings}x{2 << poolings} pixels."
            )
        waiting, features = set(names), {}
        x = (pictures - self.mean) / self.std
        for name, layer in self.layers.items():
            if not waiting:
                break
            x = layer(x)
            if name in waiting:
                features[name] = self.expansions[name](x) if name in self.expansions else x
                waiting.remove(name)
        return features


def save_student(
    path: str | os.PathLike[str],
    student: Student,
    *,
    heads: Mapping[str, Tensor],
    scales: Mapping[str, float],
    origin: Mapping[str, str],
    precision: WeightPrecision = "fp16",
) -> None:
    """Write a file for `pretrained.vgg_from_file` atomically.

    Args:
        path: the file; missing folders are created.
        student: the network.
        heads: matrices `W` `(C_teacher, C)` by layer name, which map student features `f` to teacher features. The file
            stores the symmetric root of `W^T W`, times `sqrt(C / C_teacher)`, as readout instead. The `C` channels of
            the readout then have the distances of `W f`, up to this factor, and the same mean square.
        scales: factors of the features, by layer name.
        origin: metadata, text by name: training data and recipe.
        precision: precision of the stored weights.
    """
    layers = " ".join(re.sub(r"\d+$", "", name) if name.startswith("pool") else name for name in student.layers)
    chain = " ".join(name for name in layers.split() if not name.startswith("relu"))
    dtype = torch.float16 if precision == "fp16" else torch.float32
    tensors = {
        f"{name}.{part}": tensor.detach().cpu().double()
        for name, layer in student.layers.items()
        for part, tensor in layer.state_dict().items()
    }
    weight, mean, std = tensors["conv1_1.weight"], student.mean.cpu(), student.std.cpu()
    tensors["conv1_1.bias"] = tensors["conv1_1.bias"] - (weight * mean / std).sum((1, 2, 3))
    tensors["conv1_1.weight"] = weight / std
    _scale(tensors, {name: scale for name, scale in scales.items() if name not in {*heads, *student.expansions}})
    for name, head in heads.items():
        tensors[f"{name}.readout.weight"] = _root(head) * scales.get(name, 1.0)
    for name, expansion in student.expansions.items():
        conv = expansion.get_submodule("0")
        for part, tensor in conv.state_dict().items():
            tensors[f"{name}.readout.{part}"] = tensor.cpu().double().flatten(
                1 if part == "weight" else 0
            ) * scales.get(name, 1.0)
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    check_finite(tensors, path)
    channels = json.dumps(student.channels)
    with atomic_write(path) as file:
        file.write(save(tensors, metadata={"layers": chain, "padding": "reflect 1", "channels": channels, **origin}))


def _scale(tensors: dict[str, Tensor], scales: Mapping[str, float]) -> None:
    """Scale features and undo the scale in the next layer; ReLU and pooling commute with positive factors."""
    convolutions = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    for name, after in zip(convolutions, [*convolutions[1:], None], strict=True):
        scale = scales.get(name.replace("conv", "relu"), 1.0)
        tensors[f"{name}.weight"] = tensors[f"{name}.weight"] * scale
        tensors[f"{name}.bias"] = tensors[f"{name}.bias"] * scale
        if after is not None:
            tensors[f"{after}.weight"] = tensors[f"{after}.weight"] / scale


def _root(head: Tensor) -> Tensor:
    """Return the symmetric root `(C, C)` of `W^T W C / C_teacher`."""
    matrix = head.detach().cpu().double()
    values, vectors = torch.linalg.eigh(matrix.mT @ matrix * (matrix.shape[1] / matrix.shape[0]))
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
    return root
