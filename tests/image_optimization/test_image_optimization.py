"""PictureOptimization: results, iterates for callbacks, start images, refused arguments."""

import subprocess
import sys
from functools import partial
from itertools import pairwise

import pytest
import torch

import fast_style
from fast_style.image_optimization.loss import PictureLoss, Style
from fast_style.image_optimization.method import PictureOptimization

HEIGHT, WIDTH = 24, 30
SIZES = [(8, 11), (12, 15), (17, 21), (24, 30)]  # With smallest=8.
TINY_LOSS = partial(PictureLoss, content_layers=["relu2"], style_layers={"relu1": 1.0, "conv2": 0.5})
OPTIMIZERS = {
    "adam": {},
    "adam_free": {"clamp": False, "average_decay": 0.0},
    "sgd": {"optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.5)},
    "lbfgs": {"optimizer": torch.optim.LBFGS, "clamp": False, "average_decay": 0.0},
    "lbfgs_long": {
        "optimizer": partial(torch.optim.LBFGS, max_iter=10**5, max_eval=10**5, tolerance_change=0.0),
        "clamp": False,
        "average_decay": 0.0,
    },
    "lbfgs_wolfe": {
        "optimizer": partial(torch.optim.LBFGS, line_search_fn="strong_wolfe"),
        "clamp": False,
        "average_decay": 0.0,
    },
}


@pytest.fixture
def make(tiny_loss_network):
    def make_method(**changes):
        settings = {"loss": TINY_LOSS, "steps": 4, "smallest": 8, "precision": "32-true", **changes}
        return PictureOptimization(loss_network=tiny_loss_network, **settings)

    return make_method


@pytest.fixture
def photo():
    return torch.rand(1, 3, HEIGHT, WIDTH)


@pytest.fixture
def painting():
    return torch.rand(1, 3, 26, 20) ** 2


class Shown:
    """Keep all iterates, and the image of each at that time."""

    def __init__(self):
        self.iterates, self.pictures = [], []

    def __call__(self, iterate):
        self.iterates.append(iterate)
        self.pictures.append(iterate.picture())


def check_picture(picture, size):
    assert picture.shape == (1, 3, *size)
    assert picture.dtype == torch.float32
    assert picture.device.type == "cpu"
    assert not picture.requires_grad
    assert picture.isfinite().all()
    assert picture.min() >= 0
    assert picture.max() <= 1


# ---- results


@pytest.mark.parametrize("changes", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("color", ["style", "keep", "match"])
def test_a_painted_photo_has_its_size_and_range(make, photo, painting, changes, color):
    picture = make(color=color, **changes).run(photo, [Style(painting)])
    check_picture(picture, (HEIGHT, WIDTH))
    assert not torch.allclose(picture, photo, atol=0.01)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (31, 9), (5, 40)])
def test_a_texture_has_any_size(make, painting, size):
    shown = Shown()
    check_picture(make().run(None, [Style(painting)], size=size, callback=shown), size)
    assert set(shown.iterates[0].terms) == {"style/relu1", "style/conv2", "range"}
    assert shown.iterates[-1].size == size


def test_the_same_seed_paints_the_same_and_another_another(make, painting, photo):
    method = make(noise_ratio=0.5)
    for content, size in ((None, (16, 20)), (photo, None)):
        first, again, other = (method.run(content, [Style(painting)], size=size, seed=seed) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert (first - other).abs().mean() > 0.01


def test_chance_elsewhere_is_neither_used_nor_spent(make, painting):
    torch.manual_seed(5)
    first = make().run(None, [Style(painting)], size=(16, 20))
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(make().run(None, [Style(painting)], size=(16, 20)), first)


@pytest.mark.parametrize("changes", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_loss_becomes_lower(make, photo, painting, changes):
    method = make(steps=30, smallest=None, **changes)
    targets = method.targets(photo, [Style(painting)])
    loss = method.loss_at((HEIGHT, WIDTH), targets)

    def cost(picture):
        return sum(loss.weigh(loss(picture)).values()).item()

    noise = torch.rand(1, 3, HEIGHT, WIDTH)
    for start in (photo, noise):
        assert cost(method.run(photo, [Style(painting)], init_image=start)) < 0.7 * cost(start)


def test_more_strength_is_more_style_and_less_photo(make, photo, painting):
    ends = []
    for strength in (0.05, 1.0, 20.0):
        shown = Shown()
        loss = partial(TINY_LOSS, strength=strength)
        make(loss=loss, steps=40, smallest=None).run(photo, [Style(painting)], callback=shown)
        ends.append(shown.iterates[-1].terms)
    for gentler, stronger in pairwise(ends):
        assert stronger["style/relu1"] < gentler["style/relu1"]
        assert stronger["content/relu2"] > gentler["content/relu2"]


def test_of_several_styles_the_heavier_shows_more(make):
    dark, bright = (level + 0.2 * torch.rand(1, 3, 20, 20) for level in (0.0, 0.8))
    brightness = []
    for weight in (0.05, 1.0, 20.0):
        styles = [Style(dark), Style(bright, weight=weight)]
        brightness.append(make(steps=20).run(None, styles, size=(16, 20)).mean().item())
    assert brightness[0] + 0.03 < brightness[1] < brightness[2] - 0.03


def test_twice_the_same_style_is_that_style(make, photo, painting):
    once = make().run(photo, [Style(painting)])
    torch.testing.assert_close(make().run(photo, [Style(painting, 3.0), Style(painting)]), once, rtol=0, atol=1e-3)


def test_each_region_is_painted_in_its_style(make, photo):
    dark, bright = (level + 0.2 * torch.rand(1, 3, 20, 20) for level in (0.0, 0.8))
    left, right = torch.zeros(1, 1, HEIGHT, WIDTH), torch.zeros(1, 1, HEIGHT, WIDTH)
    left[..., :12], right[..., -12:] = 1, 1
    picture = make(steps=20).run(photo, [Style(dark, region=left), Style(bright, region=right)])
    assert picture[..., -12:].mean() > picture[..., :12].mean() + 0.1
    assert torch.equal(picture[..., 12:-12], photo[..., 12:-12])


# ---- iterates for callbacks


@pytest.mark.parametrize(
    ("changes", "counts"),
    [({"steps": 3}, [3, 3, 3, 3]), ({"steps": 2, "first_steps": 5}, [5, 2, 2, 2]), ({"steps": 1}, [1, 1, 1, 1])],
)
@pytest.mark.parametrize("name", ["adam", "lbfgs", "lbfgs_wolfe"])
def test_sizes_grow_and_every_evaluation_is_shown(make, photo, painting, changes, counts, name):
    shown = Shown()
    make(**changes, **OPTIMIZERS[name]).run(photo, [Style(painting)], callback=shown)
    total = sum(counts)
    assert [iterate.step for iterate in shown.iterates] == list(range(1, total + 1))
    assert {iterate.steps for iterate in shown.iterates} == {total}
    expected = [size for size, count in zip(SIZES, counts, strict=True) for _ in range(count)]
    assert [iterate.size for iterate in shown.iterates] == expected
    for picture, size in zip(shown.pictures, expected, strict=True):
        check_picture(picture, size)


@pytest.mark.parametrize("color", ["style", "keep"])
@pytest.mark.parametrize("name", ["adam", "adam_free", "lbfgs"])
def test_the_last_picture_shown_is_the_one_that_comes_out(make, photo, painting, color, name):
    shown = Shown()
    found = make(color=color, **OPTIMIZERS[name]).run(photo, [Style(painting)], callback=shown)
    assert torch.equal(shown.pictures[-1], found)


def test_an_iterates_terms_are_the_losss_and_their_weights_too(make, photo, painting):
    shown = Shown()
    loss = partial(TINY_LOSS, content_weight=2.0, style_weight=3.0, tv_weight=5.0, range_weight=7.0, strength=1.5)
    method = make(loss=loss, smallest=None)
    method.run(photo, [Style(painting)], callback=shown, init_image=photo)
    by_hand = {"content/relu2": 2.0, "style/relu1": 4.5, "style/conv2": 2.25, "tv": 5.0, "range": 7.0}
    for iterate in shown.iterates:
        assert list(iterate.terms) == list(iterate.weighted) == list(by_hand)
        for name, weight in by_hand.items():
            assert iterate.terms[name].shape == ()
            assert not iterate.terms[name].requires_grad
            assert iterate.weighted[name].item() == pytest.approx(weight * iterate.terms[name].item())
    # The first iterate is the photo.
    terms = method.loss_at((HEIGHT, WIDTH), method.targets(photo, [Style(painting)]))(photo)
    for name, term in terms.items():
        assert shown.iterates[0].terms[name].item() == pytest.approx(term.item(), rel=1e-4, abs=1e-7)
    assert torch.equal(shown.pictures[0], photo)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("amplitude", [0.0, 0.1, 0.5])
def test_the_start_is_photo_and_noise(make, photo, painting, ratio, amplitude):
    shown = Shown()
    method = make(noise_ratio=ratio, noise_amplitude=amplitude, smallest=None, steps=1)
    method.run(photo, [Style(painting)], callback=shown)
    noise = shown.pictures[0] - (1 - ratio) * photo
    assert (noise - 0.5 * ratio).abs().max() <= amplitude * ratio + 1e-6
    if amplitude:
        assert (noise - 0.5 * ratio).abs().max() >= 0.95 * amplitude * ratio


def test_the_next_size_goes_on_from_the_last_with_what_adam_has_learnt(make, photo, painting):
    shown, optimizers = Shown(), []

    def optimizer(parameters):
        optimizers.append(torch.optim.Adam(parameters, lr=0.02))
        return optimizers[-1]

    make(optimizer=optimizer, steps=5).run(photo, [Style(painting)], callback=shown)
    for former, first in zip(shown.pictures[4::5], shown.pictures[5::5], strict=False):
        again = torch.nn.functional.interpolate(former, size=first.shape[-2:], mode="bicubic", antialias=True)
        torch.testing.assert_close(first, again.clamp(0, 1), rtol=0, atol=1e-6)
    steps = [next(iter(made.state.values()))["step"].item() for made in optimizers]
    assert all(after - before in (4, 5) for before, after in pairwise(steps))  # The last step may not be taken.


# ---- start images, and stopping


def test_going_on_from_a_picture_leaves_smaller_sizes_out(make, photo, painting):
    method = make(steps=2, first_steps=3)
    for start, left in (((8, 10), SIZES), ((9, 11), SIZES[1:]), ((17, 21), SIZES[2:]), ((24, 30), SIZES[3:])):
        shown = Shown()
        picture = torch.rand(1, 3, *start)
        check_picture(method.run(photo, [Style(painting)], init_image=picture, callback=shown), (HEIGHT, WIDTH))
        assert list(dict.fromkeys(iterate.size for iterate in shown.iterates)) == left
        assert len(shown.iterates) == shown.iterates[-1].steps == 3 + 2 * (len(left) - 1)
        if start == left[0]:
            assert torch.equal(shown.pictures[0], picture)


def test_a_larger_picture_to_go_on_from_is_shrunk(make, photo, painting):
    shown = Shown()
    picture = make().run(photo, [Style(painting)], init_image=torch.rand(1, 3, 48, 60), callback=shown)
    check_picture(picture, (HEIGHT, WIDTH))
    assert {iterate.size for iterate in shown.iterates} == {(HEIGHT, WIDTH)}


@pytest.mark.parametrize("size", [(24, 24), (30, 24), (24, 33), (8, 12)])
def test_a_picture_of_another_shape_is_not_gone_on_from(make, photo, painting, size):
    with pytest.raises(ValueError, match=rf"^[^\n]* {size[1]}x{size[0]} pixels, [^\n]* 30x24, [^\n]*\.$"):
        make().run(photo, [Style(painting)], init_image=torch.rand(1, 3, *size))


ODD_STARTS = {
    "grey": (1, 1, HEIGHT, WIDTH),
    "two": (2, 3, HEIGHT, WIDTH),
    "no_batch": (3, HEIGHT, WIDTH),
    "empty": (1, 3, 0, 0),
}


@pytest.mark.parametrize("shape", ODD_STARTS.values(), ids=ODD_STARTS)
def test_what_is_not_one_picture_is_not_gone_on_from(make, photo, painting, shape):
    with pytest.raises(ValueError, match=r"^The start image \(init_image\) [^\n]*\.$"):
        make().run(photo, [Style(painting)], init_image=torch.rand(shape))


@pytest.mark.parametrize("name", ["adam", "lbfgs", "lbfgs_wolfe"])
@pytest.mark.parametrize(("last", "size"), [(1, SIZES[0]), (4, SIZES[0]), (5, SIZES[1]), (14, SIZES[3])])
def test_it_stops_with_a_picture_of_the_size_of_the_moment(make, photo, painting, name, last, size):
    shown = Shown()
    picture = make(**OPTIMIZERS[name]).run(
        photo, [Style(painting)], callback=shown, stop=lambda: shown.iterates[-1].step >= last
    )  # stop is called after the callback.
    assert len(shown.iterates) == last
    check_picture(picture, size)
    assert torch.equal(picture, shown.pictures[-1])


# ---- no side effects


def test_nothing_given_is_changed(make, photo, painting):
    mask, start = torch.rand(1, 1, HEIGHT, WIDTH), torch.rand(1, 3, HEIGHT, WIDTH)
    given = [photo, painting, mask, start]
    before = [tensor.clone() for tensor in given]
    styles = [Style(painting, region=mask)]
    for changes in ({}, OPTIMIZERS["lbfgs"], {"color": "keep"}, {"color": "match"}):
        make(**changes).run(photo, styles)
        make(**changes).run(photo, styles, init_image=start)
    assert all(torch.equal(x, y) for x, y in zip(given, before, strict=True))
    assert not any(tensor.requires_grad for tensor in given)
    assert len(styles) == 1
    assert styles[0].region is mask


def test_the_loss_network_gets_no_gradient_and_stays_what_it_is(make, photo, painting, tiny_loss_network):
    before = {name: value.clone() for name, value in tiny_loss_network.named_buffers()}
    make().run(photo, [Style(painting)])
    after = dict(tiny_loss_network.named_buffers())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(value.requires_grad or value.grad is not None for value in after.values())
    assert list(tiny_loss_network.parameters()) == []
    assert not any(module.training for module in tiny_loss_network.modules())


def test_a_method_paints_again_what_it_painted(make, photo, painting):
    method = make()
    first = method.run(photo, [Style(painting)])
    method.run(None, [Style(photo)], size=(9, 9))
    assert torch.equal(method.run(photo, [Style(painting)]), first)


def test_a_few_evaluations_can_be_had_alone(make, photo, painting, tiny_loss_network):
    seen = []
    tiny_loss_network.layers["conv1"].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    make().first_evaluations(photo, [Style(painting)], count=3)
    assert seen[-3:] == [(1, 4, HEIGHT, WIDTH)] * 3
    assert len(seen) == 3 + 2  # Content and style target are one call each.


# ---- the function optimize


def test_a_photo_is_painted_in_a_line(photo, painting, tiny_loss_network, make):
    recipe = {"loss": TINY_LOSS, "steps": 4, "smallest": 8, "precision": "32-true"}
    expected = make().run(photo, [Style(painting)], seed=3)
    for styles in (painting, [painting], (Style(painting),), [painting, Style(painting)]):
        found = fast_style.optimize(photo, styles, loss_network=tiny_loss_network, seed=3, **recipe)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * len(styles))
    texture = fast_style.optimize(None, painting, loss_network=tiny_loss_network, size=(9, 13), seed=3, **recipe)
    assert torch.equal(texture, make().run(None, [Style(painting)], size=(9, 13), seed=3))


@pytest.mark.slow
def test_painting_needs_neither_lightning_nor_hydra():
    code = """
import sys, torch, fast_style
from fast_style.networks.loss_network import LossNetwork
network = LossNetwork([("relu4_2", torch.nn.Conv2d(3, 4, 3)), ("deeper", torch.nn.ReLU())])
photo, painting = torch.rand(1, 3, 16, 20), torch.rand(1, 3, 12, 12)
picture = fast_style.optimize(photo, painting, loss_network=network, loss=PARTIAL, steps=2)
assert picture.shape == photo.shape and picture.isfinite().all()
unwanted = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "tensorboard"} & sys.modules.keys()
sys.exit(", ".join(unwanted) or None)
"""
    loss = '__import__("functools").partial(fast_style.image_optimization.loss.PictureLoss, style_layers=["deeper"])'
    code = code.replace("PARTIAL", loss)
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


# ---- refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps and first_steps must be at least 1; got 0 and None"),
        ({"first_steps": 0}, "steps and first_steps must be at least 1; got 4 and 0"),
        ({"average_decay": 1.0}, "average_decay must be at least 0 and below 1; got 1.0"),
        ({"average_decay": -0.1}, "average_decay must be at least 0 and below 1; got -0.1"),
        ({"average_decay": float("nan")}, "average_decay must be at least 0 and below 1; got nan"),
        ({"noise_ratio": 1.1}, "noise_ratio must be from 0 to 1, .*; got 1.1 and 0.5"),
        ({"noise_ratio": -1}, "noise_ratio must be from 0 to 1, .*; got -1 and 0.5"),
        ({"noise_amplitude": 0.6}, "noise_amplitude from 0 to 0.5; got 0.0 and 0.6"),
        ({"smallest": 0}, "smallest must be at least 1 .*; got 0"),
        ({"smallest": -3}, "smallest must be at least 1 .*; got -3"),
        ({"precision": "8-bit"}, "auto, 32-true, bf16-mixed, 16-mixed; got '8-bit'"),
    ],
)
def test_settings_that_do_not_do_are_refused_at_once(make, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"color": "sepia"}, "color must be one of style, keep, match; got 'sepia'"),
        ({"style_scale": 0}, "style_scale must be above 0"),
        ({"style_size": -4}, "style_size at least 1"),
        ({"loss": partial(TINY_LOSS, style_layers=["relu9"])}, "no layer relu9; its layers are conv1, "),
        ({"loss": partial(TINY_LOSS, normalization="none")}, "normalization is one of"),
        ({"loss": partial(TINY_LOSS, content_weight=0, style_weight=0)}, "All weights of content and style are 0"),
        ({"smallest": 1}, "too small for layer pool1"),
        ({"optimizer": partial(torch.optim.Adam, lr=-1.0)}, "learning rate"),
    ],
)
def test_settings_that_cannot_paint_are_refused_before_the_first_evaluation(make, photo, painting, changes, sentence):
    shown = Shown()
    with pytest.raises(ValueError, match=sentence):
        make(**changes).run(photo, [Style(painting)], callback=shown)
    assert not shown.iterates


def test_no_style_is_refused(make, photo):
    with pytest.raises(ValueError, match=r"styles with weights above 0; got weights \[\]"):
        make().run(photo, [])


def test_a_photo_that_does_not_do_is_refused(make, photo, painting):
    with pytest.raises(ValueError, match="The photo has only one colour"):
        make().run(torch.full_like(photo, 0.5), [Style(painting)])
