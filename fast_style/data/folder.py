"""Photos from files of their own."""

from collections.abc import Sequence

from torch import Tensor

from fast_style.data.endless import Place
from fast_style.images.tensors import load_pixels


class PictureFiles:
    """Pictures in the order of their files."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        """Number of files, readable or not."""
        return len(self.files)

    def name_of(self, index: int) -> str:
        """Its path."""
        return self.files[index]

    def load(self, place: Place, *, at_least: int | None) -> Tensor:
        """Its pixels; errors of `images.load_pixels`."""
        return load_pixels(self.files[place[1]], at_least=at_least)
