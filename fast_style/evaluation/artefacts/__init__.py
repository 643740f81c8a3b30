"""Artefacts of stylized images that a style error does not see; `measure_artefacts` measures one image."""

from fast_style.evaluation.artefacts.measure import measure_artefacts

__all__ = ["measure_artefacts"]
