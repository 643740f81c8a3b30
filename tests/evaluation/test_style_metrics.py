"""The metrics are the relative errors of the losses, averaged over the photos, at the best style size."""

import json
from pathlib import Path

import pytest
import torch
from shared_files import SHARED

from fast_style import load_image, save_image
from fast_style.evaluation.style_metrics import compute_style_metrics, from_folder, from_model
from fast_style.images.listing import find_pictures
from fast_style.losses.perceptual import PerceptualLoss
from fast_style.networks.pretrained import vgg_mix

LAYERS = {"style_layers": ["relu1", "conv2"], "content_layers": ["relu2"]}


def picture(*size):
    return torch.rand(1, 3, *(size or (12, 14)))


def pairs(count):
    return [(picture(8 + i, 9), picture(8 + i, 9)) for i in range(count)]


def test_an_unchanged_photo_has_no_content_error(tiny_loss_network):
    photo = picture()
    metrics = compute_style_metrics([(photo, photo)], {16: picture(16, 16)}, loss_network=tiny_loss_network, **LAYERS)
    assert metrics.content == {"relu2": 0}
    assert metrics.style_error > 0


@pytest.mark.parametrize("best", [16, 20, 24])
def test_the_painting_itself_has_no_style_error_at_its_size(tiny_loss_network, best):
    styles = {size: picture(size, size) ** (size / 8) for size in (16, 20, 24)}
    metrics = compute_style_metrics(
        [(styles[best], picture(best, best))], styles, loss_network=tiny_loss_network, **LAYERS
    )
    assert metrics.style_size == best
    assert metrics.style_error == pytest.approx(0, abs=1e-10)
    assert metrics.style == pytest.approx({"relu1": 0, "conv2": 0}, abs=1e-10)
    assert min(error for size, error in metrics.style_by_size.items() if size != best) > 1e-3


def test_the_figures_are_the_losses_averaged(tiny_loss_network):
    styles, judged = {16: picture(16, 16), 24: picture(24, 24)}, pairs(3)
    metrics = compute_style_metrics(judged, styles, loss_network=tiny_loss_network, **LAYERS)
    assert metrics.photos == 3
    by_size = {}
    for size, style in styles.items():
        loss = PerceptualLoss(
            loss_network=tiny_loss_network, style=[style], content_weight=1, style_weight=1, tv_weight=0, **LAYERS
        )
        terms = [loss(*pair) for pair in judged]
        by_size[size] = {name: sum(t[name].item() for t in terms) / 3 for name in terms[0]}
    means = {size: (by["style/relu1"] + by["style/conv2"]) / 2 for size, by in by_size.items()}
    assert metrics.style_by_size == pytest.approx(means, rel=1e-5)
    best = by_size[min(means, key=means.get)]
    assert metrics.style == pytest.approx({name: best[f"style/{name}"] for name in ("relu1", "conv2")}, rel=1e-5)
    assert metrics.content == pytest.approx({"relu2": best["content/relu2"]}, rel=1e-5)
    assert metrics.style_error == pytest.approx(min(means.values()), rel=1e-5)


@pytest.mark.parametrize(
    ("judged", "sentence"),
    [
        ([], "at least one stylized image with its photo, found none"),
        ([(picture(8, 9), picture(9, 8))], r"got \(8, 9\) for \(9, 8\)"),
    ],
    ids=["none", "unequal"],
)
def test_missing_or_unequal_pairs_are_refused(tiny_loss_network, judged, sentence):
    with pytest.raises(ValueError, match=sentence):
        compute_style_metrics(judged, {16: picture(16, 16)}, loss_network=tiny_loss_network, **LAYERS)


def test_the_figures_are_written_as_json_and_as_a_table(tiny_loss_network):
    metrics = compute_style_metrics(pairs(2), {16: picture(16, 16)}, loss_network=tiny_loss_network, **LAYERS)
    told = json.loads(json.dumps(metrics.as_json()))
    assert told["style_error"] == metrics.style_error
    assert told["content"] == metrics.content
    assert told["photos"] == 2
    rows = {line[:24].strip(): line[24:].split() for line in metrics.as_table().splitlines()}
    assert rows["relu1"] == [f"{metrics.style['relu1']:.4f}"]
    assert rows["relu2"] == [f"{metrics.content['relu2']:.4f}"]
    assert rows["mean, style size 16"] == [f"{metrics.style_error:.4f}"]


# ---- pairs of stylized images and photos


@pytest.mark.parametrize(("size", "shape"), [(None, (20, 30)), (16, (16, 24))])
def test_photos_are_painted_at_the_size_asked_for(tmp_path, size, shape):
    save_image(picture(20, 30), tmp_path / "a.png")
    [(painted, photo)] = from_model(lambda pixels: 1 - pixels, [str(tmp_path / "a.png")], size=size)
    assert photo.shape == (1, 3, *shape)
    assert torch.equal(photo, load_image(tmp_path / "a.png", size=size))
    assert torch.equal(painted, 1 - photo)


def white(path, level, *size):
    save_image(torch.full((3, *(size or (20, 30))), level / 255), path)


@pytest.mark.parametrize(
    "names",
    [
        {"a": "a.png", "b": "b.jpg"},
        {"a": "a_wave.png", "b": "deep/b_wave.png"},
        {"a": "a_sea.png", "ab": "ab_sea.png"},
        pytest.param({"a": "a_wave.png", "a_b": "a_b_wave.png"}),
    ],
    ids=["name", "name-and-style", "beginnings", "longer-names"],
)
def test_painted_pictures_are_found_by_their_photos_names(tmp_path, names):
    for level, (photo, name) in enumerate(names.items()):
        save_image(picture(20, 30), tmp_path / f"photos/{photo}.png")
        white(tmp_path / "painted" / name, 100 * level, 16, 24)
    files = [str(tmp_path / f"photos/{photo}.png") for photo in names]
    found = list(from_folder(str(tmp_path / "painted"), files))
    assert [round(painted.mean().item() * 255) for painted, _ in found] == [0, 100]
    for file, (painted, photo) in zip(files, found, strict=True):
        assert painted.shape == photo.shape == (1, 3, 16, 24)
        assert torch.equal(photo, load_image(file, size=16))


def test_an_equal_name_has_priority_over_a_longer_one(tmp_path):
    white(tmp_path / "painted/a.png", 200)
    white(tmp_path / "painted/a_wave.png", 100)
    white(tmp_path / "a.png", 0)
    [(painted, _)] = from_folder(str(tmp_path / "painted"), [str(tmp_path / "a.png")])
    assert round(painted.mean().item() * 255) == 200


def test_a_photo_without_a_stylized_image_is_refused(tmp_path):
    white(tmp_path / "painted/ab_wave.png", 100)
    white(tmp_path / "a.png", 0)
    with pytest.raises(ValueError, match=r"image of .*a\.png in .*painted, found no file named a or a_\*"):
        list(from_folder(str(tmp_path / "painted"), [str(tmp_path / "a.png")]))


def test_smaller_photos_can_keep_their_size(tmp_path):
    white(tmp_path / "a.png", 100)
    shapes = {
        (size, enlarge): next(from_model(lambda x: x, [str(tmp_path / "a.png")], size=size, enlarge=enlarge))[1].shape
        for size in (16, 40)
        for enlarge in (True, False)
    }
    assert shapes[16, True] == shapes[16, False] == (1, 3, 16, 24)
    assert shapes[40, True] == (1, 3, 40, 60)
    assert shapes[40, False] == (1, 3, 20, 30)


# ---- published stylized images

# The mean over these two of the 16 photos is near the mean over all.
TYPICAL = ("n02231487_walking_stick", "n02909870_bucket")
PUBLISHED = {"wave": (0.016, 1.26, 0.33), "the_scream": (0.057, 0.68, 0.27)}  # Reference values, measured on 16 photos.


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the stylized images of the published models in {SHARED}")
@pytest.mark.parametrize("style", PUBLISHED)
def test_published_models_score_as_they_did_before(style):
    weights = SHARED / "weights"
    network = vgg_mix(
        shallow=str(weights / "vgg19_relu3_1.safetensors"), deep=str(weights / "vgg19_distilled_16x.safetensors")
    )
    photos = [photo for photo in find_pictures(SHARED / "photos" / "val") if Path(photo).stem in TYPICAL]
    metrics = compute_style_metrics(
        from_folder(str(SHARED / "reference" / style), photos),
        {size: load_image(SHARED / "styles" / f"{style}.jpg", size=size) for size in (384, 512)},
        loss_network=network,
        style_layers=["relu1_1", "relu2_1", "relu3_1", "relu4_1"],
        content_layers=["relu3_1", "relu4_1"],
    )
    assert metrics.style_size == 512
    found = (metrics.style_error, metrics.content["relu3_1"], metrics.content["relu4_1"])
    assert metrics.photos == 2
    assert found == pytest.approx(PUBLISHED[style], rel=0.15)
