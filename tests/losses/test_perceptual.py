"""The perceptual loss is a sum of named terms. Each term is a formula of the paper, or its relative form."""

import pytest
import torch
import torch.nn.functional as F

from fast_style.losses.perceptual import PerceptualLoss

CONTENT, STYLE = {"relu2": 2.0}, {"relu1": 1.0, "conv2": 0.5}
WEIGHTS = {"content_weight": 3.0, "style_weight": 5.0, "tv_weight": 7.0, "checkerboard_weight": 9.0}


@pytest.fixture
def make(tiny_loss_network):
    def make_loss(style, **changes):
        layers = {"content_layers": CONTENT, "style_layers": STYLE}
        return PerceptualLoss(loss_network=tiny_loss_network, style=style, **{**layers, **WEIGHTS, **changes})

    return make_loss


def features(network, pictures):
    """The tiny network's features, written out in float64."""
    c1, c2 = network.layers["conv1"], network.layers["conv2"]
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.25]).view(3, 1, 1)
    conv1 = F.conv2d((pictures.double() - mean) / std, c1.weight.double(), c1.bias.double(), padding=1)
    conv2 = F.conv2d(F.max_pool2d(conv1.relu(), 2), c2.weight.double(), c2.bias.double(), padding=1)
    return {"conv1": conv1, "relu1": conv1.relu(), "conv2": conv2, "relu2": conv2.relu()}


def gram(f):
    return torch.einsum("cyx,dyx->cd", f, f) / f.numel()


def expected_terms(network, painted, photos, style, normalization):
    found, wanted = features(network, painted), features(network, photos)
    targets = [features(network, picture) for picture in style]
    terms = {}
    for name in CONTENT:
        squares = [((x - y) ** 2).sum() for x, y in zip(found[name], wanted[name], strict=True)]
        sizes = [(y**2).sum() if normalization == "relative" else y.numel() for y in wanted[name]]
        terms[f"content/{name}"] = sum(a / b for a, b in zip(squares, sizes, strict=True)) / len(squares)
    for name in STYLE:
        target = sum(gram(t[name][0]) for t in targets) / len(targets)
        errors = [((gram(x) - target) ** 2).sum() for x in found[name]]
        size = (target**2).sum() if normalization == "relative" else 1
        terms[f"style/{name}"] = sum(errors) / len(errors) / size
    p = painted.double()
    down, across = (p[:, :, 1:] - p[:, :, :-1]) ** 2, (p[..., 1:] - p[..., :-1]) ** 2
    if normalization == "relative":
        terms["tv"] = down.mean() + across.mean()
    else:
        terms["tv"] = (down.sum() + across.sum()) * 255**2 / len(p)
    phases = torch.stack([p[..., :8][..., i:12:4, j::4].mean((2, 3)) for i in range(4) for j in range(4)])
    terms["checkerboard"] = (phases - phases.mean(0)).square().mean()
    return terms


PAPERS_TV = pytest.param(
    "johnson2016",
    "tv",
)


@pytest.mark.parametrize(
    ("normalization", "kind"),
    [
        *[("relative", kind) for kind in ("content/relu2", "style/relu1", "style/conv2", "tv", "checkerboard")],
        *[("johnson2016", kind) for kind in ("content/relu2", "style/relu1", "style/conv2")],
        PAPERS_TV,
    ],
)
@pytest.mark.parametrize("styles", [1, 3])
def test_a_term_is_its_formula(make, tiny_loss_network, normalization, kind, styles):
    painted, photos = torch.rand(2, 3, 12, 10), torch.rand(2, 3, 12, 10)
    # Sizes differ: Gram matrices are averaged, not features.
    style = [torch.rand(1, 3, 8 + 2 * i, 9) for i in range(styles)]
    term = make(style, normalization=normalization)(painted, photos)[kind]
    expected = expected_terms(tiny_loss_network, painted, photos, style, normalization)[kind]
    assert term.shape == ()
    assert term.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("normalization", ["relative", "johnson2016"])
def test_the_weighted_terms_add_up_to_the_loss(make, normalization):
    loss = make([torch.rand(1, 3, 8, 8)], normalization=normalization)
    terms = loss(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8))
    by_hand = {"content/relu2": 3.0 * 2.0, "style/relu1": 5.0 * 1.0, "style/conv2": 5.0 * 0.5}
    by_hand |= {"tv": 7.0, "checkerboard": 9.0}
    assert loss.weights == by_hand
    assert list(terms) == list(loss.weights)
    total = sum(loss.weigh(terms).values())
    assert total.item() == pytest.approx(sum(by_hand[name] * terms[name].item() for name in terms))


def test_style_over_batch_uses_the_mean_gram_matrix(make, tiny_loss_network):
    style, painted, photos = torch.rand(1, 3, 14, 18), torch.rand(3, 3, 16, 12), torch.rand(3, 3, 16, 12)
    terms = make([style], style_over="batch")(painted, photos)
    found, wanted = features(tiny_loss_network, painted), features(tiny_loss_network, style)
    for name in STYLE:
        mean, target = torch.stack([gram(f) for f in found[name]]).mean(0), gram(wanted[name][0])
        expected = (mean - target).square().sum() / target.square().sum()
        torch.testing.assert_close(terms[f"style/{name}"].double(), expected, rtol=1e-4, atol=0)
    alone = make([style])(painted, photos)
    assert all(terms[f"style/{name}"] < alone[f"style/{name}"] for name in STYLE)  # The norm is convex.


def test_a_list_of_layers_gives_equal_weights(make):
    loss = make([torch.rand(1, 3, 8, 8)], content_layers=["relu2", "relu1"], style_layers=("conv2",))
    layers = {"content/relu2": 3.0, "content/relu1": 3.0, "style/conv2": 5.0}
    assert loss.weights == layers | {"tv": 7.0, "checkerboard": 9.0}


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"tv_weight": 0}, {"content/relu2", "style/relu1", "style/conv2", "checkerboard"}),
        ({"checkerboard_weight": 0}, {"content/relu2", "style/relu1", "style/conv2", "tv"}),
        ({"content_weight": 0}, {"style/relu1", "style/conv2", "tv", "checkerboard"}),
        ({"style_weight": 0}, {"content/relu2", "tv", "checkerboard"}),
        ({"style_layers": {"relu1": 0, "conv2": 1}}, {"content/relu2", "style/conv2", "tv", "checkerboard"}),
    ],
    ids=["tv", "checkerboard", "content", "style", "layer"],
)
def test_a_weight_of_zero_removes_the_term(make, changes, left):
    loss = make([torch.rand(1, 3, 8, 8)], **changes)
    assert set(loss.weights) == left
    assert set(loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))) == left


def test_a_removed_layer_is_not_computed(make, tiny_loss_network):
    loss = make([torch.rand(1, 3, 8, 8)], content_weight=0, style_layers=["relu1"])
    tiny_loss_network.layers["conv2"].register_forward_hook(lambda *_: pytest.fail("conv2 ran"))
    loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"content_layers": ["relu9"]}, "no layer relu9; its layers are conv1, relu1, pool1, conv2, relu2"),
        ({"style_layers": {"relu8": 1.0}}, "no layer relu8"),
        ({"normalization": "gatys"}, "relative, gatys2016, johnson2016.*'gatys'"),
        ({"style": []}, "at least one style image; got none"),
        ({"style_over": "epoch"}, "style_over must be one of photo, batch; got 'epoch'"),
    ],
)
def test_bad_arguments_are_refused(make, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**{"style": [torch.rand(1, 3, 8, 8)], **changes})


@pytest.mark.parametrize("normalization", ["relative", "johnson2016"])
def test_the_photo_has_no_content_error_and_the_style_image_no_style_error(make, normalization):
    painting, photo = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    loss = make([painting], normalization=normalization)
    of_photo, of_painting = loss(photo, photo), loss(painting, photo)
    assert of_photo["content/relu2"] == 0
    assert of_photo["style/relu1"] > 0
    assert of_painting["style/relu1"] == of_painting["style/conv2"] == 0
    assert of_painting["content/relu2"] > 0


def test_nothing_of_the_loss_is_saved_or_trained(make):
    loss = make([torch.rand(1, 3, 8, 8)])
    assert loss.state_dict() == {}
    assert list(loss.parameters()) == []


def test_the_targets_follow_the_module(make):
    loss = make([torch.rand(1, 3, 8, 8)]).to("meta")
    assert all(buffer.is_meta for buffer in loss.buffers())
    assert {"target_relu1", "target_conv2"} <= dict(loss.named_buffers()).keys()


def test_only_the_stylized_image_gets_a_gradient_and_no_argument_changes(make):
    style = torch.rand(1, 3, 8, 8, requires_grad=True)
    painted, photos = torch.rand(1, 3, 8, 8, requires_grad=True), torch.rand(1, 3, 8, 8, requires_grad=True)
    before = [x.detach().clone() for x in (style, painted, photos)]
    loss = make([style])
    terms = loss(painted, photos)
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, painted, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 0, name
    sum(terms.values()).backward()
    assert photos.grad is None
    assert style.grad is None
    assert all(torch.equal(x, y) for x, y in zip((style, painted, photos), before, strict=True))


@pytest.mark.slow
def test_it_can_be_compiled_under_autocast(make):
    painting, photo = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    results = []
    for compiled in (False, True):
        loss = make([painting])
        if compiled:
            loss.compile(backend="aot_eager", fullgraph=True)
        painted = (photo * 0.5).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            terms = loss(painted, photo)
        sum(loss.weigh(terms).values()).backward()
        results.append((torch.stack([term.detach() for term in terms.values()]), painted.grad))
    (terms, gradient), (same_terms, same_gradient) = results
    torch.testing.assert_close(same_terms, terms, rtol=1e-2, atol=0)
    assert (same_gradient - gradient).norm() < 0.02 * gradient.norm()
