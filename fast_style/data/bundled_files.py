"""Files that come with the project: `data/` and `checkpoints/`."""

import os
from pathlib import Path


def find_bundled(path: str | os.PathLike[str]) -> Path:
    """A file or folder, in the current folder or beside the package, as in a checkout; the first if neither exists."""
    places = [Path(path).absolute(), Path(__file__).parents[2] / path]
    return next((place for place in places if place.exists()), places[0])
