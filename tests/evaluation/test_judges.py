"""Judges: which are chosen, what they need, and what a network file tells about its training."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from checkout import CHECKOUT
from safetensors.torch import save_file

from fast_style.evaluation import judges
from fast_style.evaluation.judges import JUDGES, available_judges, choose_judges, family_of, load_judge, trained_with
from fast_style.networks.metadata import read_header
from fast_style.networks.pretrained import downloaded_weights

TARGET = "fast_style.networks.pretrained"
SHALLOW, DEEP, HED = "vgg19_relu3_1.safetensors", "vgg19_distilled_16x.safetensors", "vgg16_hed.safetensors"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights that torch downloaded, without any."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def with_files(folder: Path, names: Sequence[str]) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], ["builtin"]),
        ([SHALLOW], ["builtin"]),
        ([SHALLOW, DEEP], ["builtin", "vgg19_mix"]),
        ([SHALLOW, DEEP, HED], ["builtin", "vgg19_mix", "vgg16_hed"]),
    ],
)
def test_a_judge_is_available_if_all_its_files_are_there(tmp_path: Path, files: list[str], expected: list[str]) -> None:
    assert available_judges(with_files(tmp_path / "weights", files)) == expected


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "squeezenet1_1"])
def test_a_network_that_torchvision_has_downloaded_is_available(tmp_path: Path, empty_cache: Path, name: str) -> None:
    assert available_judges(tmp_path) == ["builtin"]
    empty_cache.mkdir(parents=True)
    downloaded_weights(name).touch()
    assert downloaded_weights(name).parent == empty_cache
    assert available_judges(tmp_path) == ["builtin", name]


@pytest.mark.parametrize(
    ("trained", "files", "expected"),
    [
        ([], [SHALLOW, DEEP, HED], ["builtin", "vgg19_mix", "vgg16_hed"]),
        (["vgg19_mix"], [SHALLOW, DEEP, HED], ["vgg16_hed"]),
        (["builtin"], [SHALLOW, DEEP, HED], ["vgg16_hed"]),
        (["vgg19_distilled"], [SHALLOW, DEEP, HED], ["vgg16_hed"]),
        (["vgg19_relu3_1"], [SHALLOW, DEEP, HED], ["vgg16_hed"]),
        (["vgg16"], [SHALLOW, DEEP, HED], ["builtin", "vgg19_mix", "vgg16_hed"]),
        (["vgg16_hed"], [SHALLOW, DEEP, HED], ["builtin", "vgg19_mix"]),
        (["my_network"], [HED], ["builtin", "vgg16_hed"]),
        (["vgg16_hed", "vgg19_mix"], [SHALLOW, DEEP, HED], ["builtin"]),  # None is left.
        (["vgg19_mix"], [SHALLOW, DEEP], ["builtin"]),
    ],
)
def test_the_judges_had_no_part_in_the_training(
    tmp_path: Path, trained: list[str], files: list[str], expected: list[str]
) -> None:
    assert choose_judges(trained, with_files(tmp_path / "weights", files)) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"_target_": f"{TARGET}.builtin"}, "builtin"),
        ({"_target_": f"{TARGET}.vgg_mix", "shallow": SHALLOW, "deep": DEEP}, "vgg19_mix"),
        ({"_target_": f"{TARGET}.vgg_from_file", "weights": f"/a/{SHALLOW}"}, "vgg19_relu3_1"),
        ({"_target_": f"{TARGET}.vgg_from_file", "weights": DEEP}, "vgg19_distilled"),
        ({"_target_": f"{TARGET}.vgg_from_file", "weights": f"a/{HED}"}, "vgg16_hed"),
        ({"_target_": f"{TARGET}.vgg", "architecture": "vgg16"}, "vgg16"),
        ({"_target_": f"{TARGET}.squeezenet", "weights": None}, "squeezenet1_1"),
        ({"_target_": "mine.Network"}, "Network"),
    ],
)
def test_the_loss_network_of_the_training_is_read_from_the_metadata(settings: object, expected: str) -> None:
    assert trained_with({"recipe": json.dumps({"loss_network": settings})}) == expected


@pytest.mark.parametrize(
    "recipe",
    [None, "", "1", "[]", "{}", "null", '{"loss_network": 3}', '{"loss_network": {}}', "[" * 100_000],
    ids=range(9),
)
def test_metadata_that_tells_nothing_is_no_error(recipe: str | None) -> None:
    assert trained_with({} if recipe is None else {"recipe": recipe}) is None


@pytest.mark.parametrize("file", sorted((CHECKOUT / "checkpoints").glob("*.safetensors")), ids=lambda file: file.stem)
def test_the_networks_of_the_repository_tell_their_loss_network(file: Path) -> None:
    name = trained_with(read_header(file))
    assert name is not None
    assert family_of(name) == "builtin"


def test_every_judge_has_its_layers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With random weights, because the real ones are not in the repository."""
    for name in ("vgg", "squeezenet"):
        build = getattr(judges, name)
        monkeypatch.setattr(judges, name, lambda *args, build=build: build(*args, weights="random"))
    for name in ("builtin", "vgg16", "vgg19", "squeezenet1_1"):
        judge = load_judge(name, folder=tmp_path)
        found = judge.network(torch.rand(1, 3, 32, 32), [*judge.style_layers, *judge.content_layers])
        assert set(found) == {*judge.style_layers, *judge.content_layers}
        assert judge.device.type == "cpu"


def test_a_file_of_a_loss_network_is_a_judge(tmp_path: Path) -> None:
    tensors = {"conv1_1.weight": torch.randn(4, 3, 3, 3), "conv1_1.bias": torch.randn(4)}
    file = str(tmp_path / "eyes.safetensors")
    save_file(tensors, file, metadata={"layers": "conv1_1"})
    judge = load_judge(file, style_layers=["relu1_1"], content_layers=["conv1_1"])
    assert (judge.name, judge.style_layers, judge.content_layers) == ("eyes", ["relu1_1"], ["conv1_1"])
    with pytest.raises(ValueError, match=r"is a file, so give its style_layers=\[\.\.\.\]"):
        load_judge(file)


@pytest.mark.parametrize(
    ("name", "layers", "sentence"),
    [
        ("vgg11", {}, "'vgg11' is no judge; expected a file of a loss network or one of builtin, vgg19_mix,"),
        ("vgg16_hed", {}, r"at .*vgg16_hed.safetensors, found nothing"),
        ("builtin", {"style_layers": ["relu9_9"]}, r"no layer relu9_9; its layers are .*relu1_1"),
    ],
)
def test_wrong_judges_are_refused(tmp_path: Path, name: str, layers: dict[str, list[str]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_judge(name, folder=tmp_path, **layers)  # type: ignore[arg-type]


def test_the_names_are_unique_words() -> None:
    assert len(set(JUDGES)) == len(JUDGES) == 6
