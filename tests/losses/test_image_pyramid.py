"""Every level of the pyramid is the plain loss of reduced images; both losses use the same terms."""

import pytest
import torch
import torch.nn.functional as F

from fast_style.image_optimization.loss import PictureLoss, Style
from fast_style.losses.image_pyramid import PyramidTerms, pyramid_features, reduced
from fast_style.losses.perceptual import PerceptualLoss
from fast_style.networks.pretrained import builtin

LAYERS = {"relu1": 1.0, "conv2": 0.5}
LEVELS = [1.0, 0.5, 0.25]


@pytest.fixture
def training_loss(tiny_loss_network):
    def make(style, levels, content_levels=(1.0,)):
        settings = {"content_layers": ["relu2"], "content_weight": 1.0, "style_weight": 4.0, "tv_weight": 0.0}
        return PerceptualLoss(
            loss_network=tiny_loss_network,
            style=[style],
            style_layers=LAYERS,
            style_levels=levels,
            content_levels=content_levels,
            **settings,
        )

    return make


@pytest.fixture
def picture_loss(tiny_loss_network):
    def make(styles, levels, content=None, content_levels=(1.0,)):
        return PictureLoss(
            loss_network=tiny_loss_network,
            content=content,
            styles=styles,
            content_layers=["relu2"],
            style_layers=LAYERS,
            style_weight=4.0,
            range_weight=0.0,
            style_levels=levels,
            content_levels=content_levels,
        )

    return make


class CountingNetwork(torch.nn.Module):
    """Counts passes and pixels."""

    def __init__(self, network):
        super().__init__()
        self.network, self.names, self.sizes = network, network.names, []

    def forward(self, pictures, names, *, recompute=False):
        self.sizes.append(tuple(pictures.shape[-2:]))
        return self.network(pictures, names, recompute=recompute)


def test_a_level_is_the_plain_loss_of_reduced_images(training_loss):
    style, painted, photos = torch.rand(1, 3, 40, 32), torch.rand(2, 3, 32, 24), torch.rand(2, 3, 32, 24)
    terms = training_loss(style, LEVELS, content_levels=LEVELS)(painted, photos)
    for level in (1, 2, 4):
        small = [F.avg_pool2d(picture, level) for picture in (style, painted, photos)]
        plain = training_loss(small[0], [1.0])(small[1], small[2])
        for name, expected in plain.items():
            kind, layer = name.split("/")
            found = terms[name] if level == 1 else terms[f"{kind}/level{level}/{layer}"]
            torch.testing.assert_close(found, expected)


def test_weights_are_products_and_a_weight_of_zero_leaves_a_level_out(training_loss):
    loss = training_loss(torch.rand(1, 3, 40, 32), [0.0, 0.5, 0.0, 0.25])
    assert loss.weights == {
        "content/relu2": 1.0,
        "style/level2/relu1": 2.0,
        "style/level2/conv2": 1.0,
        "style/level8/relu1": 1.0,
        "style/level8/conv2": 0.5,
    }
    terms = loss(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    assert list(terms) == list(loss.weights)


def test_the_painting_itself_has_no_style_error_at_any_level(training_loss, picture_loss):
    painting = torch.rand(1, 3, 33, 30)
    for terms in (
        training_loss(painting, LEVELS)(painting, torch.rand(1, 3, 33, 30)),
        picture_loss([Style(painting)], LEVELS)(painting),
    ):
        errors = [value.item() for name, value in terms.items() if name.startswith("style")]
        assert errors == [0.0] * 6


def test_training_and_optimising_one_image_have_the_same_terms(training_loss, picture_loss):
    style, painted, photo = torch.rand(1, 3, 40, 32), torch.rand(1, 3, 32, 24), torch.rand(1, 3, 32, 24)
    one = training_loss(style, LEVELS, content_levels=[0.5, 2.0])
    other = picture_loss([Style(style)], LEVELS, content=photo, content_levels=[0.5, 2.0])
    assert one.weights["content/level2/relu2"] == 2.0
    assert one.weights == other.weights
    expected = one(painted, photo)
    for name, value in other(painted).items():
        torch.testing.assert_close(value, expected[name])


def test_a_region_applies_at_every_level(picture_loss):
    style, painted = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    left = torch.zeros(1, 1, 32, 32)
    left[..., :16] = 1
    loss = picture_loss([Style(style, region=left)], LEVELS)
    changed = painted.clone()
    changed[..., 28:] = 0  # At level 4, features of the left half see the first 28 columns.
    before, after = loss(painted), loss(changed)
    assert len(before) == 6
    for name, value in before.items():
        torch.testing.assert_close(after[name], value)


def test_each_level_is_one_pass(tiny_loss_network):
    network = CountingNetwork(tiny_loss_network)
    content, style = PyramidTerms("content", ["relu2"], [1.0], 1.0), PyramidTerms("style", LAYERS, [1.0], 1.0)
    pyramid_features(network, torch.rand(1, 3, 16, 16), content, style)
    assert network.sizes == [(16, 16)]
    pyramid_features(network, torch.rand(1, 3, 16, 16), content, PyramidTerms("style", LAYERS, LEVELS, 1.0))
    assert sorted(network.sizes[1:]) == [(4, 4), (8, 8), (16, 16)]


def test_targets_are_computed_once(tiny_loss_network):
    network = CountingNetwork(tiny_loss_network)
    loss = PerceptualLoss(
        loss_network=network,
        style=[torch.rand(1, 3, 40, 40)],
        content_layers=[],
        style_layers=LAYERS,
        content_weight=0.0,
        style_weight=1.0,
        tv_weight=0.0,
        style_levels=LEVELS,
    )
    network.sizes.clear()
    for _ in range(2):
        loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    assert max(network.sizes) == (16, 16)


def test_a_list_of_weights_is_a_mapping_in_two_lists():
    listed = PyramidTerms("style", list(LAYERS), LEVELS, 4.0, list(LAYERS.values()))
    assert listed.weights == PyramidTerms("style", LAYERS, LEVELS, 4.0).weights


@pytest.mark.parametrize(
    ("layers", "weights", "error"),
    [
        (["relu1", "conv2"], [1.0], r"1 layer weights, \[1.0\], for 2 layers, .*: give one weight for each layer"),
        ({"relu1": 1.0}, [1.0], "have weights of their own; leave out the list"),
    ],
)
def test_weights_that_do_not_fit_the_layers_are_refused(layers, weights, error):
    with pytest.raises(ValueError, match=error):
        PyramidTerms("content", layers, [1.0], 1.0, weights)


@pytest.mark.parametrize("kind", ["content", "style"])
@pytest.mark.parametrize("levels", [[], [1.0, -0.5]])
def test_wrong_levels_are_refused(kind, levels):
    with pytest.raises(ValueError, match=rf"{kind}_levels must list the weights, at least 0, of the levels 1, 2, 4"):
        PyramidTerms(kind, LAYERS, levels, 1.0)


def test_an_image_too_small_for_the_layers_of_a_level_is_refused():
    """The loss network names the reduced image's size; the level says where that size comes from."""
    terms = PyramidTerms("style", ["relu4_1"], [1.0, 0.0, 0.1], 1.0)
    with pytest.raises(ValueError, match=r"Level 4 of the image pyramid \(loss.style_levels, .*\): .* of 8x8 pixels"):
        terms.features(builtin(), torch.rand(1, 3, 32, 32))


def test_an_image_too_small_for_a_level_is_refused():
    with pytest.raises(ValueError, match="3x9 pixels is too small for level 4 of the image pyramid"):
        reduced(torch.rand(1, 3, 9, 3), 4)
