"""Photos are found in any tree, and one read at a position is the same whoever reads it, and when."""

import os
from pathlib import Path

import pytest
import torch
from torchvision.transforms import v2

from fast_style import save_image
from fast_style.data.folder import PhotoFolder, Photos, collate
from fast_style.folders import find_pictures
from fast_style.images import load_pixels


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def relative(root):
    return [os.path.relpath(file, root) for file in find_pictures(root)]


@pytest.mark.parametrize(
    "names",
    [
        ["a.jpg", "b.png"],
        ["2014/a.jpg", "2014/deep/er/b.jpeg", "c.webp"],
        ["A.JPG", "B.Png", "c.TIFF"],
        [".hidden/a.jpg", "with space/b.jpg"],
    ],
    ids=["flat", "nested", "case", "names"],
)
def test_pictures_are_found_sorted_whatever_the_tree(tmp_path, names):
    touch(tmp_path, *reversed(names), "notes.txt", "2014/more.json", "jpg", "archive.jpg.zip")
    assert relative(tmp_path) == sorted(names)


def test_links_to_pictures_and_folders_are_followed(tmp_path):
    touch(tmp_path / "elsewhere", "a.jpg", "deep/b.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/photos").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/one.jpg").symlink_to(tmp_path / "elsewhere/a.jpg")
    (tmp_path / "root/broken").symlink_to(tmp_path / "nowhere")
    assert relative(tmp_path / "root") == ["one.jpg", "photos/a.jpg", "photos/deep/b.jpg"]


def test_a_folder_linked_twice_is_listed_once(tmp_path):
    touch(tmp_path / "elsewhere", "a.jpg")
    (tmp_path / "root").mkdir()
    for name in ("first", "second"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "elsewhere")
    assert len(find_pictures(tmp_path / "root")) == 1


@pytest.mark.parametrize("target", ["deep", pytest.param(".")])
def test_a_link_loop_ends_and_lists_nothing_twice(tmp_path, target):
    touch(tmp_path, "a.jpg", "deep/b.jpg")
    (tmp_path / "deep/loop").symlink_to(tmp_path / target)
    assert relative(tmp_path) == ["a.jpg", "deep/b.jpg"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: None, "wanted at .*photos, where there is none"),
        (lambda root: root.touch(), "wanted at .*photos, where there is none"),
        (lambda root: root.mkdir(), "photos holds no pictures .*.jpg"),
        (lambda root: touch(root, "notes.txt", "deep/more.txt"), "photos holds no pictures"),
    ],
    ids=["missing", "file", "empty", "other-files"],
)
def test_no_pictures_is_said_in_one_line(tmp_path, make, sentence):
    make(tmp_path / "photos")
    with pytest.raises(ValueError, match=sentence) as caught:
        find_pictures(tmp_path / "photos")
    assert "\n" not in str(caught.value)


# ---- reading them

CROP = v2.Compose([v2.RandomResizedCrop(8, scale=(0.2, 1.0), antialias=True), v2.RandomHorizontalFlip()])


def test_a_sample_depends_on_seed_and_position_alone(photo_folder):
    files = find_pictures(photo_folder)
    samples = PhotoFolder(files, transform=CROP, seed=5)
    torch.manual_seed(1)
    one = samples[12, 2].pixels
    samples[13, 4]
    torch.manual_seed(2)
    again = PhotoFolder(files, transform=CROP, seed=5)[12, 2].pixels
    assert torch.equal(one, again)
    assert not torch.equal(one, samples[11, 2].pixels)


def test_the_seed_is_of_the_crops(photo_folder):
    files = find_pictures(photo_folder)
    crops = [PhotoFolder(files, transform=CROP, seed=seed)[12, 2].pixels for seed in (5, 6)]
    assert not torch.equal(*crops)


def test_reading_moves_no_global_chance(photo_folder):
    samples, before = PhotoFolder(find_pictures(photo_folder), transform=CROP, seed=0), torch.random.get_rng_state()
    samples[0, 3]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_sample_is_its_photo_in_bytes(photo_folder):
    files = find_pictures(photo_folder)
    samples = PhotoFolder(files, transform=lambda pixels: pixels, seed=0)
    assert len(samples) == len(files) == 10
    for index in (0, 9):
        photo = samples[77, index]
        assert photo.pixels.dtype == torch.uint8
        assert torch.equal(photo.pixels, load_pixels(files[index]))
        assert photo.unreadable == ()


@pytest.mark.parametrize(("broken", "index", "replaced"), [([3], 3, 4), ([8, 9, 0], 8, 1)])
def test_a_broken_file_is_replaced_by_the_next_and_named(photo_folder, broken, index, replaced):
    files = find_pictures(photo_folder)
    samples = PhotoFolder(files, transform=CROP, seed=0)
    wanted = samples[5, replaced].pixels
    for place in broken:
        Path(files[place]).write_bytes(Path(files[place]).read_bytes()[:60])
    photo = samples[5, index]
    assert torch.equal(photo.pixels, wanted)
    assert photo.unreadable == tuple(files[place] for place in broken)


def test_nothing_but_broken_files_is_said(tmp_path):
    touch(tmp_path, "a.jpg", "b.png")
    with pytest.raises(ValueError, match=r"None of 2 photos tried could be read, .*b\.png the first"):
        PhotoFolder(find_pictures(tmp_path), transform=CROP, seed=0)[0, 1]


def test_the_search_for_a_whole_file_ends(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    save_image(torch.rand(3, 9, 9), tmp_path / "d.png")
    samples = PhotoFolder(find_pictures(tmp_path), transform=CROP, seed=0)
    assert len(samples[0, 0].unreadable) == 3
    monkeypatch.setattr(PhotoFolder, "TRIES", 3)
    with pytest.raises(ValueError, match="None of 3 photos"):
        samples[0, 0]


def test_a_batch_is_its_photos_in_order():
    photos = [Photos(torch.full((3, 2, 2), i, dtype=torch.uint8), ("bad.jpg",) * i) for i in range(3)]
    batch = collate(photos)
    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.unreadable == ("bad.jpg", "bad.jpg", "bad.jpg")
