"""Named presets along two trade-offs of a style. All their numbers stand here, the same for every style."""

from collections.abc import Mapping

#: `style.strength`, and `strength` of image optimisation: factor of the loss's `style_weight`. More style, less photo.
STRENGTHS: Mapping[str, float] = {"low": 0.3, "medium": 1.0, "high": 2.5}
#: `style.brush`: factor of the width of the painting's strokes. A network learns strokes as wide in pixels as they are
#: in the painting, so the painting of `style.size` is enlarged or reduced.
BRUSHES: Mapping[str, float] = {"fine": 0.75, "medium": 1.0, "broad": 1.5}


def preset_factor(presets: Mapping[str, float], value: str | float, *, setting: str) -> float:
    """Return the factor of a named preset; a number is a factor itself.

    Args:
        presets: factors by name.
        value: a name or a number.
        setting: name of the setting, for the error message.

    Raises:
        ValueError: neither a known name nor a number of at least 0.
    """
    factor = presets.get(value) if isinstance(value, str) else value
    if factor is None or isinstance(factor, bool) or not 0 <= factor < float("inf"):
        raise ValueError(f"{setting} is one of {', '.join(presets)}, or a factor of at least 0; got {value!r}.")
    return factor
