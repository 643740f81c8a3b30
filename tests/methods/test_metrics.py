"""Means of losses on the device."""

import pytest
import torch

from fast_style.methods.metrics import MeanTerms


def test_the_mean_is_over_things_not_over_batches() -> None:
    means = MeanTerms()
    means.add({"a": torch.tensor(1.0), "b": torch.tensor(10.0)}, weight=3)
    means.add({"a": torch.tensor(5.0), "b": torch.tensor(20.0)}, weight=1)
    taken = means.take()
    assert {name: value.item() for name, value in taken.items()} == {"a": 2.0, "b": 12.5}
    assert means.take() == {}


def test_half_precision_is_summed_in_float32() -> None:
    means = MeanTerms()
    for _ in range(1000):
        means.add({"a": torch.tensor(1.0, dtype=torch.bfloat16)})
    means.add({"a": torch.tensor(2.0, dtype=torch.bfloat16)})
    assert means.take()["a"].item() == pytest.approx(1002 / 1001, rel=1e-6)


def test_no_graph_is_kept_and_nothing_is_read_from_the_device() -> None:
    means = MeanTerms()
    means.add({"a": torch.ones((), requires_grad=True) * 2})
    assert not means.take()["a"].requires_grad
    means.add({"a": torch.ones((), device="meta")})
    assert means.take()["a"].device.type == "meta"


def test_processes_share_their_sums_in_one_collective(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def add_the_other_process(sums: torch.Tensor) -> None:
        calls.append(sums)
        sums += torch.tensor([20.0, 30.0, 1.0])  # The other rank adds one photo with losses of 20 and 30.

    for name, answer in {"is_initialized": lambda: True, "get_world_size": lambda: 2}.items():
        monkeypatch.setattr(torch.distributed, name, answer)
    monkeypatch.setattr(torch.distributed, "all_reduce", add_the_other_process)
    means = MeanTerms()
    means.add({"a": torch.tensor(2.0), "b": torch.tensor(6.0)}, weight=3)
    assert {name: value.item() for name, value in means.take().items()} == {"a": 6.5, "b": 12.0}
    assert len(calls) == 1
