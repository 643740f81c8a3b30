"""Gram matrices, errors and total variation are what the formulas say, in float32."""

import pytest
import torch

from fast_style.losses.statistics import gram, relative_error, squared_error, total_variation


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


def variation_by_loops(picture):
    _, height, width = picture.shape
    down = [(picture[:, y + 1, x] - picture[:, y, x]) ** 2 for y in range(height - 1) for x in range(width)]
    across = [(picture[:, y, x + 1] - picture[:, y, x]) ** 2 for y in range(height) for x in range(width - 1)]
    return torch.stack(down).mean() + torch.stack(across).mean()


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 2, 2), (1, 4, 1, 3)])
def test_the_gram_matrix_is_equation_3(shape):
    features = torch.randn(shape)
    torch.testing.assert_close(gram(features).double(), gram_by_loops(features), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_gram_matrix_is_float32_of_any_features(dtype):
    features = torch.randn(1, 3, 6, 6).to(dtype)
    assert gram(features).dtype == torch.float32
    torch.testing.assert_close(gram(features), gram(features.float()))


def test_autocast_takes_nothing_from_the_gram_matrix():
    features = torch.randn(1, 3, 32, 32) + 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (features.flatten(2) @ features.flatten(2).mT).dtype == torch.bfloat16  # So it would be without care.
        found = gram(features)
    assert found.dtype == torch.float32
    assert torch.equal(found, gram(features))


@pytest.mark.parametrize("items", [1, 3])
def test_errors_are_of_each_item(items):
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


def test_the_relative_error_to_nothing_is_a_number():
    nothing = torch.zeros(1, 2, 3, 3)
    assert relative_error(nothing, nothing).tolist() == [0.0]
    assert relative_error(nothing + 1, nothing).isfinite().all()


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
