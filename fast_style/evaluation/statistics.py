"""Mean, spread and confidence interval of figures over photos."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import bootstrap

CONFIDENCE = 0.95
RESAMPLES = 9999


@dataclass(frozen=True)
class Estimate:
    """A figure over photos.

    Attributes:
        mean: over the photos that have this figure.
        std: standard deviation over the photos; None for fewer than two.
        low, high: ends of the 95 % bootstrap interval of the mean; None for fewer than two photos.
        photos: number of photos that have this figure; 0 for a figure of all photos together.
    """

    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None
    photos: int = 0

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does not contain 0, as a test of a difference."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def as_json(self) -> dict[str, float | int | None]:
        """Return plain values for a JSON file."""
        return asdict(self)


def estimate(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """Mean, standard deviation and bootstrap interval of one value per photo.

    The interval is the bias-corrected and accelerated one (BCa) of Efron (1987), from scipy. It holds for photos like
    these: photos that are alike, such as frames of one video, give an interval that is too narrow.

    Args:
        values: one per photo; NaN for a photo without this figure.
        seed: of the resampling. Figures of equal values have equal intervals.

    Raises:
        ValueError: no photo has this figure.
    """
    found = np.array([value for value in values if not math.isnan(value)], np.float64)
    if not len(found):
        raise ValueError("A figure needs at least one photo; got none.")
    mean = float(found.mean())
    if len(found) < 2:
        return Estimate(mean, photos=1)
    std = float(found.std(ddof=1))
    if np.ptp(found) <= 1e-12 * abs(mean):  # Equal values, up to rounding: scipy warns and returns NaN.
        return Estimate(mean, std, mean, mean, len(found))
    interval = bootstrap(
        (found,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, rng=np.random.default_rng(seed)
    ).confidence_interval
    return Estimate(mean, std, float(interval.low), float(interval.high), len(found))


def paired_difference(values: Sequence[float], others: Sequence[float], *, seed: int = 0) -> Estimate | None:
    """Estimate `values - others`, photo by photo; None if no photo has both.

    The photos differ more than the sides do, so this interval tells two sides apart better than their own intervals.
    """
    differences = [one - other for one, other in zip(values, others, strict=True)]
    return None if all(map(math.isnan, differences)) else estimate(differences, seed=seed)
