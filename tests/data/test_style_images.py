"""A style image is found, and loaded in the requested sizes and crops."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from fast_style import load_image, save_image
from fast_style.data.style_images import load_style, pictures_of, style_name

SHAPES = {"wide": (40, 90), "tall": (90, 40), "square": (48, 48)}


def catalogued(name, **changes):
    """The settings of a style with an original that can't be downloaded."""
    said = {
        "work": "Nobody, Nothing, 1900",
        "texture": f"{name}.png",
        "url": f"http://127.0.0.1:1/{name}.jpg",
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
    }
    return {"image": None, "source": "texture", "cache": "cache", "pictures": {name: said}} | changes


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with the texture and the original of `dots`."""
    monkeypatch.chdir(tmp_path)
    Path("dots.png").touch()
    Path("cache").mkdir()
    Path("cache/dots.jpg").write_text("dots")
    return tmp_path


def test_the_texture_is_used_unless_the_painting_is_requested(here):
    assert pictures_of(catalogued("dots")) == [here / "dots.png"]
    assert pictures_of(catalogued("dots", source="painting")) == [here / "cache" / "dots.jpg"]


@pytest.mark.parametrize("source", ["texture", "painting", "nonsense"])
def test_your_own_image_takes_precedence(source):
    assert pictures_of(catalogued("dots", source=source, image="my.jpg")) == ["my.jpg"]
    assert pictures_of(catalogued("dots", source=source, image=["a.jpg", "b.jpg"])) == ["a.jpg", "b.jpg"]
    assert pictures_of({"image": "my.jpg"}) == ["my.jpg"]  # As in configurations saved before there were textures.


def test_several_styles_keep_their_order(here):
    Path("waves.png").touch()
    both = catalogued("waves")["pictures"] | catalogued("dots")["pictures"]
    assert pictures_of(catalogued("dots", pictures=both)) == [here / "waves.png", here / "dots.png"]
    assert pictures_of(catalogued("dots", pictures={})) == []


@pytest.mark.parametrize(
    ("style", "said"),
    [
        (catalogued("dots", source="photo"), "style.source must be texture or painting; got 'photo'"),
        (catalogued("waves"), "texture of waves was wanted at .*waves.png, found nothing.*style.image="),
        (
            catalogued("dots", pictures={"dots": {"work": "", "url": "", "sha256": ""}}),
            "dots has no texture; set style.source=painting",
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_an_unavailable_style_image_is_reported(style, said):
    with pytest.raises(ValueError, match=said):
        pictures_of(style)


@pytest.fixture(params=SHAPES)
def painting(request, tmp_path):
    save_image(torch.rand(3, *SHAPES[request.param]), tmp_path / f"{request.param}.png")
    return tmp_path / f"{request.param}.png"


@pytest.mark.parametrize("size", [16, 20, [16, 24], (32,), [24, 16, 20]], ids=str)
def test_every_size_is_the_shorter_side(painting, size):
    sizes = [size] if isinstance(size, int) else size
    pictures = load_style(painting, size=size)
    assert [min(picture.shape[-2:]) for picture in pictures] == list(sizes)
    for side, picture in zip(sizes, pictures, strict=True):
        assert torch.equal(picture, load_image(painting, size=side))


@pytest.mark.parametrize("crops", [2, 3, 5])
def test_crops_are_squares_evenly_spaced_from_end_to_end(painting, crops):
    whole = load_image(painting, size=16)[0]
    squares = load_style(painting, size=16, crops=crops)
    spare = max(whole.shape[1:]) - 16
    along_width = whole.shape[2] >= whole.shape[1]
    assert len(squares) == crops
    for i, square in enumerate(squares):
        start = round(i * spare / (crops - 1))
        expected = whole[:, :, start : start + 16] if along_width else whole[:, start : start + 16]
        assert square.shape == (1, 3, 16, 16)
        assert torch.equal(square[0], expected)


def test_every_size_has_its_crops(painting):
    assert [s.shape[-1] for s in load_style(painting, size=[16, 24], crops=3)] == [16, 16, 16, 24, 24, 24]


@pytest.mark.parametrize("brush", [0.5, 1.5, 2])
def test_a_brush_multiplies_every_size_and_cuts_crops_afterwards(painting, brush):
    pictures = load_style(painting, size=[32, 40], brush=brush)
    assert [min(picture.shape[-2:]) for picture in pictures] == [32 * brush, 40 * brush]
    assert [c.shape[-2:] for c in load_style(painting, size=32, brush=brush, crops=2)] == 2 * [(32 * brush, 32 * brush)]


def test_a_broad_brush_shows_no_detail_that_the_given_size_lacks(tmp_path):
    rows = torch.arange(64) % 2
    save_image(rows.float()[None, :, None].expand(3, 64, 64), tmp_path / "lines.png")
    middle = np.s_[..., 8:-8, 8:-8]
    assert load_style(tmp_path / "lines.png", size=64)[0][middle].std() > 0.4
    (broad,) = load_style(tmp_path / "lines.png", size=32, brush=2)
    assert broad.shape[-2:] == (64, 64)
    assert broad[middle].std() < 0.02


@pytest.mark.parametrize(
    "options", [{"size": 15}, {"size": [32, 8]}, {"size": []}, {"crops": 0}, {"size": 20, "brush": 0.75}], ids=str
)
def test_bad_sizes_and_crops_are_refused(tmp_path, options):
    save_image(torch.rand(3, 20, 20), tmp_path / "wave.png")
    with pytest.raises(ValueError, match="sizes of at least 16 and 1 or more crops"):
        load_style(tmp_path / "wave.png", **options)


def test_a_missing_style_image_is_reported(tmp_path):
    with pytest.raises(ValueError, match=r"wave\.jpg, found nothing"):
        load_style(tmp_path / "wave.jpg")


@pytest.mark.parametrize(
    ("arguments", "name"), [(("a/wave.jpg",), "wave"), (("a/wave.jpg", None), "wave"), (("a/wave.jpg", "sea"), "sea")]
)
def test_a_style_has_its_given_name_or_that_of_its_image(arguments, name):
    assert style_name(*arguments) == name


def test_a_texture_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    style = {"image": None, "source": "texture", "pictures": {"wave": {"texture": "data/styles/wave.png"}}}
    (found,) = pictures_of(style)
    assert load_image(found).shape == (1, 3, 512, 512)
    save_image(load_image(found)[..., :32, :32], tmp_path / "data/styles/wave.png")
    assert pictures_of(style) == [tmp_path / "data/styles/wave.png"]  # The current folder comes first.
