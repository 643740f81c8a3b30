"""The errors of an image are those of the losses, at every scale; the painting itself has none."""

import math
from pathlib import Path

import pytest
import torch
from shared_files import SHARED
from torch import Tensor

from fast_style import load_image
from fast_style.evaluation.comparison import compare_sides
from fast_style.evaluation.judges import Judge, load_judge
from fast_style.evaluation.sides import from_folder
from fast_style.evaluation.style_metrics import StyleMetrics, best_size
from fast_style.images.listing import find_pictures
from fast_style.losses.perceptual import PerceptualLoss
from fast_style.networks.loss_network import LossNetwork

SCALES = (1, 2, 4)


@pytest.fixture
def judge(tiny_loss_network: LossNetwork) -> Judge:
    return Judge("tiny", tiny_loss_network, ("relu1", "conv2"), ("relu2",))


def picture(*size: int) -> Tensor:
    return torch.rand(1, 3, *(size or (24, 28)))


def test_an_unchanged_photo_has_no_content_error(judge: Judge) -> None:
    metrics, photo = StyleMetrics(judge, {16: picture(16, 16)}, scales=SCALES), picture()
    errors = metrics.errors(photo, metrics.photo_features(photo))
    assert errors.content == {"relu2": 0}
    assert errors.content_error == 0
    assert min(errors.style_error(16, scale) for scale in SCALES) > 0


@pytest.mark.parametrize("best", [16, 20, 24])
def test_the_painting_itself_has_no_style_error_at_any_scale(judge: Judge, best: int) -> None:
    painting = {size: picture(size, size) ** (size / 8) for size in (16, 20, 24)}
    metrics = StyleMetrics(judge, painting, scales=SCALES)
    errors = metrics.errors(painting[best], metrics.photo_features(picture(best, best)))
    assert best_size([errors]) == best
    for scale in SCALES:
        assert errors.style_error(best, scale) == pytest.approx(0, abs=1e-10)
        assert errors.style[best][scale] == pytest.approx({"relu1": 0, "conv2": 0}, abs=1e-10)
        assert min(errors.style_error(size, scale) for size in painting if size != best) > 1e-3


def test_the_errors_are_those_of_the_losses(judge: Judge) -> None:
    """The loss has the same formulas in code of its own, with the scales as levels of its pyramid."""
    painted, photo, painting = picture(), picture(), {16: picture(16, 16), 24: picture(24, 24)}
    metrics = StyleMetrics(judge, painting, scales=SCALES)
    errors = metrics.errors(painted, metrics.photo_features(photo))
    for size, style in painting.items():
        loss = PerceptualLoss(
            loss_network=judge.network,
            style=[style],
            style_layers=judge.style_layers,
            content_layers=judge.content_layers,
            style_levels=[1, 1, 1],
            content_weight=1,
            style_weight=1,
            tv_weight=0,
        )
        terms = {name: term.item() for name, term in loss(painted, photo).items()}
        own = {f"style/{name}": error for name, error in errors.style[size][1].items()}
        own |= {f"style/level{s}/{name}": error for s in (2, 4) for name, error in errors.style[size][s].items()}
        own |= {f"content/{name}": error for name, error in errors.content.items()}
        assert own == pytest.approx(terms, rel=1e-5)
        mean = (terms["style/relu1"] + terms["style/conv2"]) / 2
        assert errors.style_error(size, 1) == pytest.approx(mean, rel=1e-5)


def test_detail_counts_at_scale_1_and_large_shapes_at_every_scale(judge: Judge) -> None:
    """A chequered pattern of pixels is lost at scale 2; a half of another brightness is not."""
    flat = torch.full((1, 3, 32, 32), 0.5)
    rows, columns = torch.arange(32).view(32, 1), torch.arange(32)
    detail = flat + 0.3 * ((rows + columns) % 2 * 2 - 1)
    large = flat + 0.3 * ((rows + 0 * columns) // 16 * 2 - 1)
    metrics = StyleMetrics(judge, {32: flat}, scales=SCALES)
    found = {
        name: metrics.errors(painted, metrics.photo_features(flat))
        for name, painted in {"detail": detail, "large": large}.items()
    }
    assert found["detail"].style_error(32, 1) > 1e-3
    assert found["detail"].style_error(32, 2) == pytest.approx(0, abs=1e-9)
    assert min(found["large"].style_error(32, scale) for scale in SCALES) > 1e-3


def test_scales_that_are_too_small_are_left_out(judge: Judge) -> None:
    """The pooling of the tiny network needs two pixels, so an image of 12 pixels can be reduced 4 times and not 8."""
    metrics = StyleMetrics(judge, {64: picture(64, 64)}, scales=(1, 2, 4, 8))
    small, large = picture(12, 12), picture(64, 64)
    assert list(metrics.errors(small, metrics.photo_features(small)).style[64]) == [1, 2, 4]
    assert math.isnan(metrics.errors(small, metrics.photo_features(small)).style_error(64, 8))
    assert list(metrics.errors(large, metrics.photo_features(large)).style[64]) == [1, 2, 4, 8]
    one = picture(1, 1)
    with pytest.raises(ValueError, match="1x1 pixels is too small for layer pool1"):
        metrics.errors(one, {})


@pytest.mark.parametrize(
    ("painting", "scales"), [({}, (1,)), ({16: None}, (2, 4)), ({16: None}, (0, 1))], ids=["none", "no 1", "0"]
)
def test_wrong_paintings_and_scales_are_refused(judge: Judge, painting: dict[int, None], scales: tuple[int]) -> None:
    with pytest.raises(ValueError, match="need a painting of at least one size, and scales with 1 and none below it"):
        StyleMetrics(judge, {size: picture(size, size) for size in painting}, scales=scales)


# ---- published stylized images

# The mean over these two of the 16 photos is near the mean over all.
TYPICAL = ("n02231487_walking_stick", "n02909870_bucket")
PUBLISHED = {"wave": (0.016, 1.26, 0.33), "the_scream": (0.057, 0.68, 0.27)}  # Reference values, measured on 16 photos.


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the stylized images of the published models in {SHARED}")
@pytest.mark.parametrize("style", PUBLISHED)
def test_published_models_score_as_they_did_before(style: str) -> None:
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1"]
    photos = [photo for photo in find_pictures(SHARED / "photos" / "val") if Path(photo).stem in TYPICAL]
    found = compare_sides(
        [from_folder(str(SHARED / "reference" / style), photos)],
        photos,
        {size: load_image(SHARED / "styles" / f"{style}.jpg", size=size) for size in (384, 512)},
        [load_judge("vgg19_mix", folder=SHARED / "weights", style_layers=layers)],
        scales=[1],
    )
    means = {name.removeprefix("vgg19_mix/"): figure.mean for name, figure in found.figures[style].items()}
    assert found.photos == 2
    assert means["style_size"] == 512
    figures = (means["style/scale1"], means["content/relu3_1"], means["content/relu4_1"])
    assert figures == pytest.approx(PUBLISHED[style], rel=0.15)
