"""Sizes grow by the square root of 2 up to the last; Adam's state is enlarged too."""

import math
from functools import partial

import pytest
import torch

from fast_style.image_optimization.scales import fitted, resized, sizes_up_to, warm_start

ADAM = partial(torch.optim.Adam, lr=0.1, betas=(0.8, 0.9), eps=1e-6)
AMSGRAD = partial(ADAM, amsgrad=True)
SMALL, LARGE = (6, 8), (9, 12)


# ---- sizes


def test_the_sizes_of_512_from_128_on():
    assert sizes_up_to((512, 512), smallest=128) == [(128, 128), (181, 181), (256, 256), (362, 362), (512, 512)]


@pytest.mark.parametrize("smallest", [1, 16, 100, 128])
@pytest.mark.parametrize("size", [(256, 256), (300, 451), (1080, 607), (181, 2000), (129, 128)])
def test_each_size_is_larger_by_the_root_of_2_and_the_last_is_the_size(size, smallest):
    sizes = sizes_up_to(size, smallest=smallest)
    assert sizes[-1] == size
    for halvings, found in enumerate(reversed(sizes)):
        # The aspect ratio is kept up to rounding.
        for side, full in zip(found, size, strict=True):
            assert abs(side - full / math.sqrt(2) ** halvings) <= 0.5 + 1e-9
    assert min(sizes[0]) >= smallest
    assert min(size) / math.sqrt(2) ** len(sizes) < smallest  # One more size would be below the smallest.


@pytest.mark.parametrize("size", [(300, 400), (4000, 3000), (1, 7)])
def test_without_a_smallest_there_is_the_size_alone(size):
    assert sizes_up_to(size, smallest=None) == [size]


@pytest.mark.parametrize("size", [(128, 128), (128, 999), (999, 50), (100, 60), (150, 180)])
def test_a_size_too_small_to_shrink_is_alone(size):
    assert sizes_up_to(size, smallest=128) == [size]


# ---- resizing


def test_a_picture_of_the_size_stays_what_it_is():
    pictures = torch.rand(1, 3, 7, 9)
    assert torch.equal(resized(pictures, (7, 9)), pictures)


def test_a_picture_is_shrunk_without_aliasing():
    rows = torch.arange(64).view(64, 1) // 2
    stripes = (rows % 2).float().expand(1, 3, 64, 64)  # Taking every fourth row would give a black image.
    shrunk = resized(stripes, (16, 16))
    assert shrunk.shape == (1, 3, 16, 16)
    torch.testing.assert_close(shrunk[..., 2:-2, :], torch.full((1, 3, 12, 16), 0.5), rtol=0, atol=0.05)


def test_a_resized_picture_stays_in_range_and_its_original_what_it_was():
    pictures = (torch.rand(1, 3, 9, 9) < 0.5).float()
    before = pictures.clone()
    for size in ((20, 31), (5, 4)):
        found = resized(pictures, size)
        assert found.shape == (1, 3, *size)
        assert found.min() >= 0
        assert found.max() <= 1
    assert torch.equal(pictures, before)


def test_a_slope_stays_a_slope():
    slope = torch.linspace(0.2, 0.8, 31).expand(1, 3, 5, 31)
    larger = resized(slope, (5, 62))[..., 4:-4]
    expected = 0.5 + 0.02 * ((torch.arange(62)[4:-4] + 0.5) / 2 - 15.5)
    torch.testing.assert_close(larger, expected.expand_as(larger), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "longer", "expected"),
    [((40, 30), 20, (20, 15)), ((30, 40), 20, (15, 20)), ((33, 33), 32, (32, 32)), ((50, 21), 25, (25, 10))],
)
def test_a_picture_is_fitted_by_its_longer_side(size, longer, expected):
    assert fitted(torch.rand(1, 3, *size), longer).shape[-2:] == expected


@pytest.mark.parametrize("longer", [40, 41, 4000])
def test_a_picture_is_never_enlarged(longer):
    pictures = torch.rand(1, 3, 40, 30)
    assert torch.equal(fitted(pictures, longer), pictures)


@pytest.mark.parametrize(("size", "expected"), [((1, 400), (1, 30)), ((500, 2), (30, 1))])
def test_a_thin_picture_keeps_a_pixel(size, expected):
    assert fitted(torch.rand(1, 3, *size), 30).shape[-2:] == expected


# ---- optimiser state


def stepped(optimizer, gradients, size=SMALL):
    """Return an optimiser of one image after one step per gradient."""
    pixels = torch.rand(1, 3, *size, requires_grad=True)
    made = optimizer([pixels])
    for gradient in gradients:
        pixels.grad = gradient
        made.step(lambda: torch.tensor(0.0))
    return pixels, made


def state_of(optimizer):
    ((pixels, state),) = optimizer.state.items()
    return pixels, state


def test_adams_moments_are_enlarged_and_its_step_is_kept():
    ramp = torch.linspace(1, 2, SMALL[1]).expand(1, 3, *SMALL)
    _, former = stepped(ADAM, [ramp, ramp, ramp])
    pixels, new = stepped(ADAM, [], LARGE)
    warm_start(new, former, LARGE)
    found, state = state_of(new)
    assert found is pixels
    assert set(state) == set(state_of(former)[1])
    assert state["step"] == 3
    # Same width in image units: borders repeat, and bilinear equals bicubic between them.
    at = ((torch.arange(LARGE[1]) + 0.5) / 1.5 - 0.5).clamp(0, SMALL[1] - 1)
    for name, moment, atol in (
        ("exp_avg", lambda g: (1 - 0.8**3) * g, 1e-2),
        ("exp_avg_sq", lambda g: (1 - 0.9**3) * g**2, 5e-3),
    ):
        expected = moment(1 + at / (SMALL[1] - 1)).expand(1, 3, *LARGE)
        torch.testing.assert_close(state[name], expected, rtol=0, atol=atol)


@pytest.mark.parametrize("optimizer", [ADAM, AMSGRAD, torch.optim.NAdam], ids=["adam", "amsgrad", "nadam"])
def test_no_enlarged_square_is_negative(optimizer):
    spike = torch.zeros(1, 3, *SMALL)
    spike[..., 3, 4] = 10.0
    _, former = stepped(optimizer, [spike, spike])
    pixels, new = stepped(optimizer, [], LARGE)
    warm_start(new, former, LARGE)
    _, state = state_of(new)
    squares = [name for name in state if name.endswith("sq")]
    assert squares
    assert all(state[name].min() >= 0 and state[name].max() > 0 for name in squares)
    assert state["exp_avg"].min() < 0  # A first moment may overshoot; bicubic is sharper.
    pixels.grad = torch.rand(1, 3, *LARGE)
    new.step()
    assert pixels.isfinite().all()


def test_the_next_step_is_adams():
    _, former = stepped(ADAM, torch.randn(4, 1, 3, *SMALL))
    pixels, new = stepped(ADAM, [], LARGE)
    warm_start(new, former, LARGE)
    before, gradient = pixels.detach().double(), torch.randn(1, 3, *LARGE)
    first, second = (state_of(new)[1][name].double() for name in ("exp_avg", "exp_avg_sq"))
    pixels.grad = gradient.clone()
    new.step()
    first = (0.8 * first + 0.2 * gradient.double()) / (1 - 0.8**5)
    second = (0.9 * second + 0.1 * gradient.double() ** 2) / (1 - 0.9**5)
    expected = before - 0.1 * first / (second.sqrt() + 1e-6)
    torch.testing.assert_close(pixels.detach().double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [LARGE, SMALL])
def test_the_former_optimiser_stays_what_it_was(size):
    _, former = stepped(ADAM, torch.randn(2, 1, 3, *SMALL))
    before = {name: value.clone() for name, value in state_of(former)[1].items()}
    pixels, new = stepped(ADAM, [], size)
    warm_start(new, former, size)
    pixels.grad = torch.ones(1, 3, *size)
    new.step()
    assert all(torch.equal(value, before[name]) for name, value in state_of(former)[1].items())
    assert state_of(new)[1]["step"] == 3


def test_lbfgs_starts_anew():
    _, former = stepped(torch.optim.LBFGS, torch.randn(3, 1, 3, *SMALL))
    assert former.state
    _, new = stepped(torch.optim.LBFGS, [], LARGE)
    warm_start(new, former, LARGE)
    assert not new.state


def test_adam_that_has_not_stepped_has_nothing_to_give():
    _, former = stepped(ADAM, [])
    _, new = stepped(ADAM, [], LARGE)
    warm_start(new, former, LARGE)
    assert not new.state
