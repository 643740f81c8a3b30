"""The colours of a painting and of a photo, kept apart or brought together: pure functions, float32 on any device."""

import torch
from torch import Tensor

from fast_style.images.luma import LUMA_WEIGHTS

# The variance that rounding to 8 bits makes by itself; a colour that varies less than this is taken to be noise.
_ROUNDING = (1 / 255) ** 2 / 12
_ADVICE = {3: "read pictures with load_image", 1: "take it from pictures with luminance"}


def luminance(pictures: Tensor) -> Tensor:
    """The luma Y of YIQ and YCbCr, 0.299 R + 0.587 G + 0.114 B (Rec. 601): `(N, 3, H, W)` to `(N, 1, H, W)`, 0..1."""
    _check(pictures, "pictures", 3)
    rgb, (red, green, blue) = pictures.float(), LUMA_WEIGHTS
    return red * rgb[:, 0:1] + green * rgb[:, 1:2] + blue * rgb[:, 2:3]


def with_luminance(pictures: Tensor, luma: Tensor) -> Tensor:
    """The pictures' chroma with another luma (Gatys et al. 2017, arXiv 1611.07865, section 5.1).

    Where the new luma leaves no room for the chroma, the pixel's chroma shrinks toward the grey of that luma just until
    R, G and B are in 0..1: hue and luma stay. Clamping the channels instead would change both.

    Args:
        pictures: `(N, 3, H, W)` in 0..1.
        luma: `(N, 1, H, W)`, as of `luminance`; clamped to 0..1 first, since no colour has any other.

    Returns:
        `(N, 3, H, W)` in 0..1; its luminance is the clamped `luma`, and `with_luminance(x, luminance(x))` is `x`.
    """
    _check(pictures, "pictures", 3)
    _check(luma, "luma", 1, beside=pictures, sized=True)
    grey = luma.float().clamp(0, 1)
    chroma = pictures.float() - luminance(pictures)
    room = torch.where(chroma > 0, 1 - grey, grey)
    kept = (room / chroma.abs().clamp_min(1e-12)).amin(1, keepdim=True).clamp_max(1)
    return (grey + kept * chroma).clamp(0, 1)  # In 0..1 but for the last bit.


def match_luminance(style_luma: Tensor, photo_luma: Tensor) -> Tensor:
    """The style's luma with the photo's mean and standard deviation (Gatys et al. 2017, arXiv 1611.07865, section 5.1).

    `sigma_C / sigma_S (L_S - mu_S) + mu_C`, then clamped to 0..1, which the paper leaves open. A flat style becomes
    flat at the photo's mean; one that varies by less than 8 bits can show is not stretched all the way.

    Args:
        style_luma: `(N, 1, H, W)` in 0..1, or a single one for all photos.
        photo_luma: `(N, 1, H', W')` in 0..1, or a single one for all styles.

    Returns:
        `(N, 1, H, W)` in 0..1.
    """
    _check(style_luma, "style_luma", 1)
    _check(photo_luma, "photo_luma", 1, beside=style_luma)
    return _matched(style_luma, photo_luma)


def match_colors(pictures: Tensor, like: Tensor) -> Tensor:
    """The pictures with the RGB mean and covariance of `like` (Gatys et al. 2017, arXiv 1611.07865, section 5.2).

    `A (x - mu_S) + mu_C` with the matching of image analogies, `A = S_C^(1/2) S_S^(-1/2)`, both roots symmetric; then
    clamped to 0..1. A one-colour picture can only become one colour, the mean of `like`; a grey one gets the
    colours of one line through it.

    Args:
        pictures: `(N, 3, H, W)` in 0..1, or a single one for all of `like`.
        like: `(N, 3, H', W')` in 0..1, or a single one for all pictures.

    Returns:
        `(N, 3, H, W)` in 0..1.
    """
    _check(pictures, "pictures", 3)
    _check(like, "like", 3, beside=pictures)
    return _matched(pictures, like)


def _matched(values: Tensor, like: Tensor) -> Tensor:
    """`(N, C, H, W)` with the mean and covariance of `like`, clamped to 0..1; luma is the case of one channel."""
    _, rest, covariance = _moments(values)
    mean, _, wanted = _moments(like)
    # Roots of what does not vary would be infinite. A floor, not a ridge added to all: what varies is matched exactly.
    matching = _power(wanted, 0.5, floor=0) @ _power(covariance, -0.5, floor=_ROUNDING)
    matched = (matching @ rest + mean).reshape(-1, *values.shape[1:])
    return matched.clamp(0, 1).float().to(values.device)


def _moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `(N, C, 1)`, deviations from it `(N, C, H W)` and covariance `(N, C, C)`, float64."""
    flat = values.cpu().double().flatten(2)  # Apple's GPUs have no float64.
    mean = flat.mean(-1, keepdim=True)
    rest = flat - mean
    return mean, rest, rest @ rest.mT / rest.shape[-1]


def _power(covariance: Tensor, exponent: float, *, floor: float) -> Tensor:
    """The symmetric power of `(N, C, C)`, with no eigenvalue taken to be below `floor`."""
    values, vectors = torch.linalg.eigh(covariance)
    power: Tensor = vectors * values.clamp_min(floor).pow(exponent).unsqueeze(-2) @ vectors.mT
    return power


def _check(tensor: Tensor, name: str, channels: int, *, beside: Tensor | None = None, sized: bool = False) -> None:
    """ValueError unless these are floats `(N, channels, H, W)`, as many as `beside` or one, or exactly of its size."""
    shape = tuple(tensor.shape)
    wanted, advice = f"floats (N, {channels}, H, W)", _ADVICE[channels]
    fits = tensor.is_floating_point() and tensor.ndim == 4 and shape[1] == channels and 0 not in shape
    if fits and beside is not None:
        other = tuple(beside.shape)
        wanted += f" to go with {other}"
        advice = "give as many, of the same height and width" if sized else "give as many of both, or one of either"
        as_large = (shape[0], *shape[2:]) == (other[0], *other[2:])
        fits = as_large if sized else shape[0] == other[0] or 1 in (shape[0], other[0])
    if not fits:
        raise ValueError(f"wanted {name} as {wanted}, found {tensor.dtype} {shape}; {advice}")
