"""Images are found in any folder tree."""

import os

import pytest

from fast_style.images.decode import PICTURE_SUFFIXES
from fast_style.images.listing import UNSUPPORTED_SUFFIXES, count_unsupported, find_pictures


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


def test_files_of_unsupported_formats_are_counted_by_suffix(tmp_path):
    touch(tmp_path, "a.jpg", "b.HEIC", "deep/c.heic", "deep/d.nef", "notes.txt", "heic")
    assert count_unsupported(tmp_path) == {".heic": 2, ".nef": 1}
    assert not UNSUPPORTED_SUFFIXES & PICTURE_SUFFIXES


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
        (lambda root: None, "Expected a folder of images at .*photos, found no folder"),
        (lambda root: root.touch(), "Expected a folder of images at .*photos, found no folder"),
        (lambda root: root.mkdir(), "photos holds no images .*.jpg"),
        (lambda root: touch(root, "notes.txt", "deep/more.txt"), "photos holds no images"),
    ],
    ids=["missing", "file", "empty", "other-files"],
)
def test_a_folder_without_images_is_refused_in_one_line(tmp_path, make, sentence):
    make(tmp_path / "photos")
    with pytest.raises(ValueError, match=sentence) as caught:
        find_pictures(tmp_path / "photos")
    assert "\n" not in str(caught.value)
