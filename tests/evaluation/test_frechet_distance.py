"""The distance of two collections is the Fréchet distance of Gaussians fitted to their features."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from fast_style.evaluation.frechet_distance import frechet_distance

LAYERS = ["relu1", "relu2"]


def collection(count, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, 3, 8 + number % 3, 9, generator=generator) * 0.5 + shift for number in range(count)]


def plain(ones, others):
    """The formula with numpy and scipy in float64."""
    mean, other_mean = ones.mean(0), others.mean(0)
    cov, other_cov = np.cov(ones, rowvar=False), np.cov(others, rowvar=False)
    root = sqrtm(cov @ other_cov).real
    return ((mean - other_mean) ** 2).sum() + np.trace(cov + other_cov - 2 * root)


def test_the_distance_follows_the_formula(tiny_loss_network):
    pictures, made, targets = collection(30, 0), collection(30, 1, shift=0.2), collection(40, 2, shift=0.5)
    found = frechet_distance(zip(made, pictures, strict=True), targets, loss_network=tiny_loss_network, layers=LAYERS)
    assert (found.pictures, found.targets) == (30, 40)

    def means(side, layer):
        return np.stack([tiny_loss_network(p, [layer])[layer].double().mean((2, 3))[0].numpy() for p in side])

    for layer in LAYERS:
        wanted = means(targets, layer)
        assert found.untranslated[layer] == pytest.approx(plain(means(pictures, layer), wanted), rel=1e-4)
        assert found.translated[layer] == pytest.approx(plain(means(made, layer), wanted), rel=1e-4)
        assert found.translated[layer] < found.untranslated[layer]


def test_a_collection_has_distance_zero_to_itself(tiny_loss_network):
    same = collection(5, 0)
    found = frechet_distance(zip(same, same, strict=True), same, loss_network=tiny_loss_network, layers=LAYERS)
    assert found.translated == pytest.approx(dict.fromkeys(LAYERS, 0), abs=1e-6)
    assert found.untranslated == found.translated


def test_fewer_images_than_channels_are_enough(tiny_loss_network):
    made, targets = collection(2, 1), collection(2, 2, shift=0.5)
    found = frechet_distance(zip(made, made, strict=True), targets, loss_network=tiny_loss_network, layers=LAYERS)
    assert all(np.isfinite(distance) and distance > 0 for distance in found.translated.values())


@pytest.mark.parametrize(("pictures", "targets"), [(0, 3), (1, 3), (3, 1), (3, 0)])
def test_a_collection_of_one_image_is_refused(tiny_loss_network, pictures, targets):
    made = collection(pictures, 0)
    with pytest.raises(ValueError, match=f"needs at least two images; got {pictures} to translate and {targets}"):
        frechet_distance(
            zip(made, made, strict=True), collection(targets, 1), loss_network=tiny_loss_network, layers=LAYERS
        )


def test_no_layers_are_refused(tiny_loss_network):
    with pytest.raises(ValueError, match="needs at least one layer"):
        frechet_distance([], [], loss_network=tiny_loss_network, layers=[])


def test_the_table_shows_the_ratio(tiny_loss_network):
    pictures, targets = collection(4, 0), collection(4, 2, shift=0.5)
    found = frechet_distance(
        zip(targets, pictures, strict=True), targets, loss_network=tiny_loss_network, layers=LAYERS
    )
    lines = found.as_table().splitlines()
    assert lines[0].split() == ["layer", "untranslated", "translated", "ratio"]
    assert [line.split()[0] for line in lines[1:]] == LAYERS
    assert all(line.endswith("0.00") for line in lines[1:])
    assert found.as_json()["untranslated"] == found.untranslated
