"""The learning rate: constant for 100 epochs, then linearly to 0 over 100."""

import pytest
import torch

from fast_style.training.lr_schedules import constant_then_linear, share_at


def rates(total_steps: int, **epochs: int) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=2e-4)
    schedule = constant_then_linear(optimizer, total_steps=total_steps, **epochs)
    found = []
    for _ in range(total_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("epoch", "share"), [(0, 1), (99, 1), (100, 1), (150, 0.5), (199, 0.01), (200, 0)])
def test_the_papers_epochs(epoch: int, share: float) -> None:
    assert share_at(epoch, constant_epochs=100, decay_epochs=100) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("pictures", [1, 5])
@pytest.mark.parametrize(("epoch", "rate"), [(0, 2e-4), (99, 2e-4), (100, 2e-4), (150, 1e-4), (199, 2e-6)])
def test_the_optimisers_rate_in_the_first_and_last_step_of_an_epoch(pictures: int, epoch: int, rate: float) -> None:
    found = rates(200 * pictures)
    for step in (epoch * pictures, epoch * pictures + pictures - 1):
        assert found[step] == pytest.approx(rate, rel=1e-9)


def test_a_short_training_has_the_same_shape() -> None:
    assert rates(8) == pytest.approx([2e-4 * share for share in (1, 1, 1, 1, 1, 0.75, 0.5, 0.25)])
    assert rates(5, constant_epochs=1, decay_epochs=0) == pytest.approx([2e-4] * 5)


@pytest.mark.parametrize("wrong", [{"total_steps": 0}, {"total_steps": 5, "constant_epochs": 0, "decay_epochs": 0}])
def test_a_schedule_without_steps_or_epochs_is_refused(wrong: dict[str, int]) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="at least one epoch and one step"):
        constant_then_linear(optimizer, **wrong)
