"""Style at matched content: one figure that no trade-off between style and content can improve.

A tool that changes a photo more usually comes closer to the style, so a style error alone says little. Here the
stylized images of each side are blended with their photos, `y' = a y + (1 - a) x`, with one strength `a` for all
photos, so that the mean content error of all sides is equal. Then their style errors are compared.

What blending can tell: a side that has the lower style error at an equal content error is better than the other side
*with its strength turned down this way*, as any user can (`strength=` of scripts/stylize.py). It cannot tell what a
network would reach that was trained for that content error: blending lets the photo shine through the strokes, and a
trained network would paint calmer strokes instead. So the figure of a side that is blended is an upper bound for its
method, and it says more the closer the strength is to 1.

Each blend costs passes of the judge. So strengths are not searched photo by photo: errors are measured at `STRENGTHS`
and at 0 and 1, and a polynomial through these five points gives all others (scipy's barycentric interpolation). If
features were linear in the strength, the style error would be exactly such a polynomial of degree 4. For the published
wave on three photos, its largest error at strengths above 0.5 was 3 %; that of a monotone spline (PCHIP) was 24 %.
Strength 0, the photo itself, is shared by all sides, and strength 1 is measured anyway, so a side costs three blends a
photo.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BarycentricInterpolator
from scipy.optimize import brentq
from torch import Tensor

#: Strengths of blends that are measured besides 0 and 1.
STRENGTHS = (0.25, 0.5, 0.75)


def blended(painted: Tensor, photo: Tensor, strength: float) -> Tensor:
    """Blend a stylized image with its photo, `(N, 3, H, W)` each: 0 is the photo, 1 the stylized image."""
    return photo.lerp(painted, strength)


def strength_of_content(contents: Mapping[float, float], target: float) -> float | None:
    """The strength at which the mean content error is `target`.

    Args:
        contents: mean content error over the photos by strength, with the strengths 0 and 1.
        target: the content error to reach.

    Returns:
        A strength in 0..1, or None if the stylized images themselves have less content error than `target`.
    """
    full = contents[1]
    if target >= full:
        return 1.0 if target <= full * (1 + 1e-9) else None
    if target <= 0:
        return 0.0
    strengths = sorted(contents)
    curve = BarycentricInterpolator(strengths, [contents[strength] for strength in strengths])
    return float(brentq(lambda strength: float(curve(strength)) - target, 0, 1))


def at_strength(values: Mapping[float, Sequence[float]], strength: float) -> NDArray[np.float64]:
    """Interpolate one figure per photo to a strength.

    Args:
        values: one value per photo, by strength; NaN for a photo without this figure.
    """
    if strength in values:
        return np.asarray(values[strength], np.float64)
    strengths = sorted(values)
    table = np.array([values[own] for own in strengths], np.float64)
    known = np.isfinite(table).all(axis=0)
    found = np.full(table.shape[1], np.nan)
    found[known] = BarycentricInterpolator(strengths, table[:, known], axis=0)(strength)
    return found
