"""The step with mode=max-autotune, which times several kernels for each operation: minutes of compiling."""

from gpu_parts.breakdown import Variant, measure_variants
from gpu_parts.figures import Figures


def measure(figures: Figures) -> None:
    """Note the variant."""
    mode = None if figures.sizes.dry else "max-autotune"
    measure_variants(figures, [Variant("max-autotune", mode, half_loss=True)])
