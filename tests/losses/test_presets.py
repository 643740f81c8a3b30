"""Named presets are factors, in the order of their names; numbers are factors themselves."""

import pytest

from fast_style.losses.presets import BRUSHES, STRENGTHS, preset_factor

PRESETS = {"strength": STRENGTHS, "brush": BRUSHES}


@pytest.mark.parametrize(
    ("setting", "names"), [("strength", ["low", "medium", "high"]), ("brush", ["fine", "medium", "broad"])]
)
def test_presets_grow_in_the_order_of_their_names_and_medium_is_the_recipe(setting: str, names: list[str]) -> None:
    factors = [preset_factor(PRESETS[setting], name, setting=setting) for name in names]
    assert factors == sorted(set(factors))
    assert factors[1] == 1
    assert list(PRESETS[setting]) == names


@pytest.mark.parametrize("value", [0, 1, 0.3])
def test_a_number_is_a_factor(value: float) -> None:
    assert preset_factor(STRENGTHS, value, setting="strength") == value


@pytest.mark.parametrize("value", ["strong", "", -1, True, None, float("nan"), float("inf")])
def test_other_values_are_refused_with_the_names(value: object) -> None:
    with pytest.raises(ValueError, match=r"style\.brush is one of fine, medium, broad, or a factor of at least 0; got"):
        preset_factor(BRUSHES, value, setting="style.brush")  # type: ignore[arg-type]
