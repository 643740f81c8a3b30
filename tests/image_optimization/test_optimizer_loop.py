"""OptimizerLoop: exact number of evaluations, and the average or the best iterate as the result."""

import itertools
import math
from functools import partial

import pytest
import torch

from fast_style.image_optimization.loss import PictureLoss, Style
from fast_style.image_optimization.optimizer_loop import OptimizerLoop

ADAM = partial(torch.optim.Adam, lr=0.1)
LBFGS = torch.optim.LBFGS
OPTIMIZERS = {
    "adam": ADAM,
    "sgd": partial(torch.optim.SGD, lr=0.01),
    "lbfgs": LBFGS,  # 20 iterations per step.
    "lbfgs_long": partial(LBFGS, max_iter=10**6, max_eval=10**6, tolerance_grad=0.0, tolerance_change=0.0),
    "lbfgs_wolfe": partial(LBFGS, line_search_fn="strong_wolfe"),
    "lbfgs_wolfe_long": partial(
        LBFGS, line_search_fn="strong_wolfe", max_iter=10**6, max_eval=10**6, tolerance_grad=0.0, tolerance_change=0.0
    ),
}
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


class Seen:
    """A loss with one term of weight 2 that records its inputs and values."""

    def __init__(self, distance):
        self.distance, self.pictures, self.losses = distance, [], []

    def __call__(self, picture):
        self.pictures.append(picture.detach().clone())
        term = self.distance(picture)
        self.losses.append(2 * term.item())
        return {"term": term}

    def weigh(self, terms):
        return {"term": 2 * terms["term"]}


def bowl(target):
    """An elongated quadratic, so that no optimiser reaches the minimum in one step."""
    slopes = torch.linspace(0.2, 3, target.shape[-1])
    return lambda picture: (slopes * (picture - target).square()).sum()


def valley(picture):
    """Rosenbrock's function, which is hard for all optimisers."""
    x, y = picture[..., 1:], picture[..., :-1]
    return (10 * (x - y.square()).square() + (1 - y).square()).mean()


def poisoned(distance, first, bad):
    """A distance that is multiplied by a bad number from evaluation `first` on."""
    counted = itertools.count(1)
    return lambda picture: distance(picture) * (bad if next(counted) >= first else 1.0)


def scripted(values):
    """Return these values, one per evaluation; the gradient always raises the pixels."""
    said = iter(values)
    return lambda picture: (picture - picture.detach()).sum().neg() + next(said)


def loop(start, loss, optimizer=ADAM, *, average_decay=0.0, clamp=True, precision="32-true"):
    return OptimizerLoop(start, loss, optimizer, average_decay=average_decay, clamp=clamp, precision=precision)


def always(_):
    return True


# ---- number of evaluations


@each_optimizer
@pytest.mark.parametrize("count", [1, 2, 7, 21, 50])
@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_the_loss_is_evaluated_exactly_so_many_times(optimizer, count, average_decay):
    loss, counts = Seen(valley), []
    made = loop(torch.rand(1, 3, 4, 5), loss, optimizer, average_decay=average_decay)

    def after(now):
        counts.append(now.evaluations)
        return True

    assert made.run(count, after) is True
    assert len(loss.pictures) == made.evaluations == count
    assert counts == list(range(1, count + 1))


@each_optimizer
def test_they_are_as_many_where_there_is_nothing_left_to_gain(optimizer):
    target = torch.full((1, 3, 4, 5), 0.5)
    loss = Seen(bowl(target))
    made = loop(target, loss, optimizer)
    assert made.run(45, always)
    assert len(loss.pictures) == made.evaluations == 45
    assert torch.equal(made.picture, target)


@each_optimizer
@pytest.mark.parametrize("last", [1, 4, 23])
def test_it_stops_where_it_is_told_to(optimizer, last):
    loss = Seen(valley)
    made = loop(torch.rand(1, 3, 4, 5), loss, optimizer)
    assert made.run(60, lambda now: now.evaluations < last) is False
    assert len(loss.pictures) == made.evaluations == last


def test_told_to_stop_at_its_end_it_says_so():
    made = loop(torch.rand(1, 3, 4, 5), Seen(valley))
    assert made.run(3, lambda now: now.evaluations < 3) is False


@pytest.mark.parametrize(("name", "first"), [("adam", 3), ("sgd", 1), ("lbfgs", 20)])
def test_it_can_go_on(name, first):
    start = torch.rand(1, 3, 4, 5)
    straight, interrupted = Seen(valley), Seen(valley)
    loop(start, straight, OPTIMIZERS[name]).run(31, always)
    made = loop(start, interrupted, OPTIMIZERS[name])
    for count in (first, 31, 31, 2):
        assert made.run(count, always)
    assert torch.equal(torch.stack(interrupted.pictures), torch.stack(straight.pictures))


def test_another_error_is_not_taken_for_the_end():
    def after(_):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        loop(torch.rand(1, 3, 4, 5), Seen(valley)).run(3, after)


# ---- direction


@each_optimizer
def test_the_loss_decreases(optimizer):
    start, target = torch.rand(1, 3, 4, 5), torch.rand(1, 3, 4, 5)
    loss = Seen(bowl(target))
    made = loop(start, loss, optimizer)
    made.run(40, always)
    assert min(loss.losses) < 0.1 * loss.losses[0]
    assert bowl(target)(made.picture) < 0.1 * bowl(target)(start)


def test_it_descends_along_the_weighted_loss():
    start = torch.full((1, 3, 2, 2), 0.5)
    loss = Seen(lambda picture: picture.sum())
    loop(start, loss, partial(torch.optim.SGD, lr=0.01)).run(3, always)
    torch.testing.assert_close(loss.pictures[2], torch.full_like(start, 0.5 - 2 * 0.01 * 2))


def test_the_start_stays_what_it_was():
    start = torch.rand(1, 3, 4, 5, requires_grad=True)
    before = start.detach().clone()
    made = loop(start, Seen(bowl(torch.zeros(1, 3, 4, 5))))
    made.run(5, always)
    assert torch.equal(start, before)
    assert start.grad is None
    assert not torch.equal(made.picture, before)


def test_the_first_evaluation_is_of_the_start():
    start = torch.rand(1, 3, 4, 5)
    for clamp in (True, False):
        loss = Seen(valley)
        made = loop(start, loss, clamp=clamp, average_decay=0.9)
        made.run(1, always)
        assert torch.equal(loss.pictures[0], start)
        assert torch.equal(made.picture, start)


def test_what_is_told_of_an_evaluation_is_the_evaluations():
    loss, told = Seen(valley), []
    made = loop(torch.rand(1, 3, 4, 5), loss, average_decay=0.9)
    made.run(4, lambda now: told.append((now.terms, now.weighted)) or True)
    for (terms, weighted), value in zip(told, loss.losses, strict=True):
        assert terms["term"].item() == pytest.approx(value / 2)
        assert weighted["term"].item() == pytest.approx(value)
        assert not terms["term"].requires_grad
        assert not weighted["term"].requires_grad


# ---- average and best iterate


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.97])
@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_the_average_is_an_exponential_one_that_forgets_its_youth(name, decay):
    loss, found = Seen(bowl(torch.rand(1, 3, 4, 5))), []
    made = loop(torch.rand(1, 3, 4, 5), loss, OPTIMIZERS[name], average_decay=decay, clamp=name == "adam")
    made.run(30, lambda now: found.append(now.picture) or True)
    iterates = torch.stack(loss.pictures).double()
    assert (iterates[0] - iterates[-1]).abs().max() > 0.2
    for count in (1, 2, 3, 10, 30):
        shares = torch.tensor([decay ** (count - 1 - i) for i in range(count)], dtype=torch.float64)
        expected = torch.einsum("t,tnchw->nchw", shares / shares.sum(), iterates[:count]).clamp(0, 1)
        torch.testing.assert_close(found[count - 1].double(), expected, rtol=0, atol=2e-6)


def test_without_an_average_the_iterate_of_the_lowest_loss_is_kept():
    values = [5.0, 3.0, 4.0, 1.0, 2.0, 1.5, 0.5, 6.0]
    loss, found = Seen(scripted(values)), []
    made = loop(torch.zeros(1, 3, 4, 5), loss, partial(torch.optim.SGD, lr=0.01))
    made.run(len(values), lambda now: found.append(now.picture) or True)
    assert not torch.equal(loss.pictures[0], loss.pictures[1])
    for picture, lowest in zip(found, [0, 1, 1, 3, 3, 3, 6, 6], strict=True):
        assert torch.equal(picture, loss.pictures[lowest])


def test_of_a_descent_that_climbs_the_best_is_kept():
    loss = Seen(bowl(torch.full((1, 3, 4, 5), 0.5)))
    made = loop(torch.rand(1, 3, 4, 5), loss, partial(torch.optim.SGD, lr=0.5), clamp=False)
    made.run(12, always)
    best = loss.losses.index(min(loss.losses))
    assert loss.losses[-1] > 10 * loss.losses[best]
    assert torch.equal(made.picture, loss.pictures[best].clamp(0, 1))


# ---- value range


@pytest.mark.parametrize("name", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("average_decay", [0.0, 0.9])
@pytest.mark.parametrize("clamp", [True, False], ids=["clamped", "free"])
def test_pixels_stay_in_range_where_they_are_clamped_and_the_picture_always(name, average_decay, clamp):
    target = torch.where(torch.rand(1, 3, 4, 5) < 0.5, -1.0, 2.0)
    loss, found = Seen(bowl(target)), []
    made = loop(torch.rand(1, 3, 4, 5), loss, OPTIMIZERS[name], average_decay=average_decay, clamp=clamp)
    made.run(40, lambda now: found.append(now.picture) or True)
    seen, shown = torch.stack(loss.pictures), torch.stack(found)
    assert shown.min() >= 0
    assert shown.max() <= 1
    if clamp:
        assert (seen.min(), seen.max()) == (0, 1)
    else:
        assert seen.min() < -0.1
        assert seen.max() > 1.1


# ---- NaN and infinity


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("name", ["adam", "lbfgs", "lbfgs_wolfe"])
@pytest.mark.parametrize("first", [1, 2, 13])
def test_a_loss_that_is_no_number_ends_it_at_once(bad, name, first):
    loss = Seen(poisoned(valley, first, bad))
    with pytest.raises(ValueError, match=rf"^The loss is {bad} at evaluation {first}, so [^\n]*\.$"):
        loop(torch.rand(1, 3, 4, 5), loss, OPTIMIZERS[name]).run(40, always)


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("first", [1, 2, 10, 11, 12, 20])
def test_with_an_average_it_ends_within_ten_evaluations(bad, first):
    loss = Seen(poisoned(valley, first, bad))
    made = loop(torch.rand(1, 3, 4, 5), loss, average_decay=0.9)
    with pytest.raises(ValueError, match=r"^The loss is (nan|inf) at evaluation \d+, so [^\n]*\.$") as caught:
        made.run(40, always)
    named = int(str(caught.value).split("evaluation ")[1].split(",")[0])
    assert first <= named < first + 10
    assert named == made.evaluations


@pytest.mark.parametrize(("first", "count"), [(2, 3), (3, 5), (12, 20)])
def test_nor_does_it_end_with_a_picture_that_is_no_number(first, count):
    made = loop(torch.rand(1, 3, 4, 5), Seen(poisoned(valley, first, math.nan)), average_decay=0.9)
    with pytest.raises(ValueError, match=r"^The loss is nan at evaluation "):
        made.run(count, always)


# ---- precision


@pytest.fixture
def picture_loss(tiny_loss_network):
    return PictureLoss(
        loss_network=tiny_loss_network,
        content=torch.rand(1, 3, 16, 16),
        styles=[Style(torch.rand(1, 3, 12, 20) ** 2)],
        content_layers=["relu2"],
        style_layers=["relu1", "conv2"],
    )


def descended(loss, precision):
    made = loop(torch.full((1, 3, 16, 16), 0.5), loss, partial(torch.optim.SGD, lr=0.1), precision=precision)
    made.run(25, always)
    return made


def test_bf16_mixed_paints_what_32_true_does(picture_loss):
    exact, mixed = (descended(picture_loss, precision) for precision in ("32-true", "bf16-mixed"))
    assert not torch.equal(exact.picture, mixed.picture)
    way = (exact.picture - 0.5).abs().mean()
    assert way > 0.04
    assert (exact.picture - mixed.picture).abs().mean() < 0.1 * way
    assert sum(mixed.weighted.values()).item() == pytest.approx(sum(exact.weighted.values()).item(), rel=0.02)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)],
)
def test_precision_is_the_loss_networks_alone(picture_loss, precision, dtype):
    dtypes = []
    conv = picture_loss.loss_network.layers["conv1"]
    conv.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    made = descended(picture_loss, precision)
    assert set(dtypes) == {dtype}
    assert {made.picture.dtype, made.pixels.grad.dtype} == {torch.float32}
    assert {term.dtype for term in made.terms.values()} == {torch.float32}
