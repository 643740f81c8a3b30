"""All artefact figures of one stylized image."""

from torch import Tensor

from fast_style.evaluation.artefacts.banding import banding
from fast_style.evaluation.artefacts.border import border
from fast_style.evaluation.artefacts.checkerboard import checkerboard
from fast_style.evaluation.artefacts.clipping import clipping
from fast_style.evaluation.artefacts.dots import dots

#: Width of the border in pixels. `border` compares it with the inside; the other figures leave it out.
BORDER = 16
#: Smallest side of an image in pixels: the inside needs a few cells and patches.
SMALLEST = 64


def measure_artefacts(painted: Tensor, photo: Tensor) -> dict[str, float]:
    """Measure a stylized image; every figure is 0 for an image without that artefact.

    Args:
        painted: the stylized image, `(1, 3, H, W)` in 0..1.
        photo: its photo, of the same shape.

    Returns:
        `checkerboard`, `banding` and `border` in levels (RMS, 0 to 255), `dots` per 10,000 pixels, and `clipping` in
        percent of all values.

    Raises:
        ValueError: unequal shapes, another number of images or channels, or a side below 64 pixels.
    """
    painted, photo = as_levels(painted, photo)
    inside = (0, slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    return {
        "checkerboard": checkerboard(painted[inside]),
        "dots": dots(painted[inside], photo[inside]),
        "banding": banding(painted[inside], photo[inside]),
        "border": border(painted[0], photo[0], BORDER),
        "clipping": clipping(painted[inside], photo[inside]),
    }


def as_levels(painted: Tensor, photo: Tensor) -> tuple[Tensor, Tensor]:
    """Return both images in 0..255 on the CPU.

    Raises:
        ValueError: unequal shapes, another number of images or channels, or a side below 64 pixels.
    """
    if painted.shape != photo.shape or painted.shape[:-2] != (1, 3) or min(painted.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"The artefact figures need a stylized image and its photo, (1, 3, H, W) with sides of at least {SMALLEST} "
            f"pixels; got {tuple(painted.shape)} and {tuple(photo.shape)}."
        )
    levels = [255 * pixels.detach().cpu().float() for pixels in (painted, photo)]
    return levels[0], levels[1]
