"""Targets: refused arguments, colours, regions and sizes."""

import re

import numpy as np
import pytest
import torch

from fast_style.image_optimization.loss import Style
from fast_style.image_optimization.targets import Targets

HEIGHT, WIDTH = 24, 36
WEIGHTS = np.array([0.299, 0.587, 0.114])


def random(*shape):
    """Return a random image, the same at every import."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def muted(*shape, mean):
    """Images with an anisotropic colour covariance, and values far from 0 and 1."""
    colours = torch.tensor([[1.0, 0.3, 0.0], [0.2, 0.6, 0.1], [0.5, 0.0, 0.4]])
    return torch.tensor(mean).view(3, 1, 1) + 0.1 * torch.einsum("ck,nkhw->nchw", colours, torch.rand(shape) - 0.5)


def region(*, rows=HEIGHT, columns=WIDTH, size=(HEIGHT, WIDTH)):
    """A mask: 1 in the first rows and columns, 0 elsewhere."""
    made = torch.zeros(1, 1, *size)
    made[..., :rows, :columns] = 1
    return made


def flat(*size):
    return torch.tensor([0.2, 0.7, 0.4]).view(1, 3, 1, 1).expand(1, 3, *size).clone()


def with_one(value, picture):
    changed = picture.clone()
    changed[0, 1, 3, 2] = value
    return changed


def luma_of(picture):
    return np.einsum("c,nchw->nhw", WEIGHTS, picture.double().numpy())[:, None]


def statistics(picture):
    """Mean and covariance over the pixels of `(1, C, H, W)`, by numpy."""
    values = picture[0].double().flatten(1).numpy()
    return values.mean(1), np.atleast_2d(np.cov(values, bias=True))


PHOTO, PAINTING = random(1, 3, HEIGHT, WIDTH), random(1, 3, 30, 20)
PICTURE = PHOTO.flip(1).square()  # The optimised image.
STYLES = [Style(PAINTING)]

# ---- refused

REFUSED = {
    "flat photo": (flat(8, 9), STYLES, {}, "The photo has only one colour"),
    "nearly flat photo": (flat(8, 9) + 0.003 * random(1, 3, 8, 9), STYLES, {}, "The photo has only one colour"),
    "one pixel": (random(1, 3, 1, 1), STYLES, {}, "The photo has only one colour"),
    "flat painting": (PHOTO, [Style(flat(8, 9))], {}, "The style image has only one colour"),
    "flat second painting": (PHOTO, [*STYLES, Style(flat(8, 9))], {}, "Style image 2 has only one colour"),
    "flat painting of a texture": (None, [Style(flat(8, 9))], {"size": (9, 9)}, "The style image has only one colour"),
    "empty photo": (torch.zeros(1, 3, 0, 7), STYLES, {}, "The photo has no pixels, its size is 7x0"),
    "empty painting": (PHOTO, [Style(torch.zeros(1, 3, 5, 0))], {}, "The style image has no pixels, its size is 0x5"),
    "NaN in photo": (with_one(torch.nan, PHOTO), STYLES, {}, "The photo contains NaN"),
    "infinity in painting": (PHOTO, [Style(with_one(torch.inf, PAINTING)), *STYLES], {}, "Style image 1 contains NaN"),
    "bytes": (PHOTO.mul(255).byte(), STYLES, {}, "The photo must be a float tensor (1, 3, H, W)", "torch.uint8"),
    "integers": (PHOTO, [Style(PAINTING.long())], {}, "The style image must be a float tensor", "torch.int64"),
    "no batch": (PHOTO[0], STYLES, {}, "The photo must be", "(3, 24, 36)"),
    "two photos": (PHOTO.repeat(2, 1, 1, 1), STYLES, {}, "The photo must be", "(2, 3, 24, 36)"),
    "grey photo": (PHOTO[:, :1], STYLES, {}, "The photo must be", "(1, 1, 24, 36)"),
    "alpha": (PHOTO, [Style(random(1, 4, 9, 9))], {}, "The style image must be", "(1, 4, 9, 9)"),
    "channels last": (PHOTO.movedim(1, -1), STYLES, {}, "The photo must be", "(1, 24, 36, 3)"),
    "mask of another size": (
        PHOTO,
        [Style(PAINTING, region=region(size=(HEIGHT, 30)))],
        {},
        "The mask of the style image has 30x24 pixels, but the result has 36x24",
    ),
    "second mask of another size": (
        PHOTO,
        [*STYLES, Style(PAINTING, region=region(size=(WIDTH, HEIGHT)))],
        {},
        "The mask of style image 2 has 24x36 pixels, but the result has 36x24",
    ),
    "mask of no batch": (
        PHOTO,
        [Style(PAINTING, region=region()[0])],
        {},
        "The mask of the style image",
        "(1, 24, 36)",
    ),
    "mask of no channel": (
        PHOTO,
        [Style(PAINTING, region=region()[0, 0])],
        {},
        "The mask of the style image",
        "(24, 36)",
    ),
    "mask of one row": (PHOTO, [Style(PAINTING, region=region()[0, 0, 0])], {}, "The mask of the style image", "(36,)"),
    "mask of three channels": (
        PHOTO,
        [*STYLES, Style(PAINTING, region=region().expand(1, 3, -1, -1))],
        {},
        "The mask of style image 2",
        "(1, 3, 24, 36)",
    ),
    "two masks": (
        PHOTO,
        [Style(PAINTING, region=region().repeat(2, 1, 1, 1))],
        {},
        "The mask of the style image",
        "(2, 1, 24, 36)",
    ),
    "mask of truths": (
        PHOTO,
        [Style(PAINTING, region=region().bool())],
        {},
        "The mask of the style image",
        "torch.bool",
    ),
    "mask of bytes": (
        PHOTO,
        [Style(PAINTING, region=region().byte())],
        {},
        "The mask of the style image",
        "torch.uint8",
    ),
    "empty mask": (PHOTO, [Style(PAINTING, region=region(rows=0))], {}, "The mask of the style image is empty"),
    "unknown color": (PHOTO, STYLES, {"color": "sepia"}, "style, keep, match", "'sepia'"),
    "texture that keeps colours": (None, STYLES, {"size": (9, 9), "color": "keep"}, "A texture has no photo"),
    "texture of matched colours": (None, STYLES, {"size": (9, 9), "color": "match"}, "A texture has no photo"),
    "texture in a mask": (
        None,
        [Style(PAINTING, region=region())],
        {"size": (HEIGHT, WIDTH)},
        "A texture has no photo",
    ),
    "texture of no size": (None, STYLES, {}, "A texture needs a height and a width", "got None"),
    "texture of no width": (None, STYLES, {"size": (5, 0)}, "A texture needs a height and a width", "got (5, 0)"),
    "photo of another size": (PHOTO, STYLES, {"size": (24, 35)}, "at its own size, (24, 36)", "got (24, 35)"),
    "no scale": (PHOTO, STYLES, {"style_scale": 0.0}, "style_scale must be above 0", "got 0.0"),
    "negative scale": (PHOTO, STYLES, {"style_scale": -1.5}, "style_scale must be above 0", "got -1.5"),
    "no style size": (PHOTO, STYLES, {"style_size": 0}, "style_size at least 1", "1.0 and 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_painted_is_refused_in_a_sentence(case):
    content, styles, options, *said = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(said[0])) as caught:
        Targets(content, styles, **options)
    sentence = str(caught.value)
    assert all(part in sentence for part in said)
    assert sentence.endswith(".")
    assert not re.search(r"\n|\. ", sentence)


@pytest.mark.parametrize("photo", [PHOTO, None], ids=["photo", "texture"])
def test_what_can_be_painted_is_not_refused(photo):
    size = (HEIGHT, WIDTH)
    for color in ("style",) if photo is None else ("style", "keep", "match"):
        assert Targets(photo, STYLES, size=size, color=color).size == size
    assert Targets(PHOTO, STYLES).size == size
    Targets(flat(8, 9) + 0.01 * random(1, 3, 8, 9), STYLES)


# ---- colours


def test_the_paintings_colours_are_as_they_are():
    targets = Targets(PHOTO, STYLES)
    assert torch.equal(targets.content_at((HEIGHT, WIDTH)), PHOTO)
    (style,) = targets.styles_at((HEIGHT, WIDTH))
    assert torch.equal(style.picture, PAINTING)
    assert torch.equal(targets.finished(PICTURE), PICTURE)


def test_matched_paintings_have_the_photos_mean_and_covariance():
    photo = muted(1, 3, HEIGHT, WIDTH, mean=[0.3, 0.5, 0.6])
    styles = [Style(0.5 * random(1, 3, 20, n) ** 2 + 0.1, weight=n) for n in (15, 25)]
    targets = Targets(photo, styles, color="match")
    assert torch.equal(targets.content_at((HEIGHT, WIDTH)), photo)
    found = targets.styles_at((HEIGHT, WIDTH))
    assert [style.weight for style in found] == [15, 25]
    mean, covariance = statistics(photo)
    for style in found:
        np.testing.assert_allclose(statistics(style.picture)[0], mean, rtol=0, atol=1e-5)
        np.testing.assert_allclose(statistics(style.picture)[1], covariance, rtol=0, atol=1e-6)
    assert torch.equal(targets.finished(PICTURE), PICTURE)


def test_kept_colours_are_the_photos_and_the_light_is_the_pictures():
    photo = muted(1, 3, HEIGHT, WIDTH, mean=[0.3, 0.5, 0.6])
    picture = muted(1, 3, HEIGHT, WIDTH, mean=[0.6, 0.4, 0.4])
    found = Targets(photo, STYLES, color="keep").finished(picture)
    chroma = photo.double().numpy() - luma_of(photo)
    np.testing.assert_allclose(luma_of(found), luma_of(picture), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.double().numpy() - luma_of(found), chroma, rtol=0, atol=1e-6)


def test_where_colours_do_not_fit_the_light_still_does():
    found = Targets(PHOTO, STYLES, color="keep").finished(PICTURE)
    np.testing.assert_allclose(luma_of(found), luma_of(PICTURE), rtol=0, atol=1e-6)
    assert found.min() >= 0
    assert found.max() <= 1


def test_to_keep_colours_only_light_is_painted():
    photo = muted(1, 3, HEIGHT, WIDTH, mean=[0.3, 0.5, 0.6])
    targets = Targets(photo, [Style(PAINTING), Style(random(1, 3, 9, 9), weight=3)], color="keep")
    painted_from = targets.content_at((HEIGHT, WIDTH))
    np.testing.assert_allclose(painted_from, np.broadcast_to(luma_of(photo), photo.shape), rtol=0, atol=1e-6)
    (mean,), ((variance,),) = statistics(painted_from[:, :1])
    styles = targets.styles_at((HEIGHT, WIDTH))
    assert [style.weight for style in styles] == [1, 3]
    for style in styles:
        grey = style.picture
        assert torch.equal(grey, grey[:, :1].expand_as(grey))
        np.testing.assert_allclose(statistics(grey[:, :1])[0], [mean], rtol=0, atol=1e-5)
        np.testing.assert_allclose(statistics(grey[:, :1])[1], [[variance]], rtol=0, atol=1e-6)


def test_on_the_way_the_photos_colours_are_kept_at_the_pictures_size():
    left, right = (torch.tensor(colour).view(1, 3, 1, 1) for colour in ([0.2, 0.7, 0.4], [0.4, 0.2, 0.7]))
    photo = torch.cat([left.expand(-1, -1, HEIGHT, WIDTH // 2), right.expand(-1, -1, HEIGHT, WIDTH // 2)], -1)
    found = Targets(photo, STYLES, color="keep").finished(torch.full((1, 3, 12, 18), 0.5))
    assert found.shape == (1, 3, 12, 18)
    for half, colour in ((found[..., :7], left), (found[..., -7:], right)):
        expected = 0.5 + colour - torch.from_numpy(luma_of(colour)).float()
        torch.testing.assert_close(half, expected.expand_as(half), rtol=0, atol=1e-3)


# ---- regions


@pytest.mark.parametrize("color", ["style", "keep", "match"])
def test_outside_of_all_regions_the_photo_stays_exactly(color):
    upper, left = region(rows=8), region(columns=10)
    targets = Targets(PHOTO, [Style(PAINTING, region=upper), Style(PAINTING, region=left)], color=color)
    found = targets.finished(PICTURE)
    assert torch.equal(found[..., 8:, 10:], PHOTO[..., 8:, 10:])
    everywhere = Targets(PHOTO, STYLES, color=color).finished(PICTURE)
    painted = (upper + left > 0).expand_as(found)
    torch.testing.assert_close(found[painted], everywhere[painted], rtol=0, atol=1e-6)
    assert (found - PHOTO)[painted].abs().mean() > 0.05


def test_at_a_regions_soft_edge_picture_and_photo_mix():
    found = Targets(PHOTO, [Style(PAINTING, region=0.25 * region())]).finished(PICTURE)
    torch.testing.assert_close(found, 0.75 * PHOTO + 0.25 * PICTURE)


def test_a_style_without_a_region_paints_everywhere():
    targets = Targets(PHOTO, [Style(PAINTING, region=region(rows=3)), Style(PAINTING)])
    assert torch.equal(targets.finished(PICTURE), PICTURE)


def test_regions_and_the_photo_grow_with_the_picture():
    targets = Targets(PHOTO, [Style(PAINTING, region=region(columns=WIDTH // 2)), Style(PAINTING)])
    half, everywhere = targets.styles_at((12, 18))
    assert everywhere.region is None
    assert half.region.shape == (1, 1, 12, 18)
    assert half.region[..., :7].min() > 0.99
    assert half.region[..., 11:].max() < 0.01
    assert targets.content_at((12, 18)).shape == (1, 3, 12, 18)
    alone = Targets(PHOTO, [Style(PAINTING, region=region(columns=WIDTH // 2))])
    found = alone.finished(torch.ones(1, 3, 12, 18))
    assert found[..., :7].min() > 0.99
    torch.testing.assert_close(found[..., 11:], targets.content_at((12, 18))[..., 11:])


# ---- size of the style images


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({}, (24, 36), (36, 18)),
        ({}, (12, 18), (18, 9)),
        ({"style_scale": 0.5}, (24, 36), (18, 9)),
        ({"style_scale": 1.5}, (24, 36), (54, 27)),
        ({"style_scale": 3.0}, (24, 36), (100, 50)),
        ({"style_scale": 3.0}, (12, 18), (54, 27)),
        ({"style_size": 30}, (24, 36), (60, 30)),
        ({"style_size": 30}, (12, 18), (30, 15)),
        ({"style_size": 80}, (24, 36), (100, 50)),
        ({"style_size": 80}, (12, 18), (80, 40)),
    ],
)
def test_the_paintings_size_goes_with_the_pictures_and_is_never_enlarged(options, size, expected):
    # An upright style image with a landscape photo.
    targets = Targets(PHOTO, [Style(random(1, 3, 100, 50)), Style(random(1, 3, 10, 5))], **options)
    large, small = targets.styles_at(size)
    assert large.picture.shape[-2:] == expected
    assert torch.equal(small.picture, random(1, 3, 10, 5))


def test_a_texture_has_its_paintings_and_nothing_to_show():
    targets = Targets(None, [Style(random(1, 3, 100, 50))], size=(40, 20), style_scale=0.5)
    assert targets.content_at((20, 10)) is None
    assert [style.picture.shape[-2:] for style in targets.styles_at((20, 10))] == [(10, 5)]
    picture = random(1, 3, 20, 10)
    assert torch.equal(targets.finished(picture), picture)


# ---- arguments


@pytest.mark.parametrize("color", ["style", "keep", "match"])
def test_nothing_given_is_changed(color):
    given = [random(1, 3, HEIGHT, WIDTH), random(1, 3, 30, 20), region(rows=5), PICTURE.clone()]
    before = [tensor.clone() for tensor in given]
    photo, painting, mask, picture = given
    styles = [Style(painting, region=mask)]
    targets = Targets(photo, styles, color=color)
    for size in ((HEIGHT, WIDTH), (12, 18)):
        targets.styles_at(size)
        targets.content_at(size)
    targets.finished(picture)
    assert all(torch.equal(x, y) for x, y in zip(given, before, strict=True))
    assert styles[0].picture is painting
    assert styles[0].region is mask


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("color", ["style", "keep", "match"])
def test_floats_of_other_widths_become_float32(dtype, color):
    styles = [Style(PAINTING.to(dtype), region=region(rows=3).to(dtype))]
    targets = Targets(PHOTO.to(dtype), styles, color=color)
    (style,) = targets.styles_at((12, 18))
    assert style.picture.dtype == style.region.dtype == torch.float32
    assert targets.content_at((12, 18)).dtype == torch.float32
    assert targets.finished(random(1, 3, 12, 18)).dtype == torch.float32


def test_gradients_stay_outside():
    photo, painting, mask = (tensor.clone().requires_grad_() for tensor in (PHOTO, PAINTING, region(rows=3)))
    targets = Targets(photo, [Style(painting, region=mask)])
    (style,) = targets.styles_at((12, 18))
    kept = [targets.content_at((12, 18)), style.picture, style.region, targets.finished(PICTURE)]
    assert not any(tensor.requires_grad for tensor in kept)
