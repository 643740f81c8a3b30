"""The figures of several sides by one judge, photo by photo."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from fast_style.evaluation.judges import Judge
from fast_style.evaluation.matched_content import StrengthSearch, blended
from fast_style.evaluation.style_metrics import SCALES, ImageErrors, StyleMetrics, best_size

#: `lowest`: the lowest content error of the sides; a number: this content error; None: no matching.
Match = float | Literal["lowest"] | None
#: One value per photo by name, NaN where a photo does not have it; or one value for all photos together.
Figures = dict[str, list[float] | float]


class JudgedSides:
    """Collects the errors of all sides for each photo; then computes their figures.

    First `add` every photo. Then, as long as there are `next_strengths`, `add_blends` of every photo. Then take the
    `figures`.

    Args:
        judge: loss network and layers.
        painting: the style image `(1, 3, H, W)` in 0..1, by its shorter side in pixels.
        sides: number of sides.
        scales: how many times images are reduced for the style errors.
        match_content: content error for the style at matched content (see `matched_content`).
    """

    def __init__(
        self,
        judge: Judge,
        painting: Mapping[int, Tensor],
        *,
        sides: int,
        scales: Sequence[int] = SCALES,
        match_content: Match = None,
    ) -> None:
        self.judge = judge
        self.metrics = StyleMetrics(judge, painting, scales=scales)
        self.match = match_content
        self._errors: list[dict[float, list[ImageErrors]]] = [{1.0: []} for _ in range(sides)]
        self._searches: list[StrengthSearch] = []

    def add(self, photo: Tensor, painted: Sequence[Tensor]) -> None:
        """Measure the stylized images of one photo, `(1, 3, H, W)` in 0..1, one of each side."""
        features = self.metrics.photo_features(photo)
        for picture, errors in zip(painted, self._errors, strict=True):
            errors[1.0].append(self.metrics.errors(picture, features))

    def next_strengths(self) -> dict[int, float]:
        """The strength at which a side is to be blended next, by the side's index; empty if nothing is left to do."""
        if self.match is None:
            return {}
        if not self._searches:
            contents = [_content(errors[1.0]) for errors in self._errors]
            target = min(contents) if self.match == "lowest" else self.match
            self._searches = [StrengthSearch(content, target) for content in contents]
        for search, errors in zip(self._searches, self._errors, strict=True):
            for strength in errors.keys() - search.contents:
                search.add(strength, _content(errors[strength]))
        found = {index: search.next_strength for index, search in enumerate(self._searches)}
        return {index: strength for index, strength in found.items() if strength is not None}

    def add_blends(self, photo: Tensor, painted: Mapping[int, Tensor], strengths: Mapping[int, float]) -> None:
        """Measure blends of one photo.

        Args:
            photo: `(1, 3, H, W)` in 0..1.
            painted: stylized images by the side's index.
            strengths: as from `next_strengths`, the same for all photos of a round.
        """
        features = self.metrics.photo_features(photo)
        for index, strength in strengths.items():
            blend = blended(painted[index], photo, strength)
            self._errors[index].setdefault(strength, []).append(self.metrics.errors(blend, features))

    def figures(self) -> list[Figures]:
        """The figures of each side, by name.

        `style_size`: the size of the painting that fits best. `style/scale2`: mean style error over the layers at scale
        2, without scales that are too small for every photo. `style/scale1/relu2_1`, `content/relu3_1`: errors of a
        layer. `content`: mean over the layers. `matched/...`: strength, content error and style errors after blending;
        they are absent for a side with less content error than is to be reached.
        """
        found = []
        for index, errors in enumerate(self._errors):
            own = errors[1.0]
            size = best_size(own)
            figures: Figures = {"style_size": float(size)}
            figures |= self._style(own, size)
            for name in self.judge.style_layers:
                figures[f"style/scale1/{name}"] = [error.style[size][1][name] for error in own]
            for name in self.judge.content_layers:
                figures[f"content/{name}"] = [error.content[name] for error in own]
            figures["content"] = [error.content_error for error in own]
            if self._searches and self._searches[index].is_possible:
                strength = self._searches[index].best
                figures["matched/strength"] = strength
                figures["matched/content"] = [error.content_error for error in errors[strength]]
                figures |= {f"matched/{name}": value for name, value in self._style(errors[strength], size).items()}
            found.append(figures)
        return found

    def _style(self, errors: Sequence[ImageErrors], size: int) -> dict[str, list[float]]:
        by_scale = {scale: [error.style_error(size, scale) for error in errors] for scale in self.metrics.scales}
        return {f"style/scale{s}": values for s, values in by_scale.items() if not all(map(math.isnan, values))}


def _content(errors: Sequence[ImageErrors]) -> float:
    return math.fsum(error.content_error for error in errors) / len(errors)
