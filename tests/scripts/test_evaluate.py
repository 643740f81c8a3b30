"""scripts/evaluate.py and scripts/evaluate_translation.py: device, size, progress bar, sides, judges and files."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import test_scripts
import torch
from safetensors.torch import save_file
from test_scripts import Command

from fast_style import devices, load_image, save_image
from fast_style.evaluation import comparison
from fast_style.evaluation import frechet_distance as frechet
from fast_style.evaluation.judges import Judge
from fast_style.stylize import stylizer

command = test_scripts.command  # The same fixture.

PHOTOS = {"large.png": (530, 600), "small.png": (40, 60)}
NETWORK = ["loss_network=vgg19_distilled", "loss_network.weights=eyes.safetensors", "ckpt=a.safetensors"]
STYLE = ["judges=eyes.safetensors", "content_layers=[relu1_1]", "style_layers=[relu1_1]", "style_sizes=[32]"]
STYLE += ["style.image=photos/small.png", "photos=photos", "ckpt=a.safetensors", "scales=[1]", "stability_photos=0"]
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

    class Paint:
        origin: ClassVar[dict[str, str]] = {}

        def __call__(self, picture: torch.Tensor) -> torch.Tensor:
            said.append(tuple(picture.shape[-2:]))
            return picture

    def load_stylizer(_: object, *, device: str, **__: object) -> Paint:
        said.append(device)
        return Paint()

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

    def measure(*_: object, loss_network: torch.nn.Module, **__: object) -> None:
        judged.append(next(loss_network.buffers()).device.type)
        raise ValueError("judged")

    def compare(
        _: object, __: object, ___: object, judges: list[Judge], *, device: torch.device, **____: object
    ) -> None:
        assert device.type == "meta"
        measure(loss_network=judges[0].network)

    monkeypatch.setattr(devices, "usable_device", usable_device)
    monkeypatch.setattr(comparison, "compare_sides", compare)
    monkeypatch.setattr(frechet, "frechet_distance", measure)
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
    # evaluate paints the first photo twice, because the first call of a network is not timed, and flat photos last.
    assert list(dict.fromkeys(painted))[:3] == ["cpu", *SIZES[words]]


@pytest.mark.parametrize(("script", "bar"), [("evaluate", "2/2"), ("evaluate_translation", "4/4")])
def test_the_progress_bar_counts_every_image(command: Command, painted: list[Any], script: str, bar: str) -> None:
    """In a translation the bar also counts the target images, which take as long."""
    code, out, err = command(script, *COMMANDS[script], "device=cpu", "size=32", "json=figures.json")
    assert code == 0, err
    assert bar in err
    assert "relu1_1" in out
    assert json.loads(Path("figures.json").read_text())


def test_a_translation_is_measured_for_artefacts_too(command: Command, painted: list[Any]) -> None:
    code, out, err = command(
        "evaluate_translation", *TRANSLATION, "device=cpu", "size=64", "layers=[relu1_1]", "json=figures.json"
    )
    assert code == 0, err
    assert "Artefacts, means over 2 images:" in out
    found = json.loads(Path("figures.json").read_text())["artefacts"]
    assert found["translated"] == found["untranslated"]  # This stylizer returns its input.
    assert found["translated"].keys() == {"checkerboard", "dots", "banding", "border", "clipping"}


# ---- sides, judges and files of scripts/evaluate.py


@pytest.fixture
def trained(painted: list[Any]) -> None:
    """The stylizer says that it was trained with vgg19_mix."""
    recipe = {"loss_network": {"_target_": "fast_style.networks.pretrained.vgg_mix"}}
    stylizer.load_stylizer(None, device="cpu").origin["recipe"] = json.dumps(recipe)  # type: ignore[arg-type]


def without(*keys: str) -> list[str]:
    return [setting for setting in STYLE if setting.split("=")[0] not in keys]


def test_networks_and_folders_are_measured_side_by_side(command: Command, painted: list[Any]) -> None:
    sides = ["ckpt=[a.safetensors,deep/b.ckpt]", "pictures=[photos,deep/a]"]
    for folder, name in itertools.product(("photos", "deep/a"), PHOTOS):
        save_image(torch.rand(1, 3, 40, 60), Path(folder) / name)
    files = ["json=out/figures.json", "markdown=out/figures.md", "sheet=out/sheet.png"]
    code, out, err = command("evaluate", *without("ckpt"), *sides, "device=cpu", *files)
    assert code == 0, err
    assert out.splitlines()[2].split() == ["a", "b", "photos", "deep/a"]
    figures = json.loads(Path("out/figures.json").read_text())
    assert figures["sides"]["photos"]["eyes/content"]["mean"] == 0
    assert figures["sides"]["b"]["eyes/style/scale1"] == figures["sides"]["photos"]["eyes/style/scale1"]
    assert figures["sides"]["deep/a"]["eyes/content"]["mean"] > 0
    assert "| content |" in Path("out/figures.md").read_text()
    sheet = load_image("out/sheet.png")
    assert sheet.shape[-1] > 5 * 60
    assert sheet.shape[-2] > 2 * 40


def test_by_default_no_judge_of_the_trainings_family_is_used(
    command: Command, painted: list[Any], trained: None
) -> None:
    """The HED network is a copy of a tiny one here."""
    weights = Path("assets/weights")
    weights.mkdir(parents=True)
    shutil.copy("eyes.safetensors", weights / "vgg16_hed.safetensors")
    code, out, err = command("evaluate", *without("judges"), "device=cpu", "size=32", "assets_dir=assets")
    assert code == 0, err
    assert "\nvgg16_hed\n" in out
    assert "builtin" not in out + err
    code, out, err = command("evaluate", *without("judges"), "device=cpu", "size=32", "assets_dir=nowhere")
    assert code == 0, err
    assert "No independent judge is available: builtin judges networks that were trained with its family." in err
    assert "\nbuiltin (trained on: a)\n" in out
    code, out, err = command("evaluate", *without("judges"), "device=cpu", "size=32", "judges=[builtin]")
    assert code == 0, err
    assert "No independent judge" not in err
    assert "\nbuiltin (trained on: a)\n" in out


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["ckpt=null"], "Give a network, ckpt=..., or a folder of stylized images, pictures=..., or several of them."),
        (["pictures=nowhere"], "Expected a folder of images at nowhere"),
        (["judges=[vgg11]"], "'vgg11' is no judge"),
        (["sheet=sheet.txt"], "Cannot write sheet.txt"),
        (["scales=[2]"], "scales with 1"),
        (["style.image=null"], "No style was chosen"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_painted(
    command: Command, painted: list[Any], settings: list[str], sentence: str
) -> None:
    code, _, err = command("evaluate", *STYLE, *settings, "device=cpu")
    assert code != 0
    assert sentence in err
    assert not [size for size in painted if size != "cpu"]
