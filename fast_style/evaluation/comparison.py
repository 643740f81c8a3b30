"""Compare several sides, networks or folders of stylized images, on the same photos by several judges."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from fast_style.evaluation.artefacts import FixedBlobs, flat_checkerboard, measure_artefacts
from fast_style.evaluation.artefacts.measure import SMALLEST
from fast_style.evaluation.cost import Cost, measured
from fast_style.evaluation.judged_sides import Figures, JudgedSides, Match
from fast_style.evaluation.judges import Judge, family_of
from fast_style.evaluation.shift_stability import measure_stability
from fast_style.evaluation.sides import NetworkSide, Side, load_pictures
from fast_style.evaluation.statistics import Estimate, estimate, paired_difference
from fast_style.evaluation.style_metrics import SCALES

#: Names of figures that are of no judge begin with these.
SECTIONS = ("picture", "artefacts", "stability", "network")


@dataclass(frozen=True)
class PhotoDone:
    """A photo that was measured.

    Attributes:
        file: the photo's file.
        photo: `(1, 3, H, W)` in 0..1.
        painted: the stylized image of each side, of the same shape.
        round: 0 for the images themselves; 1, 2, ... for the blends of matched content.
    """

    file: str
    photo: Tensor
    painted: dict[str, Tensor]
    round: int


OnPhoto = Callable[[PhotoDone], None]


@dataclass(frozen=True)
class Comparison:
    """All figures, by name: `vgg16_hed/style/scale2`, `picture/ssim`, `network/seconds`.

    Attributes:
        photos: number of photos.
        judges: names of the judges.
        trained_on: the sides that were trained with a loss network of a judge's family, by judge.
        figures: by side, in the order of the sides.
        differences: of each further side from the first side, photo by photo, by side.
    """

    photos: int
    judges: tuple[str, ...]
    trained_on: dict[str, tuple[str, ...]]
    figures: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]


@torch.inference_mode()
def compare_sides(
    sides: Sequence[Side],
    photos: Sequence[str],
    painting: Mapping[int, Tensor],
    judges: Sequence[Judge],
    *,
    size: int | None = None,
    scales: Sequence[int] = SCALES,
    match_content: Match = None,
    stability_photos: int = 0,
    device: torch.device | None = None,
    seed: int = 0,
    on_photo: OnPhoto | None = None,
) -> Comparison:
    """Measure every side on every photo.

    Args:
        sides: networks and folders; their names must differ.
        photos: image files.
        painting: the style image `(1, 3, H, W)` in 0..1, by its shorter side in pixels.
        judges: loss networks with their layers.
        size: without folders, larger photos are reduced to this shorter side in pixels; None keeps their size.
        scales: how many times images are reduced for the style errors.
        match_content: content error for the style at matched content (see `matched_content`). `lowest` needs two sides.
        stability_photos: how many photos the stability of networks is measured on; each takes five images.
        device: where the networks compute, for the measurement of seconds and memory; None is the CPU.
        seed: of the bootstrap intervals.
        on_photo: is called after each photo, in each round with all photos.

    Raises:
        ValueError: no sides, photos or judges, equal names, or images of unequal or too small size.
    """
    _check(sides, photos, judges)
    if len(sides) == 1 and match_content == "lowest":
        match_content = None
    judged = [
        JudgedSides(judge, painting, sides=len(sides), scales=scales, match_content=match_content) for judge in judges
    ]
    meters = [_PictureMeter(side, device or torch.device("cpu"), stability_photos) for side in sides]
    for file in photos:
        photo, found = load_pictures(sides, file, size=size)
        painted = [meter.add(photo, picture) for meter, picture in zip(meters, found, strict=True)]
        for one in judged:
            one.add(photo, painted)
        if on_photo is not None:
            on_photo(PhotoDone(file, photo, {s.name: p for s, p in zip(sides, painted, strict=True)}, 0))
    _match_contents(judged, sides, photos, size, on_photo)
    figures = [meter.figures() for meter in meters]
    for one in judged:
        for own, more in zip(figures, one.figures(), strict=True):
            own |= {f"{one.judge.name}/{name}": value for name, value in more.items()}
    return _summary(sides, len(photos), judges, figures, seed)


def _match_contents(
    judged: Sequence[JudgedSides],
    sides: Sequence[Side],
    photos: Sequence[str],
    size: int | None,
    on_photo: OnPhoto | None,
) -> None:
    """Blend stylized images with their photos until the content errors are equal, by every judge.

    Images are made or read again in each round, so that no number of photos fills the memory.
    """
    number = 0
    while any(strengths := [one.next_strengths() for one in judged]):
        number += 1
        needed = sorted(set().union(*strengths))
        for file in photos:
            photo, found = load_pictures(sides, file, size=size)
            painted = {index: _painted(sides[index], photo, found[index]) for index in needed}
            for one, own in zip(judged, strengths, strict=True):
                if own:
                    one.add_blends(photo, painted, own)
            if on_photo is not None:
                on_photo(PhotoDone(file, photo, {sides[index].name: p for index, p in painted.items()}, number))


def _painted(side: Side, photo: Tensor, picture: Tensor | None) -> Tensor:
    if picture is not None:
        return picture
    assert isinstance(side, NetworkSide)
    return side.painter(photo)


class _PictureMeter:
    """Makes or takes the stylized images of a side, and collects what needs no judge."""

    def __init__(self, side: Side, device: torch.device, stability_photos: int) -> None:
        self.side, self.device, self.stability_photos = side, device, stability_photos
        self._values: list[dict[str, float]] = []
        self._blobs = FixedBlobs()
        self._costs: list[Cost] = []
        self._memory = 0

    def add(self, photo: Tensor, picture: Tensor | None) -> Tensor:
        """Return the stylized image of a photo."""
        if isinstance(self.side, NetworkSide):
            picture = self._measured(self.side, photo)
        assert picture is not None
        similarity = structural_similarity_index_measure(picture, photo, data_range=1.0)
        assert isinstance(similarity, Tensor)
        figures = {"picture/ssim": similarity.item()}
        if min(photo.shape[-2:]) >= SMALLEST:
            figures |= _named("artefacts", measure_artefacts(picture, photo))
            self._blobs.add(picture, photo)
            if isinstance(self.side, NetworkSide) and len(self._values) < self.stability_photos:
                figures |= _named("stability", measure_stability(self.side.painter, photo))
        self._values.append(figures)
        return picture

    def _measured(self, side: NetworkSide, photo: Tensor) -> Tensor:
        if not self._costs:  # The first call also prepares the network; its memory counts, its time does not.
            self._memory = measured(lambda: side.painter(photo), self.device)[1].memory
        picture, cost = measured(lambda: side.painter(photo), self.device)
        self._costs.append(cost)
        self._memory = max(self._memory, cost.memory)
        return picture

    def figures(self) -> Figures:
        """All figures by name."""
        names = dict.fromkeys(itertools.chain.from_iterable(self._values))
        figures: Figures = {name: [found.get(name, math.nan) for found in self._values] for name in names}
        blobs = self._blobs.compute()
        if not math.isnan(blobs):
            figures["artefacts/fixed_blobs"] = blobs
        if isinstance(self.side, NetworkSide):
            figures["artefacts/flat_checkerboard"] = flat_checkerboard(self.side.painter)
            figures["network/seconds"] = [cost.seconds for cost in self._costs]
            figures["network/memory_mb"] = self._memory / 1e6
        return figures


def _named(section: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {f"{section}/{name}": value for name, value in figures.items()}


def _check(sides: Sequence[Side], photos: Sequence[str], judges: Sequence[Judge]) -> None:
    if not sides or not photos or not judges:
        raise ValueError(
            f"A comparison needs at least one side, one photo and one judge; got {len(sides)} sides, {len(photos)} "
            f"photos and {len(judges)} judges."
        )
    for kind, names in (("sides", [s.name for s in sides]), ("judges", [*SECTIONS, *(j.name for j in judges)])):
        equal = sorted({name for name in names if names.count(name) > 1})
        if equal:
            raise ValueError(f"The {kind} of a comparison need different names; got {', '.join(equal)} twice.")


def _summary(
    sides: Sequence[Side], photos: int, judges: Sequence[Judge], figures: Sequence[Figures], seed: int
) -> Comparison:
    first = figures[0]
    return Comparison(
        photos,
        tuple(judge.name for judge in judges),
        {
            judge.name: tuple(
                side.name
                for side in sides
                if side.trained_with is not None and family_of(side.trained_with) == family_of(judge.name)
            )
            for judge in judges
        },
        {
            side.name: {
                name: estimate(value, seed=seed) if isinstance(value, list) else Estimate(value)
                for name, value in own.items()
            }
            for side, own in zip(sides, figures, strict=True)
        },
        {side.name: _differences(own, first, seed) for side, own in zip(sides[1:], figures[1:], strict=True)},
    )


def _differences(own: Figures, first: Figures, seed: int) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    for name, values in own.items():
        others = first.get(name)
        if isinstance(values, list) and isinstance(others, list):
            difference = paired_difference(values, others, seed=seed)
            found |= {name: difference} if difference is not None else {}
    return found
