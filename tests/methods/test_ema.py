"""The moving average, compared with torch's, and after skipped steps."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from fast_style.methods.ema import MovingAverage


def follow(average: nn.Module, network: nn.Linear, steps: int) -> None:
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        with torch.no_grad():
            network.weight.add_(torch.rand(network.weight.shape, generator=generator))
        average.update_parameters(network)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_it_is_torchs_average_with_the_same_state(decay: float) -> None:
    def lerp(averages: list[torch.Tensor], currents: list[torch.Tensor], updates: torch.Tensor) -> None:
        torch._foreach_lerp_(averages, currents, 1 - min(decay, (1 + int(updates)) / (10 + int(updates))))

    network = nn.Linear(3, 2)
    ours, theirs = MovingAverage(network, decay=decay), AveragedModel(network, multi_avg_fn=lerp)
    follow(ours, copy.deepcopy(network), 20)
    follow(theirs, copy.deepcopy(network), 20)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)


def test_it_starts_as_the_network_and_without_decay_stays_it() -> None:
    network = nn.Linear(3, 2)
    average = MovingAverage(network, decay=0.0)
    for steps in (1, 7):
        follow(average, network, steps)
        assert torch.equal(average.module.weight, network.weight)


def test_a_step_that_was_none_leaves_everything() -> None:
    network = nn.Linear(3, 2)
    average = MovingAverage(network, decay=0.5)
    follow(average, network, 3)
    before = copy.deepcopy(average.state_dict())
    with torch.no_grad():
        network.weight.add_(1)
    average.update_parameters(network, taken=torch.tensor(False))
    assert all(torch.equal(average.state_dict()[name], before[name]) for name in before)
    average.update_parameters(network, taken=torch.tensor(True))
    assert average.n_averaged == 4
    assert not torch.equal(average.module.weight, before["module.weight"])


def test_it_goes_on_from_a_state() -> None:
    network = nn.Linear(3, 2)
    one = MovingAverage(network, decay=0.9)
    follow(one, network, 5)
    other = MovingAverage(nn.Linear(3, 2), decay=0.9)
    other.load_state_dict(one.state_dict())
    for average in (one, other):
        follow(average, copy.deepcopy(network), 3)
    assert torch.equal(one.module.weight, other.module.weight)


def test_it_reads_nothing_from_the_device() -> None:
    # `meta` tensors have no values: reading one raises an error.
    network = nn.Linear(3, 2, device="meta")
    average = MovingAverage(network, decay=0.9).to("meta")
    average.update_parameters(network)
    average.update_parameters(network, taken=torch.tensor(True, device="meta"))
