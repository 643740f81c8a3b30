"""Artefacts of a translation: the mean figures of translated images beside those of the originals."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from fast_style.evaluation.artefacts.measure import SMALLEST, measure_artefacts


class TranslationArtefacts:
    """Gathers the figures of `measure_artefacts` while image pairs pass through.

    Images with a side below 64 pixels pass unmeasured.

    Attributes:
        pictures: number of measured images.
    """

    def __init__(self) -> None:
        self.pictures = 0
        self._sums: dict[str, dict[str, float]] = {"untranslated": {}, "translated": {}}

    def watched(self, translations: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the pairs of a translated image and its original, `(1, 3, H, W)` each, and measure both."""
        for translated, picture in translations:
            if min(picture.shape[-2:]) >= SMALLEST:
                self.pictures += 1
                for side, measured in (("untranslated", picture), ("translated", translated)):
                    for name, figure in measure_artefacts(measured, picture).items():
                        self._sums[side][name] = self._sums[side].get(name, 0.0) + figure
            yield translated, picture

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean figures of the `untranslated` and the `translated` images; empty if none was measured."""
        return {
            side: {name: value / self.pictures for name, value in sums.items()} for side, sums in self._sums.items()
        }

    def as_table(self) -> str:
        """Return the means as a text table."""
        before, after = self.means().values()
        rows = [("artefact", "untranslated", "translated")]
        rows += [(name, f"{before[name]:.3g}", f"{after[name]:.3g}") for name in before]
        return "\n".join(f"{name:12}{one:>15}{other:>15}" for name, one, other in rows)
