"""Sampling shares of folders, and augmented crops."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch

from fast_style import save_image
from fast_style.methods.distillation.data import DistillationData, WeightedOrder

ALL = {"jitter": 0.4, "permute": 0.5, "blur": 0.5, "noise": 0.5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("pictures")
    for name, count in (("photos", 5), ("paintings", 2), ("kept", 2)):
        for index in range(count):
            save_image(torch.rand(1, 3, 40, 52), root / name / f"{name}{index}.png")
    return [root / "photos", root / "paintings", root / "kept"]


def opened(folders: list[Path], *, seen: int = 0, **options) -> DistillationData:
    settings = {"shares": [1, 3], "held_out": 2, "size": 16, "batch_size": 4, "workers": 0} | ALL | options
    data = DistillationData(roots=[str(f) for f in folders[:2]], held_out_root=str(folders[2]), **settings)
    data.load_state_dict({"photos_seen": seen * data.batch_size, "unreadable": []})
    data.setup()
    return data


def pixels(data: DistillationData, count: int) -> torch.Tensor:
    return torch.stack([batch.pixels for batch in islice(data.train_dataloader(), count)])


def test_every_folder_has_its_share() -> None:
    epoch_order = WeightedOrder([3, 700, 20], [1, 1, 2], seed=0)
    drawn = Counter(0 if i < 3 else 1 if i < 703 else 2 for number in range(40) for i in epoch_order.order_of(number))
    total = sum(drawn.values())
    assert total == 40 * 723
    assert [drawn[i] / total for i in range(3)] == pytest.approx([0.25, 0.25, 0.5], abs=0.02)


def test_each_picture_of_a_folder_comes_alike_often() -> None:
    epoch_order = WeightedOrder([4, 96], [1, 1], seed=1)
    drawn = Counter(i for number in range(100) for i in epoch_order.order_of(number))
    assert [drawn[i] / 10_000 for i in range(4)] == pytest.approx([0.125] * 4, abs=0.02)


def test_an_order_depends_on_seed_and_pass_alone() -> None:
    one, other = (WeightedOrder([5, 50], [1, 2], seed=7) for _ in range(2))
    assert one.order_of(3) == other.order_of(3) != one.order_of(4)
    assert one.order_of(3) != WeightedOrder([5, 50], [1, 2], seed=8).order_of(3)


def test_crops_are_uint8_of_one_size_and_held_out_pictures_stay_out(folders: list[Path]) -> None:
    data = opened(folders)
    batch = next(iter(data.train_dataloader()))
    assert batch.pixels.shape == (4, 3, 16, 16)
    assert batch.pixels.dtype == torch.uint8
    assert not any("kept" in data.training.pictures.name_of(i) for i in range(len(data.training)))
    assert [Path(f).parent.name for b in data.val_dataloader() for f in b.files] == ["kept", "kept"]


def test_a_resumed_run_sees_the_very_next_batch(folders: list[Path]) -> None:
    straight = pixels(opened(folders), 5)
    assert torch.equal(straight[3:], pixels(opened(folders, seen=3), 2))
    assert not torch.equal(straight[0], straight[1])


@pytest.mark.parametrize("kind", ALL)
def test_every_change_changes_crops(folders: list[Path], kind: str) -> None:
    none = dict.fromkeys(ALL, 0.0)
    plain = pixels(opened(folders, **none), 4).float()
    changed = pixels(opened(folders, **none | {kind: 1.0}), 4).float()
    assert plain.shape == changed.shape
    assert (plain - changed).abs().mean() > 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"shares": [1.0]}, "data.shares"),
        ({"shares": [1.0, 0.0]}, "data.shares"),
        ({"noise": 1.5}, "data.noise"),
        ({"size": 0}, "data.size"),
    ],
)
def test_settings_that_do_not_do_are_refused(folders: list[Path], wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        opened(folders, **wrong)
