"""Gram matrices, errors and total variation are what the formulas say, in float32."""

import pytest
import torch

from fast_style.losses.functional import checkerboard, gram, relative_error, squared_error, total_variation


def gram_by_loops(features):
    n, c, h, w = features.shape
    result = torch.zeros(n, c, c, dtype=torch.float64)
    for item in range(n):
        for a in range(c):
            for b in range(c):
                result[item, a, b] = sum(
                    features[item, a, y, x].double() * features[item, b, y, x].double()
                    for y in range(h)
                    for x in range(w)
                ) / (c * h * w)
    return result


def guided_gram_by_loops(features, guide):
    """Gatys et al. (2017), section 4: F_r = T F with a T whose squares sum up to 1; divided by C, as eq. 3 is."""
    n, c, h, w = features.shape
    result = torch.zeros(n, c, c, dtype=torch.float64)
    for item in range(n):
        where = guide[item % len(guide), 0].double()
        energy = sum(where[y, x] ** 2 for y in range(h) for x in range(w))
        guided = features[item].double() * where / energy**0.5
        for a in range(c):
            for b in range(c):
                result[item, a, b] = sum(guided[a, y, x] * guided[b, y, x] for y in range(h) for x in range(w)) / c
    return result


def variation_by_loops(picture):
    _, height, width = picture.shape
    down = [(picture[:, y + 1, x] - picture[:, y, x]) ** 2 for y in range(height - 1) for x in range(width)]
    across = [(picture[:, y, x + 1] - picture[:, y, x]) ** 2 for y in range(height) for x in range(width - 1)]
    return torch.stack(down).mean() + torch.stack(across).mean()


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 2, 2), (1, 4, 1, 3)])
def test_the_gram_matrix_is_equation_3(shape):
    features = torch.randn(shape)
    torch.testing.assert_close(gram(features).double(), gram_by_loops(features), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_the_gram_matrix_is_float32_for_every_dtype(dtype):
    features = torch.randn(1, 3, 6, 6).to(dtype)
    assert gram(features).dtype == torch.float32
    torch.testing.assert_close(gram(features), gram(features.float()))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("side", "band"), [(256, 6e-4), (64, 6e-4), (63, 3e-3)])  # 63 rows make no strips of one size.
def test_bfloat16_features_are_summed_in_float32(side, band, layout):
    features = torch.randn(2, 8, side, side).relu().bfloat16().to(memory_format=layout).requires_grad_()
    exact = features.detach().float().requires_grad_()
    found, wanted = gram(features), gram(exact)
    assert found.dtype == torch.float32
    assert (found - wanted).norm() < band * wanted.norm()
    slope = torch.randn(2, 8, 8)
    (found * slope).sum().backward()
    (wanted * slope).sum().backward()
    assert features.grad.dtype == torch.bfloat16
    assert features.grad.is_contiguous(memory_format=layout)
    assert (features.grad - exact.grad).norm() < 5e-3 * exact.grad.norm()


def test_autocast_does_not_change_the_gram_matrix():
    features = torch.randn(1, 3, 32, 32) + 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # A plain product is bfloat16 under autocast.
        assert (features.flatten(2) @ features.flatten(2).mT).dtype == torch.bfloat16
        found = gram(features)
    assert found.dtype == torch.float32
    assert torch.equal(found, gram(features))


@pytest.mark.parametrize("guides", [1, 2])
@pytest.mark.parametrize("soft", [False, True])
def test_the_guided_gram_matrix_is_its_formula(guides, soft):
    features, guide = torch.randn(2, 3, 4, 5), torch.rand(guides, 1, 4, 5)
    guide = guide if soft else guide.round()
    before = [features.clone(), guide.clone()]
    found = gram(features, guide)
    assert (found.shape, found.dtype) == ((2, 3, 3), torch.float32)
    torch.testing.assert_close(found.double(), guided_gram_by_loops(features, guide), rtol=1e-5, atol=1e-6)
    assert torch.equal(features, before[0])
    assert torch.equal(guide, before[1])


def test_a_binary_guide_selects_features():
    features, guide = torch.randn(1, 3, 6, 7), torch.zeros(1, 1, 6, 7)
    guide[..., 1:4, 2:6] = 1
    torch.testing.assert_close(gram(features, guide), gram(features[..., 1:4, 2:6]))


@pytest.mark.parametrize("grey", [1.0, 0.3])
def test_a_constant_guide_changes_nothing(grey):
    features = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(gram(features, torch.full((1, 1, 4, 5), grey)), gram(features))


def test_an_empty_guide_gives_a_zero_matrix_and_a_zero_gradient():
    features = torch.randn(1, 3, 4, 5, requires_grad=True)
    found = gram(features, torch.zeros(1, 1, 4, 5))
    found.sum().backward()
    assert not found.any()
    assert not features.grad.any()


def test_only_guided_features_get_a_gradient():
    features, guide = torch.randn(1, 3, 4, 5, requires_grad=True), torch.zeros(1, 1, 4, 5)
    guide[..., :2] = 0.5
    gram(features, guide).square().sum().backward()
    assert features.grad[..., :2].abs().min() > 0
    assert not features.grad[..., 2:].any()


FORMATS = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "part of a larger one": lambda x: torch.nn.functional.pad(x, (1, 2))[..., 1:-2],
}


@pytest.mark.parametrize("place", FORMATS)
@pytest.mark.parametrize("guided", [False, True])
def test_the_gradient_is_its_formula_in_every_memory_format(guided, place):
    features, slopes = FORMATS[place](torch.randn(2, 3, 4, 5)).requires_grad_(), torch.randn(2, 3, 3)
    guide = torch.rand(2, 1, 4, 5) if guided else None
    (found,) = torch.autograd.grad((gram(features, guide) * slopes).sum(), features)
    double = features.detach().double().requires_grad_()
    by_loops = guided_gram_by_loops(double, torch.ones(1, 1, 4, 5) if guide is None else guide)
    (expected,) = torch.autograd.grad((by_loops * slopes).sum(), double)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    if place == "channels last":
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("guided", "dtype"),
    [(True, torch.bfloat16), *((g, d) for g in (False, True) for d in (torch.float16, torch.float64))],
)
def test_the_gradient_has_the_features_dtype_and_is_computed_in_float32(guided, dtype):
    features, guide = (torch.randn(1, 3, 6, 6) + 2).to(dtype).requires_grad_(), torch.rand(1, 1, 6, 6)
    exact = features.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gram(features, guide if guided else None).square().sum().backward()
    gram(exact, guide if guided else None).square().sum().backward()
    assert features.grad.dtype == dtype
    assert torch.equal(features.grad, exact.grad.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_only_the_features_are_saved_for_the_gradient(dtype):
    features, kept = torch.randn(1, 3, 6, 6).to(dtype).requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: None):
        gram(features)
    assert {tensor.data_ptr() for tensor in kept} == {features.data_ptr()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_guided_gram_matrix_is_float32_for_every_dtype(dtype):
    features, guide = torch.randn(1, 3, 16, 16).to(dtype), torch.rand(1, 1, 16, 16).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gram(features, guide)
    assert found.dtype == torch.float32
    assert torch.equal(found, gram(features.float(), guide.float()))


@pytest.mark.parametrize("items", [1, 3])
def test_errors_are_computed_per_item(items):
    found, wanted = torch.randn(3, 2, 4, 5), torch.randn(items, 2, 4, 5)
    for i in range(3):
        x, y = found[i].double(), wanted[i % items].double()
        squares = sum(((x - y) ** 2).flatten().tolist())
        energy = sum((y**2).flatten().tolist())
        assert squared_error(found, wanted)[i].item() == pytest.approx(squares, rel=1e-5)
        assert relative_error(found, wanted)[i].item() == pytest.approx(squares / energy, rel=1e-5)


def test_half_precision_errors_are_computed_in_float32():
    found, wanted = torch.full((1, 1, 300, 300), 2.0).half(), torch.zeros(1, 1, 300, 300).half()
    assert squared_error(found, wanted).tolist() == [360_000.0]  # Beyond float16.
    assert relative_error(wanted, found).tolist() == [1.0]


def test_the_relative_error_to_zero_is_finite():
    nothing = torch.zeros(1, 2, 3, 3)
    assert relative_error(nothing, nothing).tolist() == [0.0]
    assert relative_error(nothing + 1, nothing).isfinite().all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 3, 1, 4), (1, 1, 4, 1), (1, 3, 2, 2)])
def test_total_variation_has_the_gradient_of_its_formula(shape, reduction):
    pictures = torch.rand(shape, requires_grad=True)
    weights = torch.rand(shape[0])
    (total_variation(pictures, reduction=reduction) * weights).sum().backward()
    copy = pictures.detach().clone().requires_grad_()
    total = 0
    for pairs in (copy.diff(dim=-2), copy.diff(dim=-1)):
        squares = pairs.square().sum((1, 2, 3)) / (max(pairs[0].numel(), 1) if reduction == "mean" else 1)
        total = total + (squares * weights).sum()
    total.backward()
    torch.testing.assert_close(pictures.grad, copy.grad)


def test_total_variation_is_the_mean_squared_step_down_plus_across():
    pictures = torch.rand(3, 3, 5, 7)
    expected = torch.stack([variation_by_loops(picture.double()) for picture in pictures])
    torch.testing.assert_close(total_variation(pictures).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (torch.full((1, 3, 4, 6), 0.3), 0.0),
        (torch.arange(5.0).view(1, 1, 1, 5).expand(1, 3, 4, 5), 1.0),
        (torch.arange(4.0).view(1, 1, 4, 1).expand(1, 3, 4, 5) * 2, 4.0),
    ],
    ids=["flat", "across", "down"],
)
def test_total_variation_of_simple_pictures(picture, expected):
    assert total_variation(picture).tolist() == [expected]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("guided", [False, True])
def test_the_gram_matrix_has_the_gradient_that_autograd_finds(memory_format, guided):
    features = torch.randn(2, 3, 4, 5).contiguous(memory_format=memory_format).requires_grad_()
    guide = torch.rand(2, 1, 4, 5) if guided else None
    towards = torch.randn(2, 3, 3)  # Not symmetric: nothing is taken for granted of the loss above.
    (gram(features, guide) * towards).sum().backward()
    plain = features.detach().double().requires_grad_()
    seen, size = (plain, 4 * 5) if guide is None else (plain * guide, guide.double().square().sum((2, 3))[..., None])
    (torch.einsum("ncyx,ndyx->ncd", seen, seen) / (3 * size) * towards).sum().backward()
    torch.testing.assert_close(features.grad.double(), plain.grad, rtol=1e-4, atol=1e-5)
    if not guided:
        assert features.grad.stride() == features.stride()


def test_checkerboard_sees_patterns_of_2_and_4_pixels_and_no_other_texture():
    noise = torch.rand(2, 3, 258, 257, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    rows, columns = torch.arange(258.0).view(-1, 1), torch.arange(257.0)
    texture = noise + 0.2 * torch.sin(2 * torch.pi * (rows / 5.3 + columns / 8.7))
    assert checkerboard(texture).shape == (2,)
    assert checkerboard(texture).max() < 1e-5
    for period in (2, 4):
        for pattern in (torch.cos(2 * torch.pi * rows / period), torch.cos(2 * torch.pi * columns / period)):
            amplitude = 3 / 255
            found = checkerboard(texture + amplitude * pattern).mean().item()
            assert found == pytest.approx(amplitude**2 * (1 if period == 2 else 0.5), rel=0.2)
