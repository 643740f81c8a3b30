"""The figures of several sides by one judge, photo by photo."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from fast_style.evaluation.judges import Judge
from fast_style.evaluation.matched_content import STRENGTHS, at_strength, blended, strength_of_content
from fast_style.evaluation.style_metrics import SCALES, ImageErrors, StyleMetrics, best_size

#: `lowest`: the lowest content error of the sides; a number: this content error; None: no matching.
Match = float | Literal["lowest"] | None
#: One value per photo by name, NaN where a photo does not have it; or one value for all photos together.
Figures = dict[str, list[float] | float]


class JudgedSides:
    """Collects the errors of all sides for each photo; then computes their figures.

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
        blends = (0.0, *STRENGTHS, 1.0) if match_content is not None else (1.0,)
        self._errors: list[dict[float, list[ImageErrors]]] = [{blend: [] for blend in blends} for _ in range(sides)]

    def add(self, photo: Tensor, painted: Sequence[Tensor]) -> None:
        """Measure the stylized images of one photo, `(1, 3, H, W)` in 0..1, one of each side."""
        features = self.metrics.photo_features(photo)
        untouched = self.metrics.errors(photo, features) if self.match is not None else None
        for picture, errors in zip(painted, self._errors, strict=True):
            for strength, found in errors.items():
                at_zero = untouched if strength == 0 else None
                found.append(at_zero or self.metrics.errors(blended(picture, photo, strength), features))

    def figures(self) -> list[Figures]:
        """The figures of each side, by name.

        `style_size`: the size of the painting that fits best. `style/scale2`: mean style error over the layers at scale
        2, without scales that are too small for every photo. `style/scale1/relu2_1`, `content/relu3_1`: errors of a
        layer. `content`: mean over the layers. `matched/...`: content error, strength and style errors after blending;
        they are absent for a side with less content error than that.
        """
        contents = [
            {strength: _mean([error.content_error for error in found]) for strength, found in errors.items()}
            for errors in self._errors
        ]
        lowest = min(content[1.0] for content in contents)
        target = lowest if self.match == "lowest" else self.match
        return [
            self._figures(errors, None if target is None else strength_of_content(content, target), target)
            for errors, content in zip(self._errors, contents, strict=True)
        ]

    def _figures(
        self, errors: Mapping[float, Sequence[ImageErrors]], strength: float | None, target: float | None
    ) -> Figures:
        own = errors[1.0]
        size = best_size(own)
        figures: Figures = {"style_size": float(size)}
        for scale in self.metrics.scales:
            figures[f"style/scale{scale}"] = [error.style_error(size, scale) for error in own]
            for name in self.judge.style_layers if scale == 1 else ():
                figures[f"style/scale1/{name}"] = [error.style[size][1][name] for error in own]
        for name in self.judge.content_layers:
            figures[f"content/{name}"] = [error.content[name] for error in own]
        figures["content"] = [error.content_error for error in own]
        if strength is not None and target is not None:
            figures |= {"matched/content": target, "matched/strength": strength}
            for scale in self.metrics.scales:
                by_blend = {blend: [e.style_error(size, scale) for e in found] for blend, found in errors.items()}
                figures[f"matched/style/scale{scale}"] = list(at_strength(by_blend, strength))
        return {name: value for name, value in figures.items() if not _is_empty(value)}


def _is_empty(value: list[float] | float) -> bool:
    return isinstance(value, list) and all(map(math.isnan, value))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
