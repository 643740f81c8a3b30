"""The photo at a position is always the same, in any process and at any time."""

from pathlib import Path

import pytest
import torch
from torchvision.transforms import v2

from fast_style import save_image
from fast_style.data.dataset import PhotoDataset, Photos, collate
from fast_style.data.image_folder import PictureFiles
from fast_style.images.listing import find_pictures
from fast_style.images.tensors import load_pixels

CROP = v2.Compose([v2.RandomResizedCrop(8, scale=(0.2, 1.0), antialias=True), v2.RandomHorizontalFlip()])


def test_a_sample_depends_on_seed_and_position_alone(photo_folder):
    files = find_pictures(photo_folder)
    samples = PhotoDataset(PictureFiles(files), transform=CROP, seed=5)
    torch.manual_seed(1)
    one = samples[12, 2].pixels
    samples[13, 4]
    torch.manual_seed(2)
    again = PhotoDataset(PictureFiles(files), transform=CROP, seed=5)[12, 2].pixels
    assert torch.equal(one, again)
    assert not torch.equal(one, samples[11, 2].pixels)


def test_another_seed_gives_other_crops(photo_folder):
    files = find_pictures(photo_folder)
    crops = [PhotoDataset(PictureFiles(files), transform=CROP, seed=seed)[12, 2].pixels for seed in (5, 6)]
    assert not torch.equal(*crops)


def test_reading_does_not_change_the_global_generator(photo_folder):
    samples, before = (
        PhotoDataset(PictureFiles(find_pictures(photo_folder)), transform=CROP, seed=0),
        torch.random.get_rng_state(),
    )
    samples[0, 3]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_sample_is_its_photo_as_uint8(photo_folder):
    files = find_pictures(photo_folder)
    samples = PhotoDataset(PictureFiles(files), transform=lambda pixels: pixels, seed=0)
    assert len(samples) == len(files) == 10
    for index in (0, 9):
        photo = samples[77, index]
        assert photo.pixels.dtype == torch.uint8
        assert torch.equal(photo.pixels, load_pixels(files[index]))
        assert photo.unreadable == ()


@pytest.mark.parametrize(("broken", "index", "replaced"), [([3], 3, 4), ([8, 9, 0], 8, 1)])
def test_a_broken_file_is_replaced_by_the_next_and_named(photo_folder, broken, index, replaced):
    files = find_pictures(photo_folder)
    samples = PhotoDataset(PictureFiles(files), transform=CROP, seed=0)
    wanted = samples[5, replaced].pixels
    for place in broken:
        Path(files[place]).write_bytes(Path(files[place]).read_bytes()[:60])
    photo = samples[5, index]
    assert torch.equal(photo.pixels, wanted)
    assert photo.unreadable == tuple(files[place] for place in broken)


def test_a_folder_of_broken_files_only_is_refused(tmp_path):
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"None of the 2 photos tried could be read \(first: .*b\.png\)"):
        PhotoDataset(PictureFiles(find_pictures(tmp_path)), transform=CROP, seed=0)[0, 1]


def test_the_search_for_a_readable_file_ends(tmp_path, monkeypatch):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).touch()
    save_image(torch.rand(3, 9, 9), tmp_path / "d.png")
    samples = PhotoDataset(PictureFiles(find_pictures(tmp_path)), transform=CROP, seed=0)
    assert len(samples[0, 0].unreadable) == 3
    monkeypatch.setattr(PhotoDataset, "TRIES", 3)
    with pytest.raises(ValueError, match="None of the 3 photos"):
        samples[0, 0]


def test_a_batch_contains_its_photos_in_order():
    photos = [Photos(torch.full((3, 2, 2), i, dtype=torch.uint8), ("bad.jpg",) * i) for i in range(3)]
    batch = collate(photos)
    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.unreadable == ("bad.jpg", "bad.jpg", "bad.jpg")
