"""Judges: loss networks with the layers by which stylized images are measured.

A network that was trained with a loss network has learned to please that loss network, also where a person sees no
painting. So a judge should have had no part in the training. `choose_judges` leaves out the judges of the *family* of
the training's loss network. `builtin` was distilled from `vgg19_mix`, and the two files of `vgg19_mix` come from one
VGG-19, so all of them are one family.

The layers of a judge stand here and not in `conf/`: they are a part of its name, and figures with the same name must be
comparable.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fast_style.networks.loss_network import AnyLossNetwork, check_names
from fast_style.networks.pretrained import builtin, downloaded_weights, squeezenet, vgg, vgg_from_file, vgg_mix

Names = tuple[str, ...]


@dataclass(frozen=True)
class Judge:
    """A loss network and its layers.

    Attributes:
        name: its name in tables.
        network: computes the features.
        style_layers, content_layers: layers for the style and the content error.
    """

    name: str
    network: AnyLossNetwork
    style_layers: Sequence[str]
    content_layers: Sequence[str]

    def __post_init__(self) -> None:
        if not self.style_layers or not self.content_layers:
            raise ValueError(f"The judge {self.name} needs at least one style layer and one content layer.")
        check_names([*self.style_layers, *self.content_layers], self.network.names)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.buffers()).device


@dataclass(frozen=True)
class _Known:
    """A judge that can be named.

    Attributes:
        family: judges that share their origin.
        files: the files that it needs, from the folder of loss networks.
        build: makes the loss network of these files.
    """

    family: str
    files: Callable[[Path], list[Path]]
    build: Callable[[list[str]], AnyLossNetwork]
    style_layers: Names
    content_layers: Names


_VGG19 = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
_VGG16 = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")  # The style layers of Johnson et al. (2016).

_KNOWN: dict[str, _Known] = {
    "builtin": _Known("builtin", lambda _: [], lambda _: builtin(), _VGG19, ("relu3_1", "relu4_1")),
    # Of this network, relu1_1 to relu3_1 are VGG-19's own layers. relu4_1 comes from a compressed network: it is good
    # enough to compare contents, and not for the fine differences of Gram matrices.
    "vgg19_mix": _Known(
        "builtin",
        lambda folder: [folder / "vgg19_relu3_1.safetensors", folder / "vgg19_distilled_16x.safetensors"],
        lambda files: vgg_mix(shallow=files[0], deep=files[1]),
        _VGG19[:3],
        ("relu3_1", "relu4_1"),
    ),
    # Fine-tuned from ImageNet for edges (HED, Xie and Tu 2015). No network of this project is trained with it.
    "vgg16_hed": _Known(
        "vgg16_hed",
        lambda folder: [folder / "vgg16_hed.safetensors"],
        lambda files: vgg_from_file(weights=files[0]),
        _VGG16,
        ("relu3_3", "relu4_3"),
    ),
    "vgg16": _Known(
        "vgg16", lambda _: [downloaded_weights("vgg16")], lambda _: vgg("vgg16"), _VGG16, ("relu3_3", "relu4_3")
    ),
    "vgg19": _Known(
        "vgg19", lambda _: [downloaded_weights("vgg19")], lambda _: vgg("vgg19"), _VGG19, ("relu3_1", "relu4_1")
    ),
    "squeezenet1_1": _Known(
        "squeezenet1_1",
        lambda _: [downloaded_weights("squeezenet1_1")],
        lambda _: squeezenet(),
        ("relu1", "fire2", "fire3", "fire5"),
        ("fire3", "fire5"),
    ),
}
#: Names for `load_judge`.
JUDGES: Names = tuple(_KNOWN)
#: Functions and files of loss networks that have another name than their choice in `conf/loss_network/`.
_NAMES = {"vgg_mix": "vgg19_mix", "squeezenet": "squeezenet1_1", "vgg19_distilled_16x": "vgg19_distilled"}
#: Loss networks of training that are no judges, with their family.
_FAMILIES = {"vgg19_distilled": "builtin", "vgg19_relu3_1": "builtin"}


def load_judge(
    name: str,
    *,
    folder: str | Path = "data/weights",
    style_layers: Sequence[str] | None = None,
    content_layers: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
) -> Judge:
    """Load a judge of `JUDGES`, or a file of a VGG-like chain (`vgg_from_file`).

    Args:
        name: `vgg16`, `vgg19` and `squeezenet1_1` are downloaded from torchvision on first use.
        folder: holds the files of `vgg19_mix` and `vgg16_hed`.
        style_layers, content_layers: other layers than those of the judge. A file has no layers of its own.
        device: where the judge computes.

    Raises:
        ValueError: an unknown name, a missing or damaged file, unknown layers, or a file without layers.
    """
    known = _KNOWN.get(name)
    if known is None and not Path(name).suffix:
        raise ValueError(f"{name!r} is no judge; expected a file of a loss network or one of {', '.join(JUDGES)}.")
    if known is None and not (style_layers and content_layers):
        raise ValueError(f"The judge {name} is a file, so give its style_layers=[...] and content_layers=[...].")
    if known is None:
        network: AnyLossNetwork = vgg_from_file(weights=name)
    else:
        network = known.build([str(file) for file in known.files(Path(folder))])
    return Judge(
        name if known else Path(name).stem,
        network.to(device),
        style_layers or (known.style_layers if known else ()),
        content_layers or (known.content_layers if known else ()),
    )


def available_judges(folder: str | Path) -> list[str]:
    """Names of the judges that need no download: their files are in the package, in `folder` or in torch's cache."""
    return [name for name, known in _KNOWN.items() if all(file.is_file() for file in known.files(Path(folder)))]


def choose_judges(trained_with: Iterable[str], folder: str | Path) -> list[str]:
    """Names of the available judges that had no part in training the sides; `builtin` if there is no such judge.

    Args:
        trained_with: the loss networks of the trainings, from `trained_with`.
        folder: holds the files of judges.
    """
    families = {family_of(name) for name in trained_with}
    return [name for name in available_judges(folder) if family_of(name) not in families] or ["builtin"]


def family_of(name: str) -> str:
    """The family of a judge or of a loss network; an unknown name is a family of its own."""
    return _KNOWN[name].family if name in _KNOWN else _FAMILIES.get(name, name)


def trained_with(origin: Mapping[str, str]) -> str | None:
    """The name of the loss network in the metadata of a network file; None if it does not tell.

    Args:
        origin: metadata, as in `Stylizer.origin`. It comes from a file of any origin, so nothing in it is trusted.
    """
    try:
        settings = json.loads(origin["recipe"])["loss_network"]
        builder = str(settings["_target_"]).rpartition(".")[2]
        if builder == "vgg":
            return str(settings["architecture"])
        name = Path(str(settings["weights"])).stem if builder == "vgg_from_file" else builder
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return _NAMES.get(name, name)
