"""scripts/evaluate.py and scripts/evaluate_translation.py: device, size and progress bar."""

import json
from pathlib import Path
from typing import Any

import pytest
import test_scripts
import torch
from safetensors.torch import save_file
from test_scripts import Command

from fast_style import devices, save_image
from fast_style.evaluation import frechet_distance as frechet
from fast_style.evaluation import style_metrics
from fast_style.stylize import stylizer

command = test_scripts.command  # The same fixture.

PHOTOS = {"large.png": (530, 600), "small.png": (40, 60)}
NETWORK = ["loss_network=vgg19_distilled", "loss_network.weights=eyes.safetensors", "ckpt=a.safetensors"]
STYLE = [*NETWORK, "content_layers=[relu1_1]", "style_layers=[relu1_1]", "style_sizes=[32]"]
STYLE += ["style.image=photos/small.png", "photos=photos"]
TRANSLATION = [*NETWORK, "layers=[relu1_1]", "input=photos", "target=photos"]
COMMANDS = {"evaluate": STYLE, "evaluate_translation": TRANSLATION}


@pytest.fixture
def painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Device and image sizes that a stylizer was called with; this stylizer returns its input."""
    for name, size in PHOTOS.items():
        save_image(torch.rand(1, 3, *size), tmp_path / "photos" / name)
    eyes = {"conv1_1.weight": torch.randn(4, 3, 3, 3), "conv1_1.bias": torch.randn(4)}
    save_file(eyes, tmp_path / "eyes.safetensors", metadata={"layers": "conv1_1"})
    said: list[Any] = []

    def load_stylizer(_: object, *, device: str, **__: object) -> Any:
        said.append(device)

        def paint(picture: torch.Tensor) -> torch.Tensor:
            said.append(tuple(picture.shape[-2:]))
            return picture

        return paint

    monkeypatch.setattr(stylizer, "load_stylizer", load_stylizer)
    return said


@pytest.mark.parametrize("script", COMMANDS)
@pytest.mark.parametrize("choice", ["null", "meta"])
def test_generator_and_loss_network_use_one_device(
    monkeypatch: pytest.MonkeyPatch, command: Command, painted: list[Any], script: str, choice: str
) -> None:
    """`meta` stands for a GPU."""
    asked, judged = [], []

    def usable_device(name: str | None) -> torch.device:
        asked.append(name)
        return torch.device("meta")

    def judge(*_: object, loss_network: torch.nn.Module, **__: object) -> None:
        judged.append(next(loss_network.buffers()).device.type)
        raise ValueError("judged")

    monkeypatch.setattr(devices, "usable_device", usable_device)
    monkeypatch.setattr(style_metrics, "compute_style_metrics", judge)
    monkeypatch.setattr(frechet, "frechet_distance", judge)
    _, _, err = command(script, *COMMANDS[script], f"device={choice}")
    assert "Error: judged" in err
    assert asked == [None if choice == "null" else choice]
    assert painted == judged == ["meta"]


SIZES = {
    ("evaluate",): [(512, 580), (40, 60)],  # The smaller photo keeps its size.
    ("evaluate", "size=32"): [(32, 36), (32, 48)],
    ("evaluate", "size=null"): [(530, 600), (40, 60)],
    ("evaluate_translation",): [(256, 290), (256, 384)],
    ("evaluate_translation", "size=null"): [(530, 600), (40, 60)],
}


@pytest.mark.parametrize("words", SIZES, ids=" ".join)
def test_photos_are_resized_before_the_measurement(
    command: Command, painted: list[Any], words: tuple[str, ...]
) -> None:
    script, *settings = words
    code, _, err = command(script, *COMMANDS[script], "device=cpu", *settings)
    assert code == 0, err
    assert painted == ["cpu", *SIZES[words]]


@pytest.mark.parametrize(("script", "bar"), [("evaluate", "2/2"), ("evaluate_translation", "4/4")])
def test_the_progress_bar_counts_every_image(command: Command, painted: list[Any], script: str, bar: str) -> None:
    """In a translation the bar also counts the target images, which take as long."""
    code, out, err = command(script, *COMMANDS[script], "device=cpu", "size=32", "json=figures.json")
    assert code == 0, err
    assert bar in err
    assert "relu1_1" in out
    assert json.loads(Path("figures.json").read_text())
