"""All bundled assets exist, match their cards, and are small."""

import itertools
import json
import subprocess

import pytest
import torch
from checkout import CHECKOUT
from omegaconf import OmegaConf
from training_runs import composed

from fast_style import load_image, load_stylizer
from fast_style.losses.functional import gram, relative_error
from fast_style.networks.pretrained import builtin
from fast_style.networks.serialization import read_tensors

MODELS = CHECKOUT / "checkpoints"
STYLES = {
    name: said
    for file in sorted((CHECKOUT / "conf/style").glob("*.yaml"))
    for name, said in OmegaConf.load(file).pictures.items()
}


NETWORKS = [*STYLES, *(f"johnson/{style}" for style in ("starry_night", "the_scream", "wave"))]


def test_there_are_eleven_styles() -> None:
    assert len(STYLES) == 11
    listed = {file.relative_to(MODELS).with_suffix("").as_posix() for file in MODELS.rglob("*.md")} - {"README"}
    assert listed == set(NETWORKS)


@pytest.mark.parametrize("style", STYLES)
def test_a_style_has_a_texture_and_its_card(style: str) -> None:
    texture = CHECKOUT / STYLES[style].texture
    assert load_image(texture).shape == (1, 3, 512, 512)
    card = texture.with_suffix(".md").read_text(encoding="utf-8")
    painter = STYLES[style].work.split(",")[0]
    for said in (painter, "public domain", "MIT", "scripts/optimize.py", f"output={STYLES[style].texture}"):
        assert said in card


def test_textures_of_different_styles_differ() -> None:
    """The Gram matrices of every two textures differ, so no two files are swapped or equal."""
    network, layers = builtin(), ["relu1_1", "relu2_1", "relu3_1"]
    grams = {}
    for style, said in STYLES.items():
        with torch.no_grad():
            features = network(load_image(CHECKOUT / said.texture, size=256), layers)
        grams[style] = {name: gram(features[name]) for name in layers}
    for style, other in itertools.permutations(STYLES, 2):
        errors = [relative_error(grams[other][name], grams[style][name]).item() for name in layers]
        assert sum(errors) / len(errors) > 0.05, f"the textures of {style} and {other} are equal"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_style_has_a_model_and_its_card(name: str) -> None:
    file, style = MODELS / f"{name}.safetensors", name.removeprefix("johnson/")
    tensors, _ = read_tensors(file)
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float16"}
    assert file.stat().st_size < (4e6 if name.startswith("johnson") else 0.7e6)
    assert load_stylizer(file, runtime="torch").style == style
    card = file.with_suffix(".md").read_text(encoding="utf-8")
    parameters = f"{sum(tensor.numel() for tensor in tensors.values()):,}"
    for said in (STYLES[style].work.split(",")[0], "MIT", "scripts/train.py", "steps", "minutes", parameters):
        assert said in card


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_a_model_runs_in_the_default_runtime(style: str) -> None:
    stylizer = load_stylizer(MODELS / f"{style}.safetensors")
    assert stylizer.style == style
    assert stylizer(torch.rand(1, 3, 40, 56)).shape == (1, 3, 40, 56)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_card_names_all_settings_that_differ_from_the_defaults(name: str) -> None:
    """Of the last part of the training; settings that are newer than the network have a neutral value."""
    style = name.removeprefix("johnson/")
    recipe = json.loads(read_tensors(MODELS / f"{name}.safetensors")[1]["recipe"])
    card = (MODELS / f"{name}.md").read_text(encoding="utf-8")
    last = card.split("python scripts/train.py")[-1].split("```")[0].replace("\\\n", " ")
    settings = [word for word in last.split() if not word.startswith(("style=", "init_from=", "data.root="))]
    cfg = composed([*settings, f"style={style}", "data.root=photos"])
    now = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(now, dict)
    for part in ("generator", "loss", "loss_network", "data"):
        for key, value in recipe[part].items():
            if key not in ("_target_", "root", "held_out_root", "shallow", "deep", "workers"):
                assert now[part][key] == value, (part, key)
    assert recipe["style"]["strength"] == now["style"]["strength"]
    assert (recipe["seed"], recipe["steps"]) == (now["seed"], now["steps"])
    for key in ("lr", "momentum", "adam_lr_scale", "betas"):
        assert now["method"]["optimizer"][key] == recipe["method"]["optimizer"][key]
    for key in ("average_decay", "noise_std", "loss_shift", "stability"):
        assert now["method"][key] == recipe["method"][key]


def test_the_project_is_small() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [CHECKOUT / name for name in listed.stdout.split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.is_file()) < 60e6
