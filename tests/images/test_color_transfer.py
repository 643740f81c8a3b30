"""Luma, chroma and colour matching follow their formulas, for every image."""

import numpy as np
import pytest
import torch

from fast_style.images.color_transfer import luminance, match_colors, match_luminance, with_luminance

WEIGHTS = np.array([0.299, 0.587, 0.114])


def luma_of(pictures):
    return np.einsum("c,nchw->nhw", WEIGHTS, pictures.double().numpy())[:, None]


def statistics(picture):
    """Mean and covariance over the pixels of one (C, H, W), by numpy."""
    values = picture.double().flatten(1).numpy()
    return values.mean(1), np.atleast_2d(np.cov(values, bias=True))


def muted(*shape, spread=0.2):
    """Images with a different colour variance in every direction, far from 0 and 1."""
    colours = torch.tensor([[1.0, 0.3, 0.0], [0.2, 0.6, 0.1], [0.5, 0.0, 0.4]])
    return (
        0.4
        + torch.tensor([0.1, 0.0, 0.15]).view(3, 1, 1)
        + spread * torch.einsum("ck,nkhw->nchw", colours, torch.rand(shape) - 0.5)
    )


@pytest.fixture
def vivid():
    """Images with all kinds of colours, including the corners of the RGB cube."""
    pictures = torch.rand(2, 3, 8, 9)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).T  # (3, 8)
    pictures[0, :, :, 0] = corners
    return pictures


def test_luminance_is_rec_601(vivid):
    found = luminance(vivid)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), luma_of(vivid), rtol=0, atol=1e-6)
    primaries = torch.eye(3).view(3, 3, 1, 1)
    np.testing.assert_allclose(luminance(primaries).flatten(), WEIGHTS, rtol=1e-6)


def test_an_images_own_luma_changes_nothing(vivid):
    torch.testing.assert_close(with_luminance(vivid, luminance(vivid)), vivid, rtol=0, atol=1e-6)


def test_chroma_that_fits_is_kept():
    pictures = muted(2, 3, 6, 7)
    luma = luminance(pictures) + 0.1 * torch.rand(2, 1, 6, 7)
    expected = pictures.double().numpy() + luma.double().numpy() - luma_of(pictures)
    np.testing.assert_allclose(with_luminance(pictures, luma).numpy(), expected, rtol=0, atol=1e-6)


def chroma_kept_by_bisection(chroma, luma):
    """The largest share of the chroma of one pixel that fits into 0..1 at this luma."""
    low, high = 0.0, 1.0
    if np.all((luma + chroma >= 0) & (luma + chroma <= 1)):
        return high
    for _ in range(60):
        middle = (low + high) / 2
        fits = np.all((luma + middle * chroma >= 0) & (luma + middle * chroma <= 1))
        low, high = (middle, high) if fits else (low, middle)
    return low


def test_chroma_that_does_not_fit_shrinks_exactly_to_the_gamut(vivid):
    luma = torch.rand(2, 1, 8, 9)
    found = with_luminance(vivid, luma)
    clamped_instead = (vivid + luma - luminance(vivid)).clamp(0, 1)
    assert np.abs(luma_of(clamped_instead) - luma.numpy()).max() > 0.1  # Clamping would change the luma.
    np.testing.assert_allclose(luma_of(found), luma.numpy(), rtol=0, atol=1e-6)
    shares = []
    for n, y, x in np.ndindex(2, 8, 9):
        wanted = luma[n, 0, y, x].double().item()
        chroma = vivid[n, :, y, x].double().numpy() - luma_of(vivid)[n, 0, y, x]
        shares.append(chroma_kept_by_bisection(chroma, wanted))
        np.testing.assert_allclose(found[n, :, y, x].numpy(), wanted + shares[-1] * chroma, rtol=0, atol=2e-6)
    assert min(shares) < 0.5
    assert max(shares) == 1


def test_rounding_errors_stay_in_the_gamut():
    found = with_luminance(torch.rand(4, 3, 100, 100), torch.rand(4, 1, 100, 100))
    assert (found.min(), found.max()) == (0, 1)


@pytest.mark.parametrize(("luma", "grey"), [(0.0, 0.0), (1.0, 1.0), (-0.5, 0.0), (1.5, 1.0)])
def test_black_and_white_have_no_chroma(vivid, luma, grey):
    found = with_luminance(vivid, torch.full((2, 1, 8, 9), luma))
    torch.testing.assert_close(found, torch.full_like(found, grey), rtol=0, atol=1e-6)


def test_greys_stay_grey():
    luma = torch.rand(1, 1, 5, 5)
    found = with_luminance(torch.rand(1, 1, 5, 5).expand(1, 3, 5, 5), luma)
    torch.testing.assert_close(found, luma.expand_as(found), rtol=0, atol=1e-6)


def test_luma_takes_the_photos_mean_and_deviation():
    style, photo = 0.1 + 0.2 * torch.rand(2, 1, 9, 8), 0.4 + 0.4 * torch.rand(2, 1, 5, 6) ** 2
    found = match_luminance(style, photo)
    assert found.shape == style.shape
    assert found.dtype == torch.float32
    for n in range(2):
        s, c = style[n].double().numpy(), photo[n].double().numpy()
        np.testing.assert_allclose(found[n], c.std() / s.std() * (s - s.mean()) + c.mean(), rtol=0, atol=1e-6)


def test_luma_is_clamped():
    style, photo = torch.tensor([0.5, 0.5, 0.5, 0.9]).view(1, 1, 2, 2), torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    # Deviations -1, -1, -1 and 3 times 0.5 / sqrt(3), about 0.5.
    torch.testing.assert_close(match_luminance(style, photo).flatten(), torch.tensor([0.5 - 0.5 / 3**0.5] * 3 + [1.0]))
    torch.testing.assert_close(match_luminance(1 - style, photo).flatten()[3], torch.tensor(0.0))


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_a_flat_style_is_flat_at_the_photos_mean(level, noise):
    style, photo = torch.full((1, 1, 7, 7), level) + noise * torch.randn(1, 1, 7, 7), torch.rand(1, 1, 6, 6)
    found = match_luminance(style, photo)
    torch.testing.assert_close(found, photo.mean().expand_as(found), rtol=0, atol=3e-4)


def test_a_flat_photo_makes_every_style_flat():
    found = match_luminance(torch.rand(1, 1, 7, 7), torch.full((1, 1, 2, 2), 0.3))
    torch.testing.assert_close(found, torch.full_like(found, 0.3))


def test_colors_take_the_mean_and_covariance():
    pictures, like = muted(2, 3, 30, 20), 0.9 - muted(2, 3, 15, 25, spread=0.3).flip(1)
    found = match_colors(pictures, like)
    assert found.shape == pictures.shape
    assert found.dtype == torch.float32
    assert 0 < found.min() < found.max() < 1  # Otherwise this would test the clamp.
    for n in range(2):
        (mean, covariance), (mean_like, covariance_like) = statistics(found[n]), statistics(like[n])
        np.testing.assert_allclose(mean, mean_like, rtol=0, atol=1e-6)
        np.testing.assert_allclose(covariance, covariance_like, rtol=0, atol=1e-7)


def root(matrix, steps=30):
    """The symmetric square root and its inverse by Denman and Beavers' iteration, without eigenvalues."""
    y, z = matrix, np.eye(len(matrix))
    for _ in range(steps):
        y, z = (y + np.linalg.inv(z)) / 2, (z + np.linalg.inv(y)) / 2
    return y, z


def test_the_map_is_the_one_of_image_analogies():
    # The covariance alone does not fix the map: any rotation between the two roots gives the same covariance.
    pictures, like = muted(1, 3, 30, 20), muted(1, 3, 15, 25, spread=0.3).flip(1)
    (mean, covariance), (mean_like, covariance_like) = statistics(pictures[0]), statistics(like[0])
    matching = root(covariance_like)[0] @ root(covariance)[1]
    expected = matching @ (pictures[0].double().flatten(1).numpy() - mean[:, None]) + mean_like[:, None]
    np.testing.assert_allclose(match_colors(pictures, like)[0].flatten(1), expected, rtol=0, atol=1e-6)


def test_a_picture_matched_to_itself_is_itself(vivid):
    torch.testing.assert_close(match_colors(vivid, vivid), vivid, rtol=0, atol=1e-6)
    grey = torch.rand(1, 1, 6, 6).expand(1, 3, 6, 6)
    torch.testing.assert_close(match_colors(grey, grey), grey, rtol=0, atol=1e-6)


def test_colors_are_clamped():
    found = match_colors(0.5 + 0.1 * torch.randn(1, 3, 40, 40), (torch.rand(1, 3, 40, 40) < 0.5).float())
    assert (found.min(), found.max()) == (0, 1)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_one_colour_becomes_the_mean_colour(level, noise):
    pictures = torch.tensor([level, 0.7, 0.1]).view(1, 3, 1, 1).expand(1, 3, 7, 7) + noise * torch.randn(1, 3, 7, 7)
    like = torch.rand(1, 3, 6, 6)
    found = match_colors(pictures, like)
    torch.testing.assert_close(found, like.mean((2, 3), keepdim=True).expand_as(found), rtol=0, atol=3e-4)


def test_every_picture_becomes_the_one_colour_of_a_flat_one():
    like = torch.tensor([0.2, 0.7, 0.1]).view(1, 3, 1, 1)
    found = match_colors(torch.rand(1, 3, 7, 7), like)
    torch.testing.assert_close(found, like.expand_as(found), rtol=0, atol=1e-6)


def test_greys_become_colours_on_one_line():
    grey, like = (0.3 + 0.3 * torch.rand(1, 1, 9, 9)).expand(1, 3, 9, 9), muted(1, 3, 9, 9)
    values = match_colors(grey, like).double().flatten(2)[0]
    mean = like.double().mean((0, 2, 3))
    torch.testing.assert_close(values.mean(1), mean, rtol=0, atol=1e-6)
    singular = torch.linalg.svdvals(values - mean[:, None])
    assert singular[0] > 0.1
    assert singular[1] < 1e-5


def test_one_image_broadcasts_to_many():
    one, many = muted(1, 3, 6, 7), muted(3, 3, 8, 5)
    for n in range(3):
        torch.testing.assert_close(match_colors(one, many)[n], match_colors(one, many[n : n + 1])[0])
        torch.testing.assert_close(match_colors(many, one)[n], match_colors(many[n : n + 1], one)[0])
    assert match_luminance(one[:, :1], many[:, :1]).shape == (3, 1, 6, 7)


CALLS = {
    "luminance": (luminance, (2, 3, 5, 4)),
    "with_luminance": (with_luminance, (2, 3, 5, 4), (2, 1, 5, 4)),
    "match_luminance": (match_luminance, (2, 1, 5, 4), (2, 1, 3, 6)),
    "match_colors": (match_colors, (2, 3, 5, 4), (2, 3, 7, 6)),
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_are_not_modified(name):
    function, *shapes = CALLS[name]
    arguments = [2 * torch.rand(shape) - 0.5 for shape in shapes]  # Partly outside 0..1, so that a clamp would show.
    copies = [argument.clone() for argument in arguments]
    result = function(*arguments)
    result.zero_()
    assert all(map(torch.equal, arguments, copies))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_computed_in_float32_or_better(name, dtype):
    function, *shapes = CALLS[name]
    arguments = [torch.rand(shape).to(dtype) for shape in shapes]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(*arguments)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, function(*[argument.float() for argument in arguments]), rtol=0, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CALLS)
def test_results_lie_on_the_device_of_the_pictures(name):
    function, *shapes = CALLS[name]
    arguments = [torch.rand(shape) for shape in shapes]
    found = function(*[argument.cuda() for argument in arguments])
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), function(*arguments), rtol=0, atol=1e-6)


BROKEN = {
    "uint8": lambda tensor: (tensor * 255).to(torch.uint8),
    "no batch": lambda tensor: tensor[0],
    "a video": lambda tensor: tensor[..., None],
    "channels last": lambda tensor: tensor.permute(0, 2, 3, 1),
    "no pixels": lambda tensor: tensor[..., :0],
    "nothing": lambda tensor: tensor[:0],
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(("name", "which"), [(name, i) for name in CALLS for i in range(len(CALLS[name]) - 1)])
def test_anything_but_a_batch_of_images_is_refused(name, which, how):
    function, *shapes = CALLS[name]
    arguments = [torch.rand(shape) for shape in shapes]
    arguments[which] = BROKEN[how](arguments[which])
    with pytest.raises(
        ValueError, match=r"^Expected \w+ as floats \(N, [13], H, W\), found torch\.\w+ \(.*\); (compute|read) "
    ):
        function(*arguments)


@pytest.mark.parametrize("shape", [(1, 1, 5, 4), (2, 1, 4, 5), (2, 1, 5, 1), (3, 1, 5, 4)])
def test_a_luma_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match=r"to match \(2, 3, 5, 4\), found .*; use the same N, H and W"):
        with_luminance(torch.rand(2, 3, 5, 4), torch.rand(shape))


def test_batches_of_two_and_three_are_refused():
    with pytest.raises(ValueError, match=r"Expected like as .* to match \(2, 3, 5, 4\), found .* \(3, 3, 5, 4\); use"):
        match_colors(torch.rand(2, 3, 5, 4), torch.rand(3, 3, 5, 4))
    with pytest.raises(ValueError, match=r"Expected photo_luma as .* to match \(2, 1, 5, 4\), found .*; use"):
        match_luminance(torch.rand(2, 1, 5, 4), torch.rand(3, 1, 5, 4))
