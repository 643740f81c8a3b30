"""Stylize images of any size in bounded memory. Without torch, so that it is not imported before a strip is painted."""

from typing import Literal

#: Of the norms: gathered over the whole picture, or of a small copy.
Statistics = Literal["exact", "thumbnail"]
