"""Style at matched content: one figure that no trade-off between style and content can improve.

A tool that changes a photo more usually comes closer to the style, so a style error alone says little. Here the
stylized images of each side are blended with their photos, `y' = a y + (1 - a) x`, with one strength `a` for all
photos, so that the mean content error of all sides is equal. Then their style errors are compared.

What blending can tell: a side that has the lower style error at an equal content error is better than the other side
*with its strength turned down this way*, as any user can (`strength=` of scripts/stylize.py). It cannot tell what a
network would reach that was trained for that content error: blending lets the photo shine through the strokes, and a
trained network would paint calmer strokes instead. So the figure of a side that is blended is an upper bound for its
method, and it says more the closer the strength is to 1.

The content error grows with the strength nearly as a power of it, so a search over powers needs one or two rounds where
a bisection needs seven. Each round measures all photos of a side once more. The side with the lowest content error
needs none.
"""

import math

from torch import Tensor

#: Relative difference from the wanted content error that counts as equal.
TOLERANCE = 0.005
MAX_ROUNDS = 5
# Of the published wave, by `builtin` on three photos. The search replaces it by what it finds.
_FIRST_POWER = 1.5


def blended(painted: Tensor, photo: Tensor, strength: float) -> Tensor:
    """Blend a stylized image with its photo, `(N, 3, H, W)` each: 0 is the photo, 1 the stylized image."""
    return photo.lerp(painted, strength)


class StrengthSearch:
    """Finds the strength at which the mean content error of a side is `target`.

    Args:
        content: mean content error of the stylized images themselves.
        target: content error to reach, above 0.
    """

    def __init__(self, content: float, target: float) -> None:
        self.target = target
        self.contents = {1.0: content}

    @property
    def is_possible(self) -> bool:
        """Whether blending can reach the target: the stylized images have at least this content error."""
        return 0 < self.target <= self.contents[1.0] * (1 + TOLERANCE)

    @property
    def best(self) -> float:
        """The measured strength that is closest to the target."""
        return min(self.contents, key=lambda strength: abs(self.contents[strength] - self.target))

    @property
    def next_strength(self) -> float | None:
        """The strength to measure next; None if the search is over."""
        content = self.contents[self.best]
        is_found = abs(content - self.target) <= TOLERANCE * self.target
        if is_found or not self.is_possible or len(self.contents) > MAX_ROUNDS:
            return None
        strength: float = min(1.0, self.best * (self.target / content) ** (1 / self._power()))
        return None if strength in self.contents else strength

    def add(self, strength: float, content: float) -> None:
        """Note the mean content error of a strength."""
        self.contents[strength] = content

    def _power(self) -> float:
        """The power `p` of `content = c a^p` through the two measured strengths that are closest to the target."""
        nearest = sorted(self.contents, key=lambda strength: abs(self.contents[strength] - self.target))[:2]
        if len(nearest) < 2:
            return _FIRST_POWER
        one, other = nearest
        power = math.log(self.contents[one] / self.contents[other]) / math.log(one / other)
        return min(max(power, 0.5), 4.0)  # Keeps the steps small where the curve is far from a power.
