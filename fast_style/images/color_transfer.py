"""Colour transfer between a photo and a painting: pure functions, float32 on any device."""

import torch
from torch import Tensor

from fast_style.images.luma import LUMA_WEIGHTS

# Variance of the rounding error of 8-bit values; a smaller colour variance counts as noise.
_ROUNDING = (1 / 255) ** 2 / 12
_ADVICE = {3: "read images with load_image", 1: "compute it with luminance(images)"}


def luminance(pictures: Tensor) -> Tensor:
    """Return the luma Y of YIQ and YCbCr, 0.299 R + 0.587 G + 0.114 B (Rec. 601).

    `(N, 3, H, W)` in 0..1 becomes `(N, 1, H, W)` in 0..1.
    """
    _check(pictures, "pictures", 3)
    rgb, (red, green, blue) = pictures.float(), LUMA_WEIGHTS
    return red * rgb[:, 0:1] + green * rgb[:, 1:2] + blue * rgb[:, 2:3]


def with_luminance(pictures: Tensor, luma: Tensor) -> Tensor:
    """Replace the luma of images and keep their chroma (Gatys et al. 2017, arXiv 1611.07865, section 5.1).

    If the new luma makes a channel leave 0..1, the chroma of that pixel is scaled down until R, G and B fit. Hue and
    luma stay unchanged; clamping the channels would change both.

    Args:
        pictures: `(N, 3, H, W)` in 0..1.
        luma: `(N, 1, H, W)`, as from `luminance`; it is clamped to 0..1 first.

    Returns:
        `(N, 3, H, W)` in 0..1 with the clamped `luma` as luminance; `with_luminance(x, luminance(x))` is `x`.
    """
    _check(pictures, "pictures", 3)
    _check(luma, "luma", 1, beside=pictures, sized=True)
    grey = luma.float().clamp(0, 1)
    chroma = pictures.float() - luminance(pictures)
    room = torch.where(chroma > 0, 1 - grey, grey)
    kept = (room / chroma.abs().clamp_min(1e-12)).amin(1, keepdim=True).clamp_max(1)
    return (grey + kept * chroma).clamp(0, 1)  # Removes rounding errors.


def match_luminance(style_luma: Tensor, photo_luma: Tensor) -> Tensor:
    """Give the style luma the mean and standard deviation of the photo luma (Gatys et al. 2017, section 5.1).

    The formula is `sigma_C / sigma_S (L_S - mu_S) + mu_C` (arXiv 1611.07865). The result is clamped to 0..1, which the
    paper does not specify. A flat style luma becomes flat at the photo's mean. A style luma with a variance below the
    rounding error of 8-bit values is not stretched to the full standard deviation.

    Args:
        style_luma: `(N, 1, H, W)` in 0..1, or N = 1 for all photos.
        photo_luma: `(N, 1, H', W')` in 0..1, or N = 1 for all styles.

    Returns:
        `(N, 1, H, W)` in 0..1.
    """
    _check(style_luma, "style_luma", 1)
    _check(photo_luma, "photo_luma", 1, beside=style_luma)
    return _matched(style_luma, photo_luma)


def match_colors(pictures: Tensor, like: Tensor) -> Tensor:
    """Give images the RGB mean and covariance of `like` (Gatys et al. 2017, arXiv 1611.07865, section 5.2).

    The formula is `A (x - mu_S) + mu_C` with `A = S_C^(1/2) S_S^(-1/2)` from image analogies; both roots are symmetric.
    The result is clamped to 0..1. An image of one colour gets the mean colour of `like`. A grey image gets colours on
    one line through that mean.

    Args:
        pictures: `(N, 3, H, W)` in 0..1, or N = 1 for all of `like`.
        like: `(N, 3, H', W')` in 0..1, or N = 1 for all images.

    Returns:
        `(N, 3, H, W)` in 0..1.
    """
    _check(pictures, "pictures", 3)
    _check(like, "like", 3, beside=pictures)
    return _matched(pictures, like)


def _matched(values: Tensor, like: Tensor) -> Tensor:
    """Give `(N, C, H, W)` the mean and covariance of `like`, clamped to 0..1; luma is the case C = 1."""
    _, rest, covariance = _moments(values)
    mean, _, wanted = _moments(like)
    # Without a floor, constant colours would have infinite inverse roots. The floor leaves larger variances exact; a
    # ridge, added to all of them, would not.
    matching = _power(wanted, 0.5, floor=0) @ _power(covariance, -0.5, floor=_ROUNDING)
    matched = (matching @ rest + mean).reshape(-1, *values.shape[1:])
    return matched.clamp(0, 1).float().to(values.device)


def _moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean `(N, C, 1)`, the deviations `(N, C, H W)` and the covariance `(N, C, C)`, float64."""
    flat = values.cpu().double().flatten(2)  # Apple's GPUs have no float64.
    mean = flat.mean(-1, keepdim=True)
    rest = flat - mean
    return mean, rest, rest @ rest.mT / rest.shape[-1]


def _power(covariance: Tensor, exponent: float, *, floor: float) -> Tensor:
    """Return the symmetric matrix power of `(N, C, C)`; eigenvalues below `floor` count as `floor`."""
    values, vectors = torch.linalg.eigh(covariance)
    power: Tensor = vectors * values.clamp_min(floor).pow(exponent).unsqueeze(-2) @ vectors.mT
    return power


def _check(tensor: Tensor, name: str, channels: int, *, beside: Tensor | None = None, sized: bool = False) -> None:
    """Raise a ValueError unless `tensor` holds floats `(N, channels, H, W)` that fit `beside`.

    `sized=False` needs an equal N, or N = 1 on either side; `sized=True` needs equal N, H and W.
    """
    shape = tuple(tensor.shape)
    wanted, advice = f"floats (N, {channels}, H, W)", _ADVICE[channels]
    fits = tensor.is_floating_point() and tensor.ndim == 4 and shape[1] == channels and 0 not in shape
    if fits and beside is not None:
        other = tuple(beside.shape)
        wanted += f" to match {other}"
        advice = "use the same N, H and W" if sized else "use the same N, or N = 1"
        as_large = (shape[0], *shape[2:]) == (other[0], *other[2:])
        fits = as_large if sized else shape[0] == other[0] or 1 in (shape[0], other[0])
    if not fits:
        raise ValueError(f"Expected {name} as {wanted}, found {tensor.dtype} {shape}; {advice}")
