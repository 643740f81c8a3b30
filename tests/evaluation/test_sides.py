"""Networks and folders as sides: files are found by name, and all images of a photo have one size."""

from pathlib import Path

import pytest
import torch

from fast_style import load_image, save_image
from fast_style.evaluation.sides import (
    FolderSide,
    NetworkSide,
    from_folder,
    load_photo,
    load_pictures,
    side_names,
    stylized,
)


def flat(path: Path, level: int, height: int = 20, width: int = 30) -> str:
    save_image(torch.full((3, height, width), level / 255), path)
    return str(path)


def level_of(file: str) -> int:
    return round(load_image(file).mean().item() * 255)


@pytest.mark.parametrize(("size", "shape"), [(None, (20, 30)), (16, (16, 24))])
def test_photos_are_painted_at_the_size_asked_for(tmp_path: Path, size: int | None, shape: tuple[int, int]) -> None:
    save_image(torch.rand(1, 3, 20, 30), tmp_path / "a.png")
    [(painted, photo)] = stylized(lambda pixels: 1 - pixels, [str(tmp_path / "a.png")], size=size)
    assert photo.shape == (1, 3, *shape)
    assert torch.equal(photo, load_image(tmp_path / "a.png", size=size))
    assert torch.equal(painted, 1 - photo)


def test_smaller_photos_can_keep_their_size(tmp_path: Path) -> None:
    file = flat(tmp_path / "a.png", 100)
    shapes = {(s, larger): load_photo(file, size=s, enlarge=larger).shape for s in (16, 40) for larger in (True, False)}
    assert shapes[16, True] == shapes[16, False] == (1, 3, 16, 24)
    assert shapes[40, True] == (1, 3, 40, 60)
    assert shapes[40, False] == (1, 3, 20, 30)


@pytest.mark.parametrize(
    "names",
    [
        {"a": "a.png", "b": "b.jpg"},
        {"a": "a_wave.png", "b": "deep/b_wave.png"},
        {"a": "a_sea.png", "ab": "ab_sea.png"},
        {"a": "a_wave.png", "a_b": "a_b_wave.png"},
    ],
    ids=["name", "name-and-style", "beginnings", "longer-names"],
)
def test_stylized_images_are_found_by_their_photos_names(tmp_path: Path, names: dict[str, str]) -> None:
    for level, (photo, name) in enumerate(names.items()):
        flat(tmp_path / f"photos/{photo}.png", 0)
        flat(tmp_path / "painted" / name, 100 * level)
    files = [str(tmp_path / f"photos/{photo}.png") for photo in names]
    side = from_folder(str(tmp_path / "painted"), files)
    assert side.name == "painted"
    assert [level_of(side.pictures[file]) for file in files] == [0, 100]


def test_an_equal_name_has_priority_over_a_longer_one(tmp_path: Path) -> None:
    flat(tmp_path / "painted/a.png", 200)
    flat(tmp_path / "painted/a_wave.png", 100)
    photo = flat(tmp_path / "a.png", 0)
    assert level_of(from_folder(str(tmp_path / "painted"), [photo]).pictures[photo]) == 200


def test_a_photo_without_a_stylized_image_is_refused(tmp_path: Path) -> None:
    flat(tmp_path / "painted/ab_wave.png", 100)
    with pytest.raises(ValueError, match=r"image of .*a\.png in .*painted, found no file named a or a_\*"):
        from_folder(str(tmp_path / "painted"), [flat(tmp_path / "a.png", 0)])


def test_all_sides_of_a_photo_have_the_size_of_the_folders_images(tmp_path: Path) -> None:
    photo, painted = flat(tmp_path / "a.png", 0, 40, 60), flat(tmp_path / "painted/a.png", 100, 16, 24)
    network = NetworkSide("network", lambda pixels: pixels)
    folder = FolderSide("folder", {photo: painted})
    read, found = load_pictures([network, folder], photo, size=8)
    assert read.shape == (1, 3, 16, 24)
    assert found[0] is None
    assert found[1] is not None
    assert torch.equal(found[1], load_image(painted))
    read, found = load_pictures([network], photo, size=8)
    assert (read.shape, found) == ((1, 3, 8, 12), [None])
    assert load_pictures([network], photo, size=80)[0].shape == (1, 3, 40, 60)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [([(16, 24), (20, 30)], "one 24x16, two 30x20, the photo 24x16"), ([(16, 20)], "one 20x16, the photo 24x16")],
)
def test_images_of_unequal_size_are_refused(tmp_path: Path, sizes: list[tuple[int, int]], sentence: str) -> None:
    photo = flat(tmp_path / "a.png", 0, 40, 60)
    sides = [
        FolderSide(name, {photo: flat(tmp_path / name / "a.png", 100, *size)})
        for name, size in zip(("one", "two"), sizes, strict=False)
    ]
    with pytest.raises(ValueError, match=rf"of .*a\.png must have one size, with its aspect ratio; found {sentence}\."):
        load_pictures(sides, photo, size=None)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["checkpoints/wave.safetensors"], ["wave"]),
        (["checkpoints/wave.safetensors", "new/wave.safetensors"], ["checkpoints/wave", "new/wave"]),
        (["checkpoints/wave.safetensors", "/published/wave"], ["checkpoints/wave", "published/wave"]),
        (["a/b/c", "b/c", "d"], ["a/b/c", "b/c", "d"]),
        (["wave", "wave"], ["wave", "wave (2)"]),
        (["/a/wave/", "/a/sea"], ["wave", "sea"]),
    ],
)
def test_names_are_short_and_different(paths: list[str], expected: list[str]) -> None:
    assert side_names(paths) == expected
