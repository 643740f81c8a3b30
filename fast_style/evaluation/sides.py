"""Sides of a comparison: where the stylized image of each photo comes from, a network or a folder of any tool."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fast_style.images.decode import size_of
from fast_style.images.listing import find_pictures
from fast_style.images.tensors import load_image

PaintFn = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class NetworkSide:
    """A network that stylizes the photos.

    Attributes:
        name: its name in tables.
        painter: maps `(1, 3, H, W)` in 0..1 to the same shape and range.
        trained_with: the loss network of its training, if that is known (`judges.trained_with`).
    """

    name: str
    painter: PaintFn
    trained_with: str | None = None


@dataclass(frozen=True)
class FolderSide:
    """Stylized images in files.

    Attributes:
        name: its name in tables.
        pictures: the file of the stylized image of each photo, by the photo's file.
    """

    name: str
    pictures: Mapping[str, str]
    trained_with: None = None


Side = NetworkSide | FolderSide


def from_folder(folder: str, photos: Sequence[str], *, name: str | None = None) -> FolderSide:
    """Find the stylized image of each photo in `folder`; the names are equal, up to a suffix such as `_style`.

    Raises:
        ValueError: a photo has no stylized image.
    """
    stems = sorted((Path(file).stem for file in photos), key=len)
    found: dict[str, str] = {}
    for file in find_pictures(folder):
        stem = Path(file).stem
        # Use the longest stem that fits: a_b_wave belongs to photo a_b, even if there is a photo a.
        fitting = [photo for photo in stems if stem == photo or stem.startswith(f"{photo}_")]
        if fitting and (stem == fitting[-1] or fitting[-1] not in found):
            found[fitting[-1]] = file
    for photo in photos:
        stem = Path(photo).stem
        if stem not in found:
            raise ValueError(
                f"Expected a stylized image of {photo} in {folder}, found no file named {stem} or {stem}_*."
            )
    return FolderSide(name or Path(folder).name, {photo: found[Path(photo).stem] for photo in photos})


def load_photo(file: str, *, size: int | None, enlarge: bool = True) -> Tensor:
    """Read a photo, `(1, 3, H, W)` in 0..1.

    Args:
        file: the image file.
        size: shorter side in pixels to which the photo is resized; None keeps its original size.
        enlarge: also resize a photo that is smaller than `size`.
    """
    fits = size is None or (not enlarge and min(size_of(file)) <= size)
    return load_image(file, size=None if fits else size)


def load_pictures(sides: Sequence[Side], file: str, *, size: int | None) -> tuple[Tensor, list[Tensor | None]]:
    """Read a photo and its stylized images of the folders; all have one size.

    Stylized images keep their size, because resizing would blur the strokes, and the photo is resized to that size.
    Without folders, a photo larger than `size` is reduced to it.

    Returns:
        The photo `(1, 3, H, W)` in 0..1, and for each side the stylized image, or None if a network is to make it.

    Raises:
        ValueError: the stylized images differ in size, or have another aspect ratio than the photo.
    """
    painted = [load_image(side.pictures[file]) if isinstance(side, FolderSide) else None for side in sides]
    shapes = {side.name: tuple(p.shape[-2:]) for side, p in zip(sides, painted, strict=True) if p is not None}
    if not shapes:
        return load_photo(file, size=size, enlarge=False), painted
    photo = load_image(file, size=min(next(iter(shapes.values()))))
    shapes["the photo"] = tuple(photo.shape[-2:])
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {width}x{height}" for name, (height, width) in shapes.items())
        raise ValueError(f"The stylized images of {file} must have one size, with its aspect ratio; found {found}.")
    return photo, painted


def stylized(painter: PaintFn, photos: Sequence[str], *, size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Stylize each photo, resized to the shorter side `size`; yield the stylized image with its photo."""
    for file in photos:
        photo = load_photo(file, size=size)
        yield painter(photo), photo


def side_names(paths: Sequence[str]) -> list[str]:
    """Short and different names for networks and folders: as many last parts of each path as are needed."""
    parts = [Path(path).with_suffix("").parts if Path(path).suffix else Path(path).parts for path in paths]
    names = []
    for index, own in enumerate(parts):
        others = [other for place, other in enumerate(parts) if place != index]
        length = next((n for n in range(1, len(own) + 1) if all(own[-n:] != other[-n:] for other in others)), len(own))
        name = "/".join(own[-length:]).replace("//", "/")
        same = parts[:index].count(own)
        names.append(f"{name} ({same + 1})" if same else name)
    return names
