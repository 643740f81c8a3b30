"""Training batches are endless and resume exactly; the validation photos are fixed and never trained on."""

import logging
import multiprocessing
import signal
import subprocess
import tempfile
import time
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fast_style import load_image, save_image
from fast_style.data.datamodule import _leave_interrupts_to_the_trainer
from fast_style.data.dataset import shortest_side_needed
from fast_style.data.image_folder import ImageFolderDataModule
from fast_style.images.listing import find_pictures


def photos(root, *, seen=None, **options):
    data = ImageFolderDataModule(
        root=str(root), **{"size": 16, "batch_size": 3, "held_out": 3, "workers": 0, **options}
    )
    if seen is not None:
        data.load_state_dict({"photos_seen": seen * data.batch_size, "unreadable": []})
    data.setup()
    return data


def batches(data, count):
    return [data.on_after_batch_transfer(batch, 0) for batch in islice(data.train_dataloader(), count)]


def same(some, others):
    return len(some) == len(others) and all(torch.equal(x, y) for x, y in zip(some, others, strict=True))


def test_batches_are_float32_in_0_1(photo_folder):
    for batch in batches(photos(photo_folder), 6):
        assert batch.shape == (3, 3, 16, 16)
        assert batch.dtype == torch.float32
        assert 0 <= batch.min() < 0.5 < batch.max() <= 1


def test_workers_change_nothing(photo_folder):
    assert same(batches(photos(photo_folder), 5), batches(photos(photo_folder, workers=2), 5))


@pytest.mark.parametrize("seen", [1, 3, 8])
def test_a_resumed_run_continues_with_the_next_batch(photo_folder, seen):
    straight = batches(photos(photo_folder), seen + 3)
    assert same(batches(photos(photo_folder, seen=seen), 3), straight[seen:])
    assert not same(batches(photos(photo_folder), 3), straight[seen:])


def test_the_state_survives_a_checkpoint(photo_folder):
    data = photos(photo_folder)
    data.load_state_dict({"photos_seen": 4, "unreadable": ["a.jpg", "b.jpg"]})
    assert data.state_dict() == {"photos_seen": 4, "unreadable": ["a.jpg", "b.jpg"], "photos": len(data.training)}


def test_a_checkpoint_that_counted_batches_of_each_process_is_understood(photo_folder):
    data = photos(photo_folder)
    data.trainer = SimpleNamespace(world_size=2)
    data.load_state_dict({"batches_seen": 4, "unreadable": []})
    assert data.photos_seen == 4 * 3 * 2


def first_batches(root, seed):
    return batches(photos(root, held_out_root=str(root), seed=seed), 2)


def test_one_seed_gives_the_same_batches_each_time(photo_folder):
    assert same(first_batches(photo_folder, 1), first_batches(photo_folder, 1))


def test_another_seed_gives_other_batches(photo_folder):
    assert not same(first_batches(photo_folder, 1), first_batches(photo_folder, 2))


def test_loading_does_not_change_the_global_generator(photo_folder):
    before = torch.random.get_rng_state()
    batches(photos(photo_folder, workers=2), 2)
    list(photos(photo_folder).val_dataloader())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("held_out", "kept"), [(1, 1), (3, 3), (5, 5), (8, 5), (100, 5)])
def test_held_out_photos_are_never_trained_on(photo_folder, held_out, kept):
    data = photos(photo_folder, held_out=held_out)
    training, validation = set(data.training.pictures.files), set(data.validation.pictures.files)
    assert len(validation) == kept
    assert training.isdisjoint(validation)
    assert training | validation == set(find_pictures(photo_folder))


def test_the_same_photos_are_held_out_each_time(photo_folder):
    assert (
        photos(photo_folder).validation.pictures.files == photos(photo_folder, batch_size=1).validation.pictures.files
    )
    assert len({tuple(photos(photo_folder, seed=seed).validation.pictures.files) for seed in range(4)}) > 1


def test_a_separate_validation_folder(photo_folder):
    nested = str(photo_folder / "nested")
    data = photos(photo_folder / "flat", held_out_root=nested)
    assert data.training.pictures.files == find_pictures(photo_folder / "flat")
    assert data.validation.pictures.files == find_pictures(nested)[:3]


def test_validation_shows_the_middle_of_every_held_out_photo_each_time(photo_folder):
    data = photos(photo_folder, held_out=4)

    def shown():
        return torch.cat([data.on_after_batch_transfer(batch, 0) for batch in data.val_dataloader()])

    torch.manual_seed(1)
    one = shown()
    batches(data, 2)
    assert torch.equal(shown(), one)
    assert one.shape == (4, 3, 16, 16)
    for found, file in zip(one, data.validation.pictures.files, strict=True):
        photo = load_image(file, size=16)[0]
        top, left = (photo.shape[1] - 16) // 2, (photo.shape[2] - 16) // 2
        assert (found - photo[:, top : top + 16, left : left + 16]).abs().mean() < 0.1
        assert (found.mean((1, 2)) - photo.mean((1, 2))).abs().max() < 0.03


def test_jpegs_are_decoded_no_larger_than_crops_and_validation_need(photo_folder):
    data = photos(photo_folder, size=64, crop_scale=(0.5, 1.0))
    assert data.training.at_least == shortest_side_needed(64, 0.5)
    assert data.validation.at_least == 64


@pytest.mark.parametrize(("workers", "wanted"), [(0, (0, 0)), (1, (1, 1)), (2, (2, 1))])
def test_with_workers_nothing_is_decoded_in_the_training_process(photo_folder, workers, wanted):
    data = photos(photo_folder, workers=workers)
    loaders = data.train_dataloader(), data.val_dataloader()
    assert tuple(loader.num_workers for loader in loaders) == wanted
    assert all(loader.persistent_workers == (workers > 0) for loader in loaders)


def test_a_broken_photo_is_reported_once_and_recorded(photo_folder, caplog):
    data = photos(photo_folder)
    broken = data.training.pictures.files[2]
    Path(broken).write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        assert len(batches(data, 8)) == 8
    assert [record.getMessage() for record in caplog.records] == [f"{broken} can't be read and is skipped."]
    assert data.state_dict()["unreadable"] == [broken]


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"batch_size": 0}, {"held_out": 0}, {"workers": -1}],
    ids=lambda options: next(iter(options)),
)
def test_bad_arguments_are_refused(options):
    with pytest.raises(ValueError, match=r"data\.size, data\.batch_size and data\.held_out must be at least 1"):
        ImageFolderDataModule(root="anywhere", **options)


def test_one_photo_is_too_few(tmp_path):
    save_image(torch.rand(3, 20, 20), tmp_path / "only.png")
    with pytest.raises(ValueError, match="holds one photo, but training and validation need one each"):
        photos(tmp_path)
    photos(tmp_path, held_out_root=str(tmp_path))  # Unless there is a validation folder.


@pytest.mark.parametrize("options", [{}, {"held_out_root": "nowhere"}], ids=["root", "held_out_root"])
def test_a_folder_without_photos_is_refused_at_once(tmp_path, photo_folder, options):
    root = photo_folder if options else tmp_path / "nowhere"
    with pytest.raises(ValueError, match="nowhere, found no folder"):
        photos(root, **options)


def test_flip_is_the_share_of_flipped_crops(photo_folder):
    never, always = (batches(photos(photo_folder, flip=share), 1)[0] for share in (0.0, 1.0))
    assert torch.equal(always, never.flip(-1))
    assert not torch.equal(always, never)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the sender of a signal is unknown on this system")
def test_only_the_trainer_can_end_a_worker():
    def wait(ready):
        _leave_interrupts_to_the_trainer(0)
        ready.set()
        while True:
            time.sleep(0.005)

    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=wait, args=(ready,))
    worker.start()
    ready.wait()
    for name in ("INT", "TERM", "TERM"):
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
        worker.join(0.05)
        assert worker.is_alive()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_the_files_of_the_last_batches_are_remembered_while_training(photo_folder):
    data = photos(photo_folder)
    loaded = list(islice(data.train_dataloader(), 3))
    data.trainer = SimpleNamespace(training=True, world_size=2)
    for batch in loaded:
        data.on_after_batch_transfer(batch, 0)
    data.trainer = SimpleNamespace(training=False)
    data.on_after_batch_transfer(loaded[0], 0)
    assert [data.files_of(back) for back in range(4)] == [loaded[2].files, loaded[1].files, loaded[0].files, ()]
    assert data.files_of() == loaded[2].files
    assert set(data.files_of()) <= set(find_pictures(photo_folder))
    assert data.photos_seen == 3 * 3 * 2


@pytest.mark.parametrize(("workers", "length", "refused"), [(1, 76, True), (1, 75, False), (0, 76, False)])
def test_a_temporary_folder_with_a_long_path_is_refused(photo_folder, monkeypatch, workers, length, refused):
    monkeypatch.setattr(torch.multiprocessing, "get_sharing_strategy", lambda: "file_descriptor")
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * (length - 1))
    with pytest.raises(ValueError, match=r"76 bytes.*at most 75; set TMPDIR") if refused else nullcontext():
        photos(photo_folder, workers=workers)
