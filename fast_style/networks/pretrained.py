"""Build loss networks from torchvision's pretrained networks, or from files of VGG-like chains."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from fast_style.networks.layers import MaxPool, ReLU
from fast_style.networks.loss_network import CombinedLossNetwork, LossNetwork
from fast_style.networks.serialization import read_tensors

Pooling = Literal["max", "average"]
PaddingMode = Literal["zeros", "reflect"]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def vgg(
    architecture: Literal["vgg16", "vgg19"],
    *,
    weights: str | None = None,
    pooling: Pooling = "max",
) -> LossNetwork:
    """VGG-16 or VGG-19 (Simonyan and Zisserman 2015) without its classifier.

    Args:
        architecture: `vgg16` or `vgg19`.
        weights: a file with torchvision's state_dict (.pth or .safetensors). None lets torchvision download its
            ImageNet weights (verified and cached). `random` is for tests and timing.
        pooling: `max`, or `average`, which Gatys et al. use for smoother results.
    """
    features = _torchvision_features(architecture, weights)
    stage, index = 1, 1
    named: list[tuple[str, nn.Module]] = []
    for module in features:
        if isinstance(module, nn.Conv2d):
            named.append((f"conv{stage}_{index}", module))
        elif isinstance(module, nn.ReLU):
            # Not in place: the output of the convolution may be requested as a feature.
            named.append((f"relu{stage}_{index}", ReLU()))
            index += 1
        else:
            named.append((f"pool{stage}", _pool(pooling)))
            stage, index = stage + 1, 1
    return LossNetwork(named, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def squeezenet(*, weights: str | None = None) -> LossNetwork:
    """SqueezeNet 1.1 (Iandola et al. 2016): `conv1`, `relu1`, `pool1`, `fire2` ... `fire9`; 5 MB of weights."""
    features = _torchvision_features("squeezenet1_1", weights)
    names = [
        "conv1",
        "relu1",
        "pool1",
        "fire2",
        "fire3",
        "pool3",
        "fire4",
        "fire5",
        "pool5",
        "fire6",
        "fire7",
        "fire8",
        "fire9",
    ]
    for module in features.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return LossNetwork(zip(names, features, strict=True), mean=IMAGENET_MEAN, std=IMAGENET_STD)


def downloaded_weights(architecture: str) -> Path:
    """The file in which torch keeps the weights that torchvision downloads for `vgg16`, `vgg19` or `squeezenet1_1`."""
    address: str = torchvision.models.get_model_weights(architecture)["DEFAULT"].url
    return Path(str(torch.hub.get_dir())) / "checkpoints" / address.rpartition("/")[2]


#: Distilled by this project from `vgg_mix`; builtin.md in the same folder describes it.
BUILTIN = Path(__file__).with_name("builtin.safetensors")


def builtin(*, weights: str | None = None, pooling: Pooling = "max") -> LossNetwork:
    """The small loss network of this package, relu1_1 to relu5_1.

    In a training step it takes a quarter of the time of VGG-16.

    Args:
        weights: a network file from scripts/distill.py; None uses the file in the package.
        pooling: `max`, or `average`, which Gatys et al. use for smoother results.
    """
    return vgg_from_file(weights=weights or str(BUILTIN), pooling=pooling)


def vgg_from_file(*, weights: str, pooling: Pooling = "max") -> LossNetwork:
    """Build a VGG-like chain from a safetensors file that lists its layers.

    The metadata `layers` is a list such as `conv1_1 conv1_2 pool conv2_1`. `padding` is `reflect 1`, or absent for zero
    padding. Tensors are called `conv1_1.weight` and `conv1_1.bias`. The input normalisation is folded into the first
    layer. An optional matrix `relu1_1.readout.weight` `(C', C)` multiplies the returned features of that layer. An
    optional `relu1_1.readout.bias` `(C',)` is then added, and a ReLU follows.

    Raises:
        ValueError: the file is missing or damaged, or has no such metadata.
    """
    try:
        tensors, metadata = read_tensors(weights)
    except ValueError as error:
        raise ValueError(
            f"{error} Give a file with loss network weights, or use loss_network=vgg16, which downloads its weights "
            "from torchvision."
        ) from error
    if "layers" not in metadata:
        raise ValueError(f"{weights} has no layers in its metadata, so it is no loss network.")
    mode: PaddingMode = "reflect" if metadata.get("padding", "").startswith("reflect") else "zeros"
    names = metadata["layers"].split()
    missing = [n for n in names if n != "pool" and not {f"{n}.weight", f"{n}.bias"} <= tensors.keys()]
    if missing:
        raise ValueError(f"{weights} is damaged: it lists the layer {missing[0]} but has no weights for it.")
    return LossNetwork(_chain(names, tensors, mode, pooling), heads=_heads(tensors))


def vgg_mix(*, shallow: str, deep: str, pooling: Pooling = "max") -> CombinedLossNetwork:
    """Combine two files: layers in `shallow` come from that file, all deeper layers from `deep`."""
    return CombinedLossNetwork(
        vgg_from_file(weights=shallow, pooling=pooling), vgg_from_file(weights=deep, pooling=pooling)
    )


def _chain(
    names: Sequence[str], tensors: dict[str, Tensor], padding_mode: PaddingMode, pooling: Pooling
) -> Iterable[tuple[str, nn.Module]]:
    stages = itertools.count(1)
    for name in names:
        if name == "pool":
            yield f"pool{next(stages)}", _pool(pooling)
            continue
        weight, bias = tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"].float()
        out_channels, in_channels, kernel, _ = weight.shape
        conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, padding_mode=padding_mode)
        conv.load_state_dict({"weight": weight, "bias": bias})
        yield name, conv
        yield name.replace("conv", "relu"), ReLU()


def _heads(tensors: dict[str, Tensor]) -> dict[str, nn.Module]:
    heads: dict[str, nn.Module] = {}
    for name, matrix in tensors.items():
        layer, _, part = name.partition(".")
        if part == "readout.weight":
            bias = tensors.get(f"{layer}.readout.bias")
            conv = nn.Conv2d(matrix.shape[1], matrix.shape[0], 1, bias=bias is not None)
            learnt = {"weight": matrix.float()[..., None, None]} | ({} if bias is None else {"bias": bias.float()})
            conv.load_state_dict(learnt)
            heads[layer] = conv if bias is None else nn.Sequential(conv, ReLU())
    return heads


def _pool(kind: Pooling) -> nn.Module:
    if kind not in ("max", "average"):
        raise ValueError(f"pooling must be max or average; got {kind!r}.")
    return MaxPool() if kind == "max" else nn.AvgPool2d(2)


def _torchvision_features(architecture: str, weights: str | None) -> nn.Sequential:
    if weights is None:
        trained: nn.Sequential = torchvision.models.get_model(architecture, weights="DEFAULT").features
        return trained
    # Skip the classifier, which has most of VGG's weights.
    features: nn.Sequential = (
        make_layers(cfgs["D" if architecture == "vgg16" else "E"])
        if architecture.startswith("vgg")
        else torchvision.models.squeezenet1_1(weights=None).features
    )
    if weights == "random":
        for module in features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return features
    tensors, _ = read_tensors(weights)
    try:
        features.load_state_dict(
            {k.removeprefix("features."): v for k, v in tensors.items() if k.startswith("features.")}
        )
    except RuntimeError as error:
        raise ValueError(f"{weights} does not hold the weights of {architecture}.") from error
    return features
