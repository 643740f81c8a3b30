"""Artefacts of stylized images that a style error does not see."""

from fast_style.evaluation.artefacts.fixed_blobs import FixedBlobs
from fast_style.evaluation.artefacts.flat_photos import flat_checkerboard
from fast_style.evaluation.artefacts.measure import measure_artefacts

__all__ = ["FixedBlobs", "flat_checkerboard", "measure_artefacts"]
