"""Muon against its formulas, and its resuming and skipping."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fast_style.training.muon import Muon, orthogonalised


def newton_schulz(matrix: Tensor) -> Tensor:
    """Compute the five iterations as published, in float64."""
    x = matrix.double() / matrix.double().norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (16, 16), (128, 1152)])
def test_orthogonalised_is_the_published_iteration(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape)
    for matrix, found in zip(matrices, orthogonalised(matrices), strict=True):
        torch.testing.assert_close(found.double(), newton_schulz(matrix), rtol=1e-3, atol=1e-4)


def test_singular_values_come_near_one_and_directions_stay() -> None:
    u, _ = torch.linalg.qr(torch.randn(24, 24, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(60, 24, dtype=torch.float64))
    spectrum = torch.logspace(0, -3, 24, dtype=torch.float64)
    found = orthogonalised((u * spectrum @ v.T)[None])[0].double()
    values = (u.T @ found @ v).diagonal()
    assert values[:16].min() > 0.6
    assert values.max() < 1.25
    assert (u.T @ found @ v - values.diag()).abs().max() < 1e-3


def test_a_zero_gradient_or_one_direction_stays_finite() -> None:
    assert orthogonalised(torch.zeros(1, 6, 9)).abs().max() == 0
    one = torch.outer(torch.randn(64), torch.randn(200))[None]
    found = orthogonalised(one)
    assert found.isfinite().all()
    assert torch.linalg.matrix_norm(found, 2) < 1.3


def test_two_steps_are_the_formulas() -> None:
    conv, bias = nn.Conv2d(4, 6, 3), torch.randn(7, requires_grad=True)
    weights = [conv.weight, bias]
    expected = [w.detach().double().clone() for w in weights]
    optimizer = Muon(weights, lr=0.1, momentum=0.8, adam_lr_scale=0.5, betas=(0.7, 0.9))
    momentum, first, second = torch.zeros(6, 36).double(), torch.zeros(7).double(), torch.zeros(7).double()
    for step in (1, 2):
        gradients = [torch.randn_like(w) for w in weights]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
        matrix, vector = gradients[0].double().flatten(1), gradients[1].double()
        momentum = 0.8 * momentum + 0.2 * matrix
        expected[0] -= 0.1 * newton_schulz(0.2 * matrix + 0.8 * momentum).view(6, 4, 3, 3)
        first, second = 0.7 * first + 0.3 * vector, 0.9 * second + 0.1 * vector**2
        expected[1] -= 0.05 * (first / (1 - 0.7**step)) / ((second / (1 - 0.9**step)).sqrt() + 1e-8)
    for weight, wanted in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.detach().double(), wanted, rtol=1e-3, atol=1e-4)


def test_a_tall_matrix_moves_by_more() -> None:
    tall = torch.zeros(36, 4, requires_grad=True)
    tall.grad = torch.randn(36, 4)
    Muon([tall], lr=1.0).step()
    assert torch.linalg.svdvals(tall.detach()).min() > 3 * 0.6


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    weights = [torch.randn(8, 12, requires_grad=True), torch.randn(5, requires_grad=True)]
    optimizer = Muon(weights)
    for poison in (1.0, float("nan"), float("inf")):
        before = copy.deepcopy([w.detach() for w in weights]), copy.deepcopy(optimizer.state_dict()["state"])
        for weight in weights:
            weight.grad = torch.full_like(weight, poison)
        optimizer.found_inf = torch.tensor(float(poison != 1.0))
        optimizer.step()
        changed = [not torch.equal(w, b) for w, b in zip(weights, before[0], strict=True)]
        assert changed == [poison == 1.0] * 2
        if poison != 1.0:
            for key, state in optimizer.state_dict()["state"].items():
                assert all(torch.equal(value, before[1][key][name]) for name, value in state.items())


def test_its_state_can_be_restored() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(8, 12), torch.randn(4, 8, 12)
    through = start.clone().requires_grad_()
    optimizer = Muon([through])
    for index, gradient in enumerate(gradients):
        if index == 2:
            state, halfway = copy.deepcopy(optimizer.state_dict()), through.detach().clone().requires_grad_()
        through.grad = gradient
        optimizer.step()
    resumed = Muon([halfway], lr=1.0)
    resumed.load_state_dict(state)
    for gradient in gradients[2:]:
        halfway.grad = gradient
        resumed.step()
    assert torch.equal(halfway, through)


def test_it_learns() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
    pictures, wanted = torch.rand(8, 3, 12, 12), torch.rand(8, 4, 1, 1).expand(8, 4, 12, 12)
    optimizer, losses = Muon(network.parameters()), []
    for _ in range(60):
        loss = (network(pictures) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"momentum": 1.0}, {"betas": (0.9, 1.0)}, {"adam_lr_scale": -0.1}])
def test_invalid_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Muon([torch.zeros(4, 4, requires_grad=True)], **wrong)
