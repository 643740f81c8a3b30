"""PictureLoss: every term equals the formula of its source, with and without regions."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.vgg import cfgs

from fast_style.image_optimization.loss import PictureLoss, Style
from fast_style.losses.normalizations import NORMALIZATIONS
from fast_style.losses.presets import STRENGTHS
from fast_style.networks.pretrained import vgg

CONTENT, STYLE = {"relu2": 2.0, "conv1": 0.5}, {"relu1": 1.0, "conv2": 0.5}
WEIGHTS = {"content_weight": 3.0, "style_weight": 5.0, "tv_weight": 7.0, "range_weight": 11.0}
BY_HAND = {
    "content/relu2": 3.0 * 2.0,
    "content/conv1": 3.0 * 0.5,
    "style/relu1": 5.0 * 1.0,
    "style/conv2": 5.0 * 0.5,
    "tv": 7.0,
    "range": 11.0,
}
HEIGHT, WIDTH = 12, 15  # Pooling drops the last column.


@pytest.fixture
def make(tiny_loss_network):
    def make_loss(content="photo", styles=None, **changes):
        content = torch.rand(1, 3, HEIGHT, WIDTH) if isinstance(content, str) else content
        styles = [Style(torch.rand(1, 3, 9, 8))] if styles is None else styles
        settings = {"content_layers": CONTENT, "style_layers": STYLE, **WEIGHTS, **changes}
        return PictureLoss(loss_network=tiny_loss_network, content=content, styles=styles, **settings)

    return make_loss


# ---- reference formulas in float64


def features(network, picture):
    """Return the features of the tiny network."""
    c1, c2 = network.layers["conv1"], network.layers["conv2"]
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.25]).view(3, 1, 1)
    conv1 = F.conv2d((picture.double() - mean) / std, c1.weight.double(), c1.bias.double(), padding=1)
    conv2 = F.conv2d(F.max_pool2d(conv1.relu(), 2), c2.weight.double(), c2.bias.double(), padding=1)
    return {"conv1": conv1, "relu1": conv1.relu(), "conv2": conv2, "relu2": conv2.relu()}


def shrunk(region, height, width):
    """Return the mean of the region over the pixels of each feature."""
    full_height, full_width = region.shape[-2:]
    result = torch.zeros(height, width, dtype=torch.float64)
    for y in range(height):
        rows = slice(y * full_height // height, -(-(y + 1) * full_height // height))
        for x in range(width):
            columns = slice(x * full_width // width, -(-(x + 1) * full_width // width))
            result[y, x] = region[0, 0, rows, columns].double().mean()
    return result


def gram(f, region=None):
    """Johnson et al., eq. 3; with a region: Gatys et al. (2017), section 4, where sum T^2 = 1."""
    guide = torch.ones(f.shape[-2:]).double() if region is None else shrunk(region, *f.shape[-2:])
    guided = f[0] * guide / (guide**2).sum().sqrt()
    return torch.einsum("cyx,dyx->cd", guided, guided) / f.shape[1]


def squares(x, y):
    return ((x - y) ** 2).sum()


FORMULAS = {
    "relative": (
        lambda f, p: squares(f, p) / (p**2).sum(),
        lambda g, a: squares(g, a) / (a**2).sum(),
    ),
    # 1 / (4 N^2 M^2) of F F^T, which is C H W = N M times G.
    "gatys2016": (lambda f, p: squares(f, p) / 2, lambda g, a: squares(g, a) / 4),
    "johnson2016": (lambda f, p: squares(f, p) / p.numel(), squares),
    "pytorch_tutorial": (F.mse_loss, F.mse_loss),
}


def expected_terms(network, picture, content, styles, normalization):
    of_content, of_style = FORMULAS[normalization]
    found, wanted = features(network, picture), features(network, content)
    terms = {f"content/{name}": of_content(found[name], wanted[name]) for name in CONTENT}
    whole = sum(style.weight for style in styles)
    everywhere = [style for style in styles if style.region is None]
    for name in STYLE:
        targets = {id(style): gram(features(network, style.picture)[name]) for style in styles}
        term = torch.zeros(()).double()
        for style in styles:
            if style.region is not None:
                term += style.weight / whole * of_style(gram(found[name], style.region), targets[id(style)])
        if everywhere:
            weight = sum(style.weight for style in everywhere)
            mixed = sum(style.weight * targets[id(style)] for style in everywhere) / weight
            term += weight / whole * of_style(gram(found[name]), mixed)
        terms[f"style/{name}"] = term
    p = picture.double()
    down, across = (p[:, :, 1:] - p[:, :, :-1]) ** 2, (p[..., 1:] - p[..., :-1]) ** 2
    # The published weights of Johnson et al. assume sums, and pixels in 0..255.
    is_sum = normalization == "johnson2016"
    terms["tv"] = (down.sum() + across.sum()) * 255**2 if is_sum else down.mean() + across.mean()
    terms["range"] = ((-p).relu() ** 2 + (p - 1).relu() ** 2).mean()
    return terms


# ---- the terms


def half(left):
    """A mask that is white on one side."""
    region = torch.zeros(1, 1, HEIGHT, WIDTH)
    region[..., :6] = 1
    return region if left else 1 - region


SITUATIONS = {
    "one style": lambda: [Style(torch.rand(1, 3, 9, 8))],
    # The sizes differ, so only Gram matrices can be averaged, not features.
    "three styles": lambda: [Style(torch.rand(1, 3, 8 + 2 * i, 9) ** (1 + i), 0.5 + i) for i in range(3)],
    "a region": lambda: [Style(torch.rand(1, 3, 9, 8), 3.0, half(left=True))],
    "a soft region": lambda: [Style(torch.rand(1, 3, 9, 8), region=torch.rand(1, 1, HEIGHT, WIDTH))],
    "two regions": lambda: [
        Style(torch.rand(1, 3, 9, 8), 1.0, half(left=True)),
        Style(torch.rand(1, 3, 8, 11) ** 3, 4.0, half(left=False)),
    ],
    "overlapping soft regions": lambda: [
        Style(torch.rand(1, 3, 9, 8) ** (1 + i), 1.0 + i, torch.rand(1, 1, HEIGHT, WIDTH)) for i in range(3)
    ],
    "everywhere and a region": lambda: [
        Style(torch.rand(1, 3, 9, 8), 2.0),
        Style(torch.rand(1, 3, 8, 11) ** 3, 0.5, half(left=False)),
    ],
    "two everywhere about a region": lambda: [
        Style(torch.rand(1, 3, 9, 8), 2.0),
        Style(torch.rand(1, 3, 8, 11) ** 3, 0.5, half(left=False)),
        Style(torch.rand(1, 3, 10, 10) ** 2, 3.0),
    ],
}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("normalization", FORMULAS)
def test_every_term_is_its_formula(make, tiny_loss_network, normalization, situation):
    styles, content = SITUATIONS[situation](), torch.rand(1, 3, HEIGHT, WIDTH)
    picture = torch.rand(1, 3, HEIGHT, WIDTH) * 1.6 - 0.3  # Values below 0 and above 1.
    terms = make(content, styles, normalization=normalization)(picture)
    expected = expected_terms(tiny_loss_network, picture, content, styles, normalization)
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert term.shape == ()
        assert term.item() == pytest.approx(expected[name].item(), rel=1e-4), name


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_weighted_terms_add_up_to_the_loss(make, normalization):
    loss = make(normalization=normalization)
    terms = loss(torch.rand(1, 3, HEIGHT, WIDTH) * 2)
    weighted = loss.weigh(terms)
    assert loss.weights == BY_HAND
    assert list(terms) == list(loss.weights) == list(weighted)
    assert all(weighted[name].item() == pytest.approx(BY_HAND[name] * terms[name].item()) for name in terms)
    assert sum(weighted.values()).item() == pytest.approx(sum(BY_HAND[n] * terms[n].item() for n in terms))


def test_only_the_proportions_of_the_styles_weights_matter(make):
    pictures, picture = [torch.rand(1, 3, 9, 8), torch.rand(1, 3, 8, 9) ** 3], torch.rand(1, 3, HEIGHT, WIDTH)

    def terms_by(*weights):
        return make(pictures[0], [Style(p, w) for p, w in zip(pictures, weights, strict=True)], content_weight=0)(
            picture
        )

    small, large, turned = terms_by(1.0, 3.0), terms_by(20.0, 60.0), terms_by(3.0, 1.0)
    for name in ("style/relu1", "style/conv2"):
        assert small[name].item() == pytest.approx(large[name].item(), rel=1e-5)
        assert small[name].item() != pytest.approx(turned[name].item(), rel=1e-2)


@pytest.mark.parametrize("grey", [1.0, 0.25])
def test_a_region_that_is_everywhere_alike_is_no_region(make, grey):
    content, painting = torch.rand(1, 3, HEIGHT, WIDTH), torch.rand(1, 3, 9, 8)
    picture, region = torch.rand(1, 3, HEIGHT, WIDTH), torch.full((1, 1, HEIGHT, WIDTH), grey)
    within, everywhere = make(content, [Style(painting, region=region)]), make(content, [Style(painting)])
    torch.testing.assert_close(within(picture), everywhere(picture), rtol=1e-5, atol=0)


def test_a_style_pulls_at_its_region_only(make):
    loss = make(None, [Style(torch.rand(1, 3, 9, 8), region=half(left=True))], style_layers=["relu1"], tv_weight=0)
    picture = torch.rand(1, 3, HEIGHT, WIDTH, requires_grad=True)
    loss(picture)["style/relu1"].backward()
    assert picture.grad[..., :7].abs().amax((0, 1, 2)).min() > 0
    assert picture.grad[..., 7:].abs().max() == 0  # A 3x3 convolution reaches one pixel beyond the region.


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_photo_has_no_content_error_and_the_painting_no_style_error(make, normalization):
    photo, painting = torch.rand(1, 3, HEIGHT, WIDTH), torch.rand(1, 3, HEIGHT, WIDTH)
    loss = make(photo, [Style(painting)], normalization=normalization)
    of_photo, of_painting = loss(photo), loss(painting)
    assert of_photo["content/relu2"] == of_photo["content/conv1"] == 0
    assert of_painting["style/relu1"] == of_painting["style/conv2"] == 0
    assert of_photo["style/relu1"] > 0
    assert of_painting["content/relu2"] > 0
    assert of_photo["range"] == 0


# ---- terms that are not computed


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("strength", [0.3, 3.0, "low", "high"])
def test_strength_multiplies_the_styles_weight_only(make, normalization, strength):
    content, picture = torch.rand(1, 3, HEIGHT, WIDTH), torch.rand(1, 3, HEIGHT, WIDTH)
    styles = [Style(torch.rand(1, 3, 9, 8))]
    plain = make(content, styles, normalization=normalization)
    strong = make(content, styles, normalization=normalization, strength=strength)
    for name, weight in plain.weights.items():
        factor = STRENGTHS.get(strength, strength) if name.startswith("style/") else 1
        assert strong.weights[name] == pytest.approx(weight * factor), name
    assert strong(picture) == plain(picture)


def test_a_texture_has_no_content_term(make):
    loss, picture = make(content=None), torch.rand(1, 3, HEIGHT, WIDTH)
    assert set(loss.weights) == set(loss(picture)) == {"style/relu1", "style/conv2", "tv", "range"}
    assert not [name for name, _ in loss.named_buffers() if name.startswith("content")]
    assert loss(torch.rand(1, 3, 9, 20)).keys() == loss.weights.keys()  # A texture loss accepts any size.


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"tv_weight": 0}, BY_HAND.keys() - {"tv"}),
        ({"range_weight": 0}, BY_HAND.keys() - {"range"}),
        ({"content_weight": 0}, {"style/relu1", "style/conv2", "tv", "range"}),
        ({"style_weight": 0}, {"content/relu2", "content/conv1", "tv", "range"}),
        ({"strength": 0}, {"content/relu2", "content/conv1", "tv", "range"}),
        ({"style_layers": {"relu1": 0, "conv2": 1}}, BY_HAND.keys() - {"style/relu1"}),
        ({"content_layers": {"relu2": 0, "conv1": 1}}, BY_HAND.keys() - {"content/relu2"}),
    ],
    ids=["tv", "range", "content", "style", "strength", "style-layer", "content-layer"],
)
def test_a_zero_weight_drops_the_term(make, changes, left):
    loss = make(**changes)
    assert set(loss.weights) == set(loss(torch.rand(1, 3, HEIGHT, WIDTH))) == left


def test_a_dropped_layer_is_not_computed(make, tiny_loss_network):
    tiny_loss_network.layers["conv2"].register_forward_hook(lambda *_: pytest.fail("conv2 ran"))
    loss = make(content_weight=0, style_layers=["relu1"])
    loss(torch.rand(1, 3, HEIGHT, WIDTH))


def test_layers_by_name_alone_weigh_the_same(make):
    loss = make(content_layers=["relu2", "relu1"], style_layers=("conv2",), tv_weight=0, range_weight=0)
    assert loss.weights == {"content/relu2": 3.0, "content/relu1": 3.0, "style/conv2": 5.0}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"styles": []}, r"needs styles with weights above 0; got weights \[\]"),
        ({"styles": [Style(torch.ones(1, 3, 8, 8)), Style(torch.ones(1, 3, 8, 8), 0.0)]}, r"got weights \[1.0, 0.0\]"),
        ({"styles": [Style(torch.ones(1, 3, 8, 8), -1.0)]}, r"got weights \[-1.0\]"),
        ({"styles": [Style(torch.ones(1, 3, 8, 8), float("nan"))]}, r"got weights \[nan\]"),
        ({"content_weight": 0, "style_weight": 0}, "All weights of content and style are 0: set loss.content_weight"),
        ({"content_weight": 0, "style_layers": []}, "All weights of content and style are 0"),
        ({"content": None, "strength": 0}, "All weights of content and style are 0"),
        (dict.fromkeys(WEIGHTS, 0), "All weights of content and style are 0"),
        ({"content_layers": ["relu9"]}, "no layer relu9; its layers are conv1, relu1, pool1, conv2, relu2"),
        ({"style_layers": {"relu8": 1.0}}, "no layer relu8; its layers are conv1, relu1, pool1, conv2, relu2"),
        ({"normalization": "gatys"}, f"one of {', '.join(NORMALIZATIONS)}; got 'gatys'"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(make, changes, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


# ---- state and gradients


def test_nothing_of_the_loss_is_saved_or_trained_and_the_targets_follow_the_module(make):
    loss = make(styles=[Style(torch.rand(1, 3, 9, 8)), Style(torch.rand(1, 3, 9, 8), region=half(left=True))])
    assert loss.state_dict() == {}
    assert list(loss.parameters()) == []
    styles = {f"style{index}_{name}" for index in (0, 1) for name in STYLE}
    assert {"content_relu2", "content_conv1", "region0"} | styles <= dict(loss.named_buffers()).keys()
    assert all(buffer.is_meta for buffer in loss.to("meta").buffers())


@pytest.mark.parametrize("recompute", [False, True])
def test_the_gradient_reaches_the_picture_only_and_nothing_is_changed(make, recompute):
    content, first, second = (torch.rand(1, 3, HEIGHT, WIDTH, requires_grad=True) for _ in range(3))
    picture = (torch.rand(1, 3, HEIGHT, WIDTH) * 2 - 0.5).requires_grad_()
    region = half(left=True)
    given = [content, first, second, region, picture]
    before = [tensor.detach().clone() for tensor in given]
    styles, layers = [Style(first), Style(second, 2.0, region)], dict(STYLE)
    loss = make(content, styles, style_layers=layers, recompute=recompute)
    terms = loss(picture)
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, picture, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 0, name
    sum(terms.values()).backward()
    assert picture.grad is not None
    assert [tensor.grad for tensor in given[:-1]] == [None] * 4
    assert all(torch.equal(x, y) for x, y in zip(given, before, strict=True))
    assert styles == [Style(first), Style(second, 2.0, region)]
    assert layers == STYLE


def test_the_gradient_does_not_reach_a_region(make):
    region = half(left=True).requires_grad_()
    loss = make(styles=[Style(torch.rand(1, 3, 9, 8), region=region)])
    sum(loss(torch.rand(1, 3, HEIGHT, WIDTH, requires_grad=True)).values()).backward()
    assert region.grad is None


def test_the_range_term_pulls_stray_pixels_back_and_leaves_the_others_alone(make):
    picture = torch.tensor([-0.5, 0.0, 0.5, 1.0, 2.0]).expand(1, 3, 8, 5).clone().requires_grad_()
    term = make(content=None)(picture)["range"]
    term.backward()
    assert term.item() == pytest.approx((0.25 + 1.0) / 5)
    assert (picture.grad.sign()[0, 0, 0] == torch.tensor([-1.0, 0, 0, 0, 1])).all()


# ---- less memory


@pytest.fixture
def narrow_vgg(monkeypatch):
    """VGG-19 with random weights, at a sixteenth of the channels."""
    monkeypatch.setitem(cfgs, "E", [v if v == "M" else v // 16 for v in cfgs["E"]])
    return vgg("vgg19", weights="random")


def kept_bytes(loss, picture):
    """Return the terms, and the bytes autograd keeps: each storage counted once, without constants."""
    constants = {buffer.untyped_storage().data_ptr() for buffer in loss.buffers()}
    kept = {}

    def remember(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in constants:
            kept[storage.data_ptr()] = storage  # A reference keeps the address from being reused.
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        terms = loss(picture)
    return terms, sum(storage.nbytes() for storage in kept.values())


# With a region, autograd would also keep the weighted features in float32.
@pytest.mark.parametrize(("dtype", "left"), [(None, 0.55), (torch.bfloat16, 0.45)])
def test_recomputing_gives_the_same_in_less_memory(narrow_vgg, dtype, left):
    content, painting = torch.rand(1, 3, 64, 48), torch.rand(1, 3, 50, 60) ** 2
    region = torch.rand(1, 1, 64, 48)
    found = {}
    for recompute in (False, True):
        styles = [Style(painting), Style(painting.flip(1), 2.0, region)]
        loss = PictureLoss(loss_network=narrow_vgg, content=content, styles=styles, recompute=recompute)
        picture = content.lerp(painting.mean((2, 3), keepdim=True), 0.3).requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            terms, size = kept_bytes(loss, picture)
        sum(loss.weigh(terms).values()).backward()
        found[recompute] = (terms, picture.grad, size)
    (terms, gradient, size), (same_terms, same_gradient, smaller) = found[False], found[True]
    torch.testing.assert_close(same_terms, terms, rtol=1e-6, atol=0)
    assert (same_gradient - gradient).abs().max() <= 1e-6 * gradient.abs().max()
    assert gradient.abs().max() > 0
    assert smaller < left * size
