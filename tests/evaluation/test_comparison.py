"""Sides are compared on the same photos: equal sides have equal figures, and wrong input is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fast_style import load_image, save_image
from fast_style.evaluation.comparison import Comparison, PhotoDone, compare_sides
from fast_style.evaluation.cost import measured
from fast_style.evaluation.judges import Judge
from fast_style.evaluation.matched_content import TOLERANCE
from fast_style.evaluation.report import as_json, as_markdown, as_table, caption
from fast_style.evaluation.sides import FolderSide, NetworkSide, Side
from fast_style.networks.loss_network import LossNetwork

PAINTING = {16: torch.rand(1, 3, 16, 20), 24: torch.rand(1, 3, 24, 30)}


@pytest.fixture
def judge(tiny_loss_network: LossNetwork) -> Judge:
    return Judge("tiny", tiny_loss_network, ("relu1", "conv2"), ("relu2",))


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    files = [tmp_path / "photos" / f"{name}.png" for name in "abc"]
    for file in files:
        save_image(torch.rand(1, 3, 32, 40), file)
    return list(map(str, files))


def inverted(pixels: Tensor) -> Tensor:
    return 1 - pixels


def faded(pixels: Tensor) -> Tensor:
    return 0.1 + 0.8 * pixels


def painted_folder(folder: Path, photos: list[str]) -> FolderSide:
    """What `inverted` paints, as files."""
    for photo in photos:
        save_image(inverted(load_image(photo)), folder / Path(photo).name)
    return FolderSide("folder", {photo: str(folder / Path(photo).name) for photo in photos})


def compared(sides: list[Side], photos: list[str], judge: Judge, **settings: Any) -> Comparison:
    return compare_sides(sides, photos, PAINTING, [judge], scales=(1, 2), **settings)


def test_equal_sides_have_equal_figures_and_no_difference(tmp_path: Path, photos: list[str], judge: Judge) -> None:
    sides = [NetworkSide("network", inverted), NetworkSide("again", inverted), painted_folder(tmp_path / "p", photos)]
    found = compared(sides, photos, judge, match_content="lowest")
    own = {
        side: {name: figure for name, figure in figures.items() if not name.startswith("network/")}
        for side, figures in found.figures.items()
    }
    assert own["network"] == own["again"]
    # Files hold rounded values.
    for name, figure in own["folder"].items():
        assert figure.mean == pytest.approx(own["network"][name].mean, rel=0.02), name
    for name, difference in found.differences["again"].items():
        if not name.startswith("network/"):
            assert (difference.mean, difference.low, difference.high) == (0, 0, 0), name
    assert list(found.differences) == ["again", "folder"]


def test_every_figure_has_a_name_an_interval_and_the_number_of_photos(photos: list[str], judge: Judge) -> None:
    found = compared([NetworkSide("one", inverted), NetworkSide("two", faded)], photos, judge, match_content="lowest")
    tiny = ["style_size", "style/scale1", "style/scale1/relu1", "style/scale1/conv2", "style/scale2"]
    tiny += ["content/relu2", "content", "matched/content", "matched/strength"]
    tiny += ["matched/style/scale1", "matched/style/scale2"]
    names = {f"tiny/{name}" for name in tiny} | {"picture/ssim", "network/seconds", "network/memory_mb"}
    names.add("artefacts/flat_checkerboard")
    assert found.photos == 3
    for side in ("one", "two"):
        figures = found.figures[side]
        assert set(figures) == names
        single = {"tiny/style_size", "tiny/matched/strength", "network/memory_mb", "artefacts/flat_checkerboard"}
        for name in names - single:
            figure = figures[name]
            assert figure.photos == 3
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= figure.mean <= figure.high
        assert {figures[name].photos for name in single} == {0}
    assert "tiny/matched/strength" not in found.differences["two"]
    # The more faithful side is not blended; the other one is, until both contents are equal.
    one, two = found.figures["one"], found.figures["two"]
    assert two["tiny/content"].mean < one["tiny/content"].mean
    assert two["tiny/matched/strength"].mean == 1
    assert 0 < one["tiny/matched/strength"].mean < 1
    assert one["tiny/matched/content"].mean == pytest.approx(two["tiny/matched/content"].mean, rel=TOLERANCE)


def test_the_photo_itself_has_no_content_error_and_full_similarity(photos: list[str], judge: Judge) -> None:
    found = compared([NetworkSide("photo", lambda pixels: pixels)], photos, judge, match_content="lowest")
    figures = found.figures["photo"]
    assert figures["tiny/content"].mean == figures["tiny/content/relu2"].mean == 0
    assert figures["picture/ssim"].mean == pytest.approx(1, abs=1e-6)
    assert not any(name.startswith("tiny/matched") for name in figures)  # One side has nothing to be matched with.
    assert found.differences == {}


def test_a_painting_as_stylized_image_has_no_style_error(photos: list[str], judge: Judge, tmp_path: Path) -> None:
    painting = {24: load_image(photos[0], size=24)}
    save_image(painting[24], tmp_path / "painted.png")
    side = FolderSide("perfect", {photos[0]: str(tmp_path / "painted.png")})
    figures = compare_sides([side], photos[:1], painting, [judge], scales=(1, 2)).figures["perfect"]
    assert figures["tiny/style/scale1"].mean < 1e-6
    assert figures["tiny/style/scale2"].mean < 1e-6
    assert "network/seconds" not in figures


def test_sides_see_one_size_and_a_caller_sees_every_image(photos: list[str], judge: Judge, tmp_path: Path) -> None:
    seen: list[PhotoDone] = []
    sides = [NetworkSide("network", faded), painted_folder(tmp_path / "p", photos)]
    compared(sides, photos, judge, size=16, match_content="lowest", on_photo=seen.append)
    assert [done.file for done in seen if done.round == 0] == photos
    for done in seen:
        assert {picture.shape for picture in (done.photo, *done.painted.values())} == {(1, 3, 32, 40)}
        assert torch.equal(done.photo, load_image(done.file))
        # Then only the side with more content error is blended.
        assert list(done.painted) == (["network", "folder"] if done.round == 0 else ["folder"])
    assert max(done.round for done in seen) >= 1


def test_a_network_of_the_judges_family_is_marked(photos: list[str], tiny_loss_network: LossNetwork) -> None:
    judges = [Judge(name, tiny_loss_network, ("relu1",), ("relu2",)) for name in ("builtin", "vgg16_hed")]
    sides = [
        NetworkSide("taught", inverted, "vgg19_mix"),
        NetworkSide("other", inverted, "vgg16"),
        NetworkSide("unknown", inverted),
    ]
    found = compare_sides(sides, photos[:1], PAINTING, judges, scales=[1])
    assert found.trained_on == {"builtin": ("taught",), "vgg16_hed": ()}
    assert "\nbuiltin (trained on: taught)\n" in as_table(found)
    assert "\nvgg16_hed\n" in as_table(found)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sides": []}, "got 0 sides, 3 photos and 1 judges"),
        ({"photos": []}, "got 1 sides, 0 photos"),
        ({"judges": []}, "and 0 judges"),
        ({"sides": [NetworkSide("a", inverted)] * 2}, "The sides of a comparison need different names; got a twice"),
        ({"names": ["tiny", "tiny"]}, "The judges of a comparison need different names; got tiny twice"),
        ({"names": ["picture"]}, "got picture twice"),
    ],
)
def test_wrong_input_is_refused(photos: list[str], judge: Judge, change: dict[str, Any], sentence: str) -> None:
    names = change.get("names", [judge.name])
    judges = change.get("judges", [dataclasses.replace(judge, name=name) for name in names])
    sides = change.get("sides", [NetworkSide("a", inverted)])
    with pytest.raises(ValueError, match=sentence):
        compare_sides(sides, change.get("photos", photos), PAINTING, judges)


def test_artefacts_are_measured_on_photos_of_64_pixels_and_stability_on_the_first(judge: Judge, tmp_path: Path) -> None:
    files = [str(tmp_path / f"{name}.png") for name in "abcd"]
    for file in files:
        save_image(torch.rand(1, 3, 64, 80), file)
    sides = [NetworkSide("network", faded), painted_folder(tmp_path / "p", files)]
    found = compare_sides(sides, files, PAINTING, [judge], scales=[1], stability_photos=2)
    own, other = (
        {name: figure.photos for name, figure in found.figures[side].items() if "tiny" not in name}
        for side in ("network", "folder")
    )
    artefacts = dict.fromkeys(["checkerboard", "dots", "banding", "border", "clipping"], 4) | {"fixed_blobs": 0}
    named = {f"artefacts/{name}": count for name, count in artefacts.items()} | {"picture/ssim": 4}
    assert other == named
    stability = {f"stability/{name}": 2 for name in ("shift1", "shift2", "shift3", "noise")}
    costs = {"network/seconds": 4, "network/memory_mb": 0}
    assert own == named | stability | costs | {"artefacts/flat_checkerboard": 0}
    assert found.figures["network"]["stability/shift1"].mean == pytest.approx(0, abs=1e-4)
    assert found.figures["network"]["stability/noise"].mean == pytest.approx(0.8, abs=0.05)


# ---- reports


def test_the_reports_hold_every_figure(photos: list[str], judge: Judge) -> None:
    found = compared([NetworkSide("one", inverted), NetworkSide("two", faded)], photos, judge, match_content="lowest")
    plain = json.loads(json.dumps(as_json(found), allow_nan=False))
    table, markdown = as_table(found), as_markdown(found)
    for name, figure in found.figures["one"].items():
        assert plain["sides"]["one"][name]["mean"] == figure.mean
        label, number = name.partition("/")[2], f"{figure.mean:.3g}" if abs(figure.mean) < 100 else f"{figure.mean:.0f}"
        assert any(line.split()[:2] == [label, number] for line in table.splitlines()), name
        assert any(line.startswith(f"| {label} | {number}") for line in markdown.splitlines()), name
    difference = found.differences["two"]["tiny/content"]
    assert plain["differences_from_first_side"]["two"]["tiny/content"]["mean"] == difference.mean
    assert f"{difference.mean:+.3g}" in table
    assert "two - one" in table.splitlines()[0]
    columns = {line.count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert columns == {5}


def test_a_caption_has_the_styles_of_all_scales_and_the_content(photos: list[str], judge: Judge) -> None:
    found = compared([NetworkSide("one", inverted)], photos, judge)
    own = {name: f"{figure.mean:.3g}" for name, figure in found.figures["one"].items()}
    styles = f"{own['tiny/style/scale1']} {own['tiny/style/scale2']}"
    assert caption(found, "one") == f"one\ntiny: style {styles}, content {own['tiny/content']}"


def test_figures_of_some_photos_say_of_how_many(judge: Judge, photos: list[str]) -> None:
    save_image(torch.rand(1, 3, 12, 12), photos[0])
    save_image(torch.rand(1, 3, 64, 64), photos[1])
    found = compare_sides(
        [NetworkSide("one", inverted)], photos[:2], {64: torch.rand(1, 3, 64, 64)}, [judge], scales=(1, 2, 4, 8)
    )
    figures = found.figures["one"]
    assert figures["tiny/style/scale8"].photos == 1
    assert figures["tiny/style/scale4"].photos == 2
    assert figures["artefacts/dots"].photos == 1  # They need 64 pixels.
    lines = [line for line in as_table(found).splitlines() if line.endswith("(1 of 2 photos)")]
    assert [line.split()[0] for line in lines if "style" in line] == ["style/scale8"]
    assert {line.split()[0] for line in lines} >= {"style/scale8", "dots", "banding"}


def test_the_cost_of_a_call_is_its_seconds_and_its_memory() -> None:
    def call() -> Tensor:
        held = torch.ones(32, 2**19)  # 64 MiB.
        for _ in range(4):
            held = held * 1.0  # Two of them at a time.
        return held[0, 0]

    result, cost = measured(call, torch.device("cpu"))
    assert result == 1
    assert 0 < cost.seconds < 60
    assert 0.9 * 2**26 < cost.memory < 6 * 2**26
