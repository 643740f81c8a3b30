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


def test_there_are_six_styles() -> None:
    assert set(STYLES) == {"starry_night", "wave", "the_scream", "composition_vii", "van_gogh_2", "shipwreck"}


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


@pytest.mark.parametrize("style", STYLES)
def test_a_style_has_a_model_and_its_card(style: str) -> None:
    file = MODELS / f"{style}.safetensors"
    tensors, _ = read_tensors(file)
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float16"}
    assert file.stat().st_size < 4e6
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


@pytest.mark.parametrize("style", ["starry_night", "the_scream", "wave"])
def test_the_default_recipe_equals_the_recipe_of_the_new_networks(style: str) -> None:
    """The last part of a training has the defaults, in all settings that its file names; newer ones are not in it.

    The networks are of `generator=johnson`, with the learning rate that was the default then; their cards say so.
    """
    recipe = json.loads(read_tensors(MODELS / f"{style}.safetensors")[1]["recipe"])
    then = ["generator=johnson", "method.optimizer.lr=0.014"]
    assert all(setting in (MODELS / f"{style}.md").read_text(encoding="utf-8") for setting in then)
    cfg = composed(["data=folder", "data.root=photos", "loss_network=vgg19_mix", f"style={style}", *then])
    now = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(now, dict)
    for part in ("generator", "loss", "loss_network", "data"):
        for key, value in recipe[part].items():
            if key not in ("_target_", "root", "held_out_root", "shallow", "deep", "workers"):
                assert now[part][key] == value, (part, key)
    assert recipe["style"]["strength"] == now["style"]["strength"]
    assert recipe["seed"] == now["seed"]
    for key in ("lr", "momentum", "adam_lr_scale", "betas"):
        assert now["method"]["optimizer"][key] == recipe["method"]["optimizer"][key]
    for key in ("average_decay", "noise_std", "loss_shift", "stability"):
        assert now["method"][key] == recipe["method"][key]


@pytest.mark.parametrize("style", ["van_gogh_2", "shipwreck"])
def test_the_gallery_recipe_equals_the_recipe_of_the_networks(style: str) -> None:
    """All settings that affect the result are equal; settings newer than the networks have a neutral value."""
    recipe = json.loads(read_tensors(MODELS / f"{style}.safetensors")[1]["recipe"])
    cfg = composed(["experiment=gallery", f"style={style}", "data.root=photos"])
    now = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(now, dict)
    renamed = {"pool": "pooling"}
    for part in ("generator", "loss", "loss_network", "data"):
        for key, value in recipe[part].items():
            if key not in ("_target_", "root", "held_out_root", "shallow", "deep"):
                assert now[part][renamed.get(key, key)] == value, (part, key)
    assert (now["steps"], now["seed"]) == (recipe["steps"], recipe["seed"])
    for key in ("lr", "momentum", "adam_lr_scale", "betas"):
        assert now["method"]["optimizer"][key] == recipe["method"]["optimizer"][key]
    assert now["method"]["average_decay"] == recipe["method"]["average_decay"]
    assert now["method"]["noise_std"] == now["method"]["stability"]["weight"] == 0


def test_the_project_is_small() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [CHECKOUT / name for name in listed.stdout.split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.is_file()) < 60e6
