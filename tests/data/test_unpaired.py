"""Two collections of any sizes: endless orders that resume exactly, and clear errors."""

import logging
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch

from fast_style import save_image
from fast_style.data.unpaired import UnpairedDataModule


def collection(folder: Path, count: int, *, blue: float, size: tuple[int, int] = (24, 30)) -> Path:
    """Images with the blue level `blue`; the red level encodes the image's number."""
    for number in range(count):
        pixels = torch.full((1, 3, *size), 0.5)
        pixels[:, 0], pixels[:, 2] = number / 20, blue
        save_image(pixels, folder / f"{number}.png")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    collection(tmp_path / "trainA", 7, blue=0.2)
    collection(tmp_path / "trainB", 4, blue=0.8)
    collection(tmp_path / "testA", 3, blue=0.2)
    collection(tmp_path / "testB", 2, blue=0.8)
    return tmp_path


def opened(root: Path | None, *, seen: int = 0, **settings) -> UnpairedDataModule:
    values = {"root": root and str(root), "size": 16, "load_size": 20, "workers": 0, "held_out": 3}
    data = UnpairedDataModule(**{name: str(v) if isinstance(v, Path) else v for name, v in (values | settings).items()})
    data.setup()
    data.photos_seen = seen * data.batch_size
    return data


def batches(data: UnpairedDataModule, count: int) -> list[torch.Tensor]:
    return [data.on_after_batch_transfer(batch, 0) for batch in islice(data.train_dataloader(), count)]


def files(data: UnpairedDataModule, count: int) -> list[tuple[str, str]]:
    return [batch.files for batch in islice(data.train_dataloader(), count)]


def test_a_batch_is_one_of_each_side_in_0_1(root: Path) -> None:
    for batch in batches(opened(root, batch_size=2), 3):
        assert batch.shape == (2, 2, 3, 16, 16)
        assert batch.dtype == torch.float32
        torch.testing.assert_close(batch[:, 0, 2], torch.full((2, 16, 16), 0.2), rtol=0, atol=3 / 255)
        torch.testing.assert_close(batch[:, 1, 2], torch.full((2, 16, 16), 0.8), rtol=0, atol=3 / 255)


def test_each_collection_is_complete_in_each_of_its_epochs(root: Path) -> None:
    seen = files(opened(root), 28)
    for start in range(0, 28, 7):
        assert len({pair[0] for pair in seen[start : start + 7]}) == 7
    for start in range(0, 28, 4):
        assert len({pair[1] for pair in seen[start : start + 4]}) == 4
    # Pairs are random and do not repeat.
    assert len(Counter(seen)) > 12


def test_a_resumed_run_continues_with_the_next_pair_for_any_number_of_workers(root: Path) -> None:
    straight = batches(opened(root), 9)
    for workers in (0, 2):
        resumed = batches(opened(root, seen=5, workers=workers), 4)
        assert all(torch.equal(one, other) for one, other in zip(straight[5:], resumed, strict=True))


def test_processes_together_see_the_order_of_one_process(root: Path) -> None:
    alone = files(opened(root), 8)
    data = opened(root)
    seen = []
    for rank in (0, 1):
        data.trainer = type("Two", (), {"world_size": 2, "global_rank": rank})()
        seen.append(files(data, 4))
    assert [pair for both in zip(*seen, strict=True) for pair in both] == alone


def test_validation_shows_all_images_and_repeats_the_smaller_collection(root: Path) -> None:
    data = opened(root, batch_size=4)
    (batch,) = list(data.val_dataloader())
    assert [Path(file).parent.name + Path(file).stem for file in batch.files] == [
        *("testA0", "testB0", "testA1", "testB1", "testA2", "testB0")
    ]


def test_two_separate_folders_without_test_folders_are_split(root: Path) -> None:
    data = opened(None, a=root / "trainA", b=root / "trainB", held_out=2)
    held = {file for batch in data.val_dataloader() for file in batch.files}
    trained = {file for pair in files(data, 30) for file in pair}
    assert len(held) == 4
    assert len(trained) == 7 - 2 + 4 - 2
    assert not held & trained
    named = opened(None, a=root / "trainA", b=root / "trainB", test_a=root / "testA", test_b=root / "testB")
    assert {Path(file).parent.name for batch in named.val_dataloader() for file in batch.files} == {"testA", "testB"}


def test_swapped_folders_raise_no_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = opened(None, a=root / "trainB", b=root / "trainA")
    assert batches(data, 1)[0][0, 0, 2].mean() > 0.7
    assert not caplog.records


def test_unreadable_files_are_skipped_and_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = [root / "trainA" / "broken.png", root / "trainB" / "broken.jpg"]
    for file in broken:
        file.write_bytes((root / "trainA" / "0.png").read_bytes()[:60])
    caplog.set_level(logging.WARNING)
    data = opened(root)
    assert len(batches(data, 16)) == 16
    assert set(data.unreadable) == set(map(str, broken))
    assert sum("can't be read and is skipped" in record.getMessage() for record in caplog.records) == 2
    assert data.state_dict()["unreadable"] == list(data.unreadable)


def test_a_changed_number_of_images_is_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = opened(root).state_dict()
    collection(root / "trainB", 5, blue=0.8)
    opened(root).load_state_dict(state)
    assert "There were 11 training photos at the checkpoint and there are 12 now" in caplog.text


def test_images_smaller_than_the_crop_are_refused_or_enlarged(root: Path) -> None:
    save_image(torch.rand(1, 3, 15, 40), root / "trainB" / "small.png")
    with pytest.raises(
        ValueError, match=r"1 of 7 images are smaller than data.size=16 \(first: .*small\.png \(40x15\)\)"
    ):
        opened(root)
    assert opened(root, enlarge=True, batch_size=5).training[0, 0].pixels.shape == (2, 3, 16, 16)
    assert {pixels.shape for pixels in batches(opened(root, enlarge=True), 12)} == {(1, 2, 3, 16, 16)}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "Two collections are wanted: data.root=FOLDER"),
        ({"a": "trainA"}, "data.a=FOLDER data.b=FOLDER; got data.root=None, data.a=trainA, data.b=None"),
        ({"root": "x", "a": "trainA", "b": "trainB"}, "Two collections are wanted"),
        ({"root": "x", "load_size": 15}, "data.load_size must be at least data.size.*got 15 and 16"),
        ({"root": "x", "size": 0}, "data.size, data.batch_size"),
    ],
)
def test_invalid_settings_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        UnpairedDataModule(**{"size": 16, "load_size": 20} | settings)


def test_an_empty_side_is_named(root: Path) -> None:
    for file in (root / "trainB").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"The folder .*trainB holds no images"):
        opened(root)
    (root / "trainB").rmdir()
    with pytest.raises(
        ValueError, match=r"has no folder trainB; it needs trainA and trainB \(testA and testB are optional"
    ):
        opened(root)
    with pytest.raises(ValueError, match="no folder trainA and no trainB"):
        opened(root / "trainA")


def test_one_image_is_too_few_for_training_and_validation(root: Path) -> None:
    collection(root / "single", 1, blue=0.1)
    with pytest.raises(ValueError, match=r"single holds one image, .* set data.test_a and data.test_b"):
        opened(None, a=root / "single", b=root / "trainB")
