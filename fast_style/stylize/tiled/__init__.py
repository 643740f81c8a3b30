"""Stylize images of any size in bounded memory. This module imports no torch, so that it loads fast."""

from typing import Literal

#: Statistics of the instance norms: `exact` over the whole image, or `thumbnail` of a small copy.
Statistics = Literal["exact", "thumbnail"]
