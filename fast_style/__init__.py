"""Fast feed-forward style transfer: learn the style of a painting, then stylize photos in one pass."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fast_style.version import __version__

if TYPE_CHECKING:
    from fast_style.image_optimization.loss import Style
    from fast_style.image_optimization.method import optimize
    from fast_style.images.tensors import load_image, save_image
    from fast_style.stylize.stylizer import Stylizer, load_stylizer


__all__ = ["Style", "Stylizer", "__version__", "load_image", "load_stylizer", "optimize", "save_image"]

_HOMES = {
    "Style": "fast_style.image_optimization.loss",
    "Stylizer": "fast_style.stylize.stylizer",
    "load_stylizer": "fast_style.stylize.stylizer",
    "load_image": "fast_style.images.tensors",
    "save_image": "fast_style.images.tensors",
    "optimize": "fast_style.image_optimization.method",
}


def __getattr__(name: str) -> Any:
    # Import on first use: torch takes seconds to import, and reading the version should not.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
