"""Presets of a training: style.strength scales the style terms, style.brush the painting, and the network says so."""

import json
from pathlib import Path

import pytest
from omegaconf import open_dict
from training_runs import composed, settings, train

from fast_style.losses.presets import BRUSHES, STRENGTHS
from fast_style.networks.metadata import read_header
from fast_style.training.effective_batch import EffectiveBatch, shared_batch
from fast_style.training.tasks.style import StyleTask, with_strength


def batch() -> EffectiveBatch:
    return shared_batch(2, processes=1, accumulated=1, rule="constant", reference=4)


def weights_of(folder: Path, **changes: object) -> dict[str, float]:
    return StyleTask(composed(settings(folder, **changes))).method(batch()).loss.weights


@pytest.mark.parametrize("strength", ["low", "high", 3])
def test_strength_multiplies_the_weights_of_all_style_terms_and_no_others(tmp_path: Path, strength: object) -> None:
    levels = {"loss.style_levels": "[1.0,0.35]"}
    plain, scaled = weights_of(tmp_path, **levels), weights_of(tmp_path, **levels, **{"style.strength": strength})
    factor = STRENGTHS.get(strength, strength)  # type: ignore[call-overload]
    assert scaled == pytest.approx({k: w * (factor if k.startswith("style") else 1) for k, w in plain.items()})
    assert any(name.startswith("style/level2") for name in scaled)


@pytest.mark.parametrize(("size", "brush"), [("40", "fine"), ("40", "broad"), ("[20,40]", "broad"), ("40", 2)])
def test_brush_multiplies_the_sizes_of_the_painting(tmp_path: Path, size: str, brush: object) -> None:
    factor = BRUSHES.get(brush, brush)  # type: ignore[call-overload]
    task = StyleTask(composed(settings(tmp_path, **{"style.size": size, "style.brush": brush})))
    sides = [picture.shape[-1] for picture in task.style]
    assert sides == [round(side * factor) for side in ([20, 40] if "," in size else [40])]


def test_presets_are_in_the_recipe_of_the_network_and_its_weights_are_as_given(tmp_path: Path) -> None:
    outcome = train(tmp_path, steps=1, **{"style.strength": "high", "style.brush": "broad", "loss.style_weight": 3})
    recipe = json.loads(read_header(outcome.network_file)["recipe"])
    assert (recipe["style"]["strength"], recipe["style"]["brush"], recipe["style"]["size"]) == ("high", "broad", 32)
    assert recipe["loss"]["style_weight"] == 3


def test_a_run_resumes_only_with_its_own_presets(tmp_path: Path) -> None:
    first = train(tmp_path, steps=2, **{"style.strength": "high"})
    with pytest.raises(ValueError, match=r"does not have style\.strength=low"):
        train(tmp_path, steps=2, resume=first.folder, **{"style.strength": "low"})


def test_a_run_without_presets_is_of_medium_strength_and_brush(tmp_path: Path) -> None:
    cfg = composed(settings(tmp_path))
    with open_dict(cfg):
        del cfg.style.strength, cfg.style.brush  # As in a saved configuration of an older run.
    assert with_strength(cfg) == cfg
    assert StyleTask(cfg).style[0].shape[-1] == cfg.style.size


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"style.strength": "strong"}, "style.strength is one of low, medium, high"),
        ({"style.brush": "wide"}, "style.brush is one of fine, medium, broad"),
        ({"style.brush": 0.1}, "sizes of at least 16"),
        ({"style.strength": -1}, "style.strength is one of"),
    ],
)
def test_unknown_presets_are_refused(tmp_path: Path, setting: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        StyleTask(composed(settings(tmp_path, **setting)))


def test_strength_needs_a_loss_with_a_style_weight(tmp_path: Path) -> None:
    cfg = composed(settings(tmp_path, **{"style.strength": "low"}))
    with open_dict(cfg):
        del cfg.loss.style_weight
    with pytest.raises(ValueError, match=r"style\.strength=low scales loss\.style_weight, which this loss lacks"):
        with_strength(cfg)
