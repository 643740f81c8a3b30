"""Output paths and file handling: every photo has one output file, and a broken photo does not stop the others."""

import logging
import runpy
import sys
import weakref
from pathlib import Path

import pytest
import torch
from checkout import SCRIPTS

from fast_style import Stylizer, load_image, save_image
from fast_style.images.decode import read_arrays, read_mask
from fast_style.images.tensors import read_picture
from fast_style.networks.serialization import save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.pytorch import Torch
from fast_style.stylize import files as pictures_module
from fast_style.stylize.files import FileSettings, Painted, paint
from fast_style.stylize.memory_budget import BYTES_PER_PIXEL, PICTURE, PROCESS
from fast_style.stylize.output_paths import left_out, plan, unfinished
from fast_style.stylize.painter import Painter, PainterSettings


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with photos at the top and nested, a text file, and an empty GIF."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(["photo.jpg", "photos/a.jpg", "photos/b.png", "photos/deep/er/a.JPG"]):
        save_image(torch.rand(3, 24, 30 + i), name)
    Path("photos/notes.txt").touch()
    Path("photos/c.gif").touch()  # GIF can be read, but not written.
    return tmp_path


def planned(source, output=None, **options):
    return {str(photo): str(target) for photo, target in plan(source, output, style="wave", **options)}


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        ("photo.jpg", "out.png", {"photo.jpg": "out.png"}),
        ("photo.jpg", "new/out.PNG", {"photo.jpg": "new/out.PNG"}),
        ("photo.jpg", "new", {"photo.jpg": "new/photo_wave.jpg"}),
        ("photo.jpg", None, {"photo.jpg": "stylized/photo_wave.jpg"}),
        (
            "photos",
            "new",
            {
                "photos/a.jpg": "new/a_wave.jpg",
                "photos/b.png": "new/b_wave.png",
                "photos/c.gif": "new/c_wave.png",
                "photos/deep/er/a.JPG": "new/deep/er/a_wave.JPG",
            },
        ),
        ("photos/deep", "new", {"photos/deep/er/a.JPG": "new/er/a_wave.JPG"}),
        ("photos/deep", "new.png", {"photos/deep/er/a.JPG": "new.png"}),
        ("photos/*.[jp][pn]g", "new", {"photos/a.jpg": "new/a_wave.jpg", "photos/b.png": "new/b_wave.png"}),
        (
            "**/a.[jJ][pP][gG]",
            "new",
            {"photos/a.jpg": "new/a_wave.jpg", "photos/deep/er/a.JPG": "new/deep/er/a_wave.JPG"},
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_every_photo_has_its_target(source, output, expected):
    assert planned(source, output) == expected


@pytest.mark.usefixtures("here")
def test_a_suffix_is_for_all_in_a_folder():
    assert {Path(t).suffix for t in planned("photos", "new", suffix=".png").values()} == {".png"}
    assert planned("photo.jpg", "out.jpg", suffix=".png") == {"photo.jpg": "out.jpg"}


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(here):
    (here / "photo.jpg").rename(here / "photo[1].jpg")
    assert planned("photo[1].jpg", "new") == {"photo[1].jpg": "new/photo[1]_wave.jpg"}


@pytest.mark.parametrize(
    ("source", "output", "sentence"),
    [
        ("photos", "out.png", "4 photos cannot be written to one file, out.png"),
        ("photos/*.???", "out.jpg", "photos cannot be written to one file, out.jpg"),
        ("photo.jpg", "photo.jpg", "photo.jpg is the photo itself"),
        ("photo.jpg", "photos/../photo.jpg", "is the photo itself"),
        ("photo.jpg", "link.jpg", "link.jpg is the photo itself"),
        ("empty", None, "empty holds no images"),
        ("*.webp", "new", r"no image at \*.webp"),
        ("twice", "new", r"twice/a.gif and twice/a.gif.png have the same output new/a.gif_wave.png"),
    ],
)
def test_bad_plans_are_refused(here, source, output, sentence):
    (here / "empty").mkdir()
    (here / "link.jpg").symlink_to("photo.jpg")
    (here / "twice").mkdir()
    for name in ("a.gif", "a.gif.png", "a.png"):
        (here / "twice" / name).touch()
    with pytest.raises(ValueError, match=sentence):
        planned(source, output)


@pytest.mark.parametrize(
    ("photos", "output", "suffix"),
    [
        pytest.param(["in/a.gif", "in/a.png"], "new", None, id="same-target"),
        pytest.param(["in/a.jpg", "in/a.png"], "new", ".png", id="same-target-by-suffix"),
        pytest.param(["in/a.jpg", "in/a_wave.jpg"], "in", None, id="another-photo"),
    ],
)
@pytest.mark.usefixtures("here")
def test_no_result_overwrites_another_or_a_photo(photos, output, suffix):
    for name in photos:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    try:
        targets = list(planned("in", output, suffix=suffix).values())
    except ValueError:
        return  # Refusing is as good as choosing other names.
    assert len(set(targets)) == len(photos)
    assert set(targets).isdisjoint(photos)


def test_results_in_a_subfolder_are_not_stylized_again(here):
    first = planned(".")
    for target in first.values():
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    assert planned(".") == first


def test_unsupported_image_files_in_a_folder_are_counted(here):
    assert left_out("photos") == left_out("photo.jpg") == left_out("**/*.heic") == left_out("nowhere") == ""
    for name in ("a.HEIC", "deep/b.heic", "deep/er/c.cr2", "d.jxl"):
        (here / "photos" / name).touch()
    assert left_out("photos") == "Left out 4 files of image formats that are not read (.cr2: 1, .heic: 2, .jxl: 1)."
    assert left_out("photos/deep/er") == "Left out 1 file of image formats that are not read (.cr2: 1)."
    assert len(planned("photos")) == 4


# ---- stylizing


@pytest.fixture
def painter():
    return Painter(Stylizer(Torch(TransformNet(width=2, blocks=0)), origin={"style": "wave"}))


@pytest.mark.parametrize(("size", "shape"), [(None, (24, 30)), (16, (16, 20)), (48, (48, 60))])
@pytest.mark.usefixtures("here")
def test_a_photo_is_painted_at_the_size_asked_for(painter, size, shape):
    [painted] = paint(painter, plan("photo.jpg", "out.png", style="wave"), FileSettings(size=size))
    assert painted == Painted(Path("photo.jpg"), Path("out.png"))
    assert painted.problem is None
    expected = painter.stylizer(load_image("photo.jpg", size=size))
    found = load_image("out.png")
    assert found.shape == (1, 3, *shape)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.51 / 255)


@pytest.mark.usefixtures("here")
def test_a_broken_photo_is_skipped_with_its_reason(painter):
    save_image(torch.rand(3, 15, 40), "photos/bb.png")
    results = {str(p.source): p for p in paint(painter, plan("photos", "new", style="wave"), FileSettings(quality=90))}
    problems = {source: p.problem for source, p in results.items() if p.problem}
    assert list(results) == [f"photos/{n}" for n in ("a.jpg", "b.png", "bb.png", "c.gif", "deep/er/a.JPG")]
    assert problems.keys() == {"photos/bb.png", "photos/c.gif"}
    assert "photos/c.gif, found an empty file" in problems["photos/c.gif"]
    assert "photos/bb.png cannot be stylized: " in problems["photos/bb.png"]
    assert "(1, 3, 15, 40)" in problems["photos/bb.png"]
    assert all("\n" not in problem for problem in problems.values())
    for source, result in results.items():
        assert (result.target is None) is (source in problems)
    written = sorted(str(path) for path in Path("new").rglob("*") if path.is_file())
    assert written == ["new/a_wave.jpg", "new/b_wave.png", "new/deep/er/a_wave.JPG"]


@pytest.mark.usefixtures("here")
def test_a_missing_photo_is_reported(painter):
    [painted] = paint(painter, plan("nowhere.jpg", "new", style="wave"))
    assert painted.target is None
    assert "nowhere.jpg, found nothing" in painted.problem
    assert not Path("new").exists()


@pytest.mark.usefixtures("here")
def test_images_are_stylized_lazily_and_one_ahead(painter):
    for number in range(6):
        save_image(torch.rand(3, 20, 20), f"many/{number}.png")
    results = paint(painter, plan("many", "new", style="wave"))
    assert next(results).target == Path("new/0_wave.png")
    results.close()
    assert 1 <= len(list(Path("new").iterdir())) <= 3
    assert all(load_image(path).shape == (1, 3, 20, 20) for path in Path("new").iterdir())


@pytest.mark.usefixtures("here")
def test_existing_results_can_be_skipped(painter):
    for number in range(3):
        save_image(torch.rand(3, 20, 20), f"many/{number}.png")
    pairs = plan("many", "new", style="wave")
    Path("new").mkdir()
    Path("new/1_wave.png").write_bytes(b"painted before")
    done = [painted.target.name for painted in paint(painter, unfinished(pairs))]
    assert done == ["0_wave.png", "2_wave.png"]
    assert Path("new/1_wave.png").read_bytes() == b"painted before"
    assert list(paint(painter, unfinished(pairs))) == []
    assert len(list(paint(painter, pairs))) == 3


@pytest.mark.usefixtures("here")
def test_only_the_masked_area_is_stylized(painter):
    mask = torch.zeros(1, 3, 40, 50)
    mask[..., 25:] = 1
    save_image(mask, "mask.png")
    save_image(torch.rand(3, 40, 50), "flat.png")
    list(paint(painter, plan("flat.png", "all.png", style="wave")))
    list(paint(painter, plan("flat.png", "half.png", style="wave"), FileSettings(mask="mask.png")))
    assert torch.equal(load_image("half.png")[..., :25], load_image("flat.png")[..., :25])
    assert torch.equal(load_image("half.png")[..., 25:], load_image("all.png")[..., 25:])


@pytest.mark.usefixtures("here")
def test_transparency_may_be_the_mask(painter):
    alpha = torch.zeros(1, 1, 20, 24)
    alpha[..., :10] = 1
    photo = torch.rand(1, 3, 20, 24)
    save_image(photo, "cut.png", alpha=alpha)
    list(paint(painter, plan("cut.png", "out.png", style="wave"), FileSettings(alpha="mask")))
    found = read_picture("out.png")
    assert found.alpha is None
    assert torch.equal(found.pixels[..., 10:], torch.ones(1, 3, 20, 14))  # Transparent areas are read as white.
    with pytest.raises(ValueError, match="alpha is one of keep, mask; got 'drop'"):
        FileSettings(alpha="drop")


@pytest.mark.usefixtures("here")
def test_quality_changes_the_file_size(painter):
    sizes = {}
    for quality in (10, 95):
        list(paint(painter, plan("photo.jpg", f"{quality}.jpg", style="wave"), FileSettings(size=64, quality=quality)))
        sizes[quality] = Path(f"{quality}.jpg").stat().st_size
    assert sizes[10] < sizes[95]


@pytest.mark.usefixtures("here")
def test_alpha_is_kept_where_the_format_can(painter):
    alpha = torch.zeros(1, 1, 20, 24)
    alpha[..., :10] = 1
    save_image(torch.rand(1, 3, 20, 24), "cut.png", alpha=alpha)
    [painted] = paint(painter, plan("cut.png", "out.png", style="wave"))
    assert painted.problem is None
    assert torch.equal(read_picture("out.png").alpha, alpha)


@pytest.mark.usefixtures("here")
def test_an_image_over_the_limit_is_skipped(painter):
    [painted] = paint(painter, plan("photo.jpg", "out.png", style="wave"), max_pixels=100)
    assert "max_pixels" in painted.problem


@pytest.mark.usefixtures("here")
def test_an_unwritable_result_is_skipped_with_its_reason(painter):
    save_image(torch.rand(3, 16, 16400), "photos/long.png")
    results = {p.source.name: p for p in paint(painter, plan("photos", "new", style="wave", suffix=".webp"))}
    assert "long.png cannot be written: 16400x16 pixels cannot be written as WEBP" in (
        results["long.png"].problem or ""
    )
    assert results["b.png"].problem is None


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.usefixtures("here")
def test_large_images_are_in_memory_one_at_a_time(painter, monkeypatch, pictures):
    for i in range(3):
        save_image(torch.rand(3, 20, 20), f"many/{i}.png")
    alive, most = set(), []

    def read(path, **options):
        # The previous result has left memory too: it is on disk.
        assert pictures > 1 or len(list(Path("new").glob("*"))) == len(most)
        picture = read_arrays(path, **options)
        alive.add(id(picture))
        most.append(len(alive))
        weakref.finalize(picture, alive.discard, id(picture))
        return picture

    monkeypatch.setattr(pictures_module, "read_arrays", read)
    monkeypatch.setattr(painter, "is_large", lambda pixels: pictures == 1)
    assert all(painted.problem is None for painted in paint(painter, plan("many", "new", style="wave")))
    assert len(most) == 3
    assert max(most) <= pictures


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": 0}, "size is the shorter side in pixels and must be at least 1; got 0"),
        ({"quality": 101}, "quality must be from 1 to 100; got 101"),
        ({"batch": 0}, "batch is the number of images per call, at least 1; got 0"),
        ({"alpha": "drop"}, "alpha is one of keep, mask; got 'drop'"),
        ({"mask": "nowhere.png"}, "nowhere.png"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("here")
def test_settings_are_checked_before_anything_is_painted(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        FileSettings(**settings)


@pytest.mark.usefixtures("here")
def test_settings_are_checked_once(painter, monkeypatch):
    save_image(torch.rand(3, 24, 32), "mask.png")
    shapes = []
    monkeypatch.setattr(
        pictures_module, "read_mask", lambda path, shape: (shapes.append(shape), read_mask(path, shape))[1]
    )
    settings = FileSettings(mask="mask.png")
    assert shapes == [(1, 1)]
    list(paint(painter, plan("photo.jpg", "out.png", style="wave"), settings))
    assert shapes == [(1, 1), (24, 30)]


@pytest.mark.parametrize(
    "setting",
    [
        "size=0",
        "quality=101",
        "batch=0",
        "alpha=drop",
        "mask=nowhere.png",
        "tiles=0",
        "max_memory=0",
        "brush_scale=0",
        "brush_scale=wide",
    ],
)
def test_a_mistake_is_reported_before_a_runtime_is_prepared(here, monkeypatch, capfd, setting):
    monkeypatch.setattr("fast_style.stylize.stylizer.load_stylizer", None)
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    save_network("wave.safetensors", TransformNet(width=2, blocks=0), origin={"style": "wave"})
    monkeypatch.setattr(sys, "argv", ["stylize.py", "ckpt=wave.safetensors", "input=photo.jpg", setting])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / "stylize.py"), run_name="__main__")
    said = f"{stop.value.code}{capfd.readouterr().err}"
    assert setting.split("=")[0 if setting != "mask=nowhere.png" else 1] in said
    assert "load_stylizer" not in said
    assert not (here / "stylized").exists()


@pytest.mark.parametrize("mask", [None, "mask.png"])
@pytest.mark.usefixtures("here")
def test_a_batch_gives_the_same_results_as_single_images(painter, monkeypatch, mask):
    save_image(torch.rand(3, 24, 32), "mask.png")
    for number in range(7):
        save_image(torch.rand(3, 20 + 2 * (number % 2), 24), f"many/{number}.png")
    Path("many/broken.png").write_bytes(b"broken")
    pairs = plan("many", "new", style="wave")
    one_by_one = {painted.source: painted.problem for painted in paint(painter, pairs, FileSettings(mask=mask))}
    alone = {target: load_image(target) for _, target in pairs if target.is_file()}
    calls = []
    runtime = painter.stylizer.runtime

    class Counting:
        name, device = runtime.name, runtime.device

        def arrays(self, pictures):
            calls.append(pictures.shape[:1] + pictures.shape[2:])
            return runtime.arrays(pictures)

    monkeypatch.setattr(painter.stylizer, "runtime", Counting())
    together = {painted.source: painted.problem for painted in paint(painter, pairs, FileSettings(batch=3, mask=mask))}
    assert together == one_by_one
    assert sum(problem is not None for problem in together.values()) == 1
    assert sorted(calls) == [(1, 20, 24), (3, 20, 24), (3, 22, 24)]
    for target, expected in alone.items():
        torch.testing.assert_close(load_image(target), expected, rtol=0, atol=1.01 / 255)


@pytest.mark.usefixtures("here")
def test_a_batch_that_does_not_fit_is_stylized_one_by_one(painter, monkeypatch):
    for number in range(3):
        save_image(torch.rand(3, 20, 24), f"many/{number}.png")
    room = PROCESS + 20 * 24 * (BYTES_PER_PIXEL["torch"] + PICTURE)
    painter = Painter(painter.stylizer, PainterSettings(max_memory=room))
    calls, own = [], Stylizer.__call__
    monkeypatch.setattr(Stylizer, "__call__", lambda self, x: (calls.append(len(x)), own(self, x))[1])
    assert len(list(paint(painter, plan("many", "new", style="wave"), FileSettings(batch=3)))) == 3
    assert calls == [1, 1, 1]


@pytest.mark.parametrize("where", ["read_arrays", "encode_levels"])
@pytest.mark.usefixtures("here")
def test_too_little_memory_for_one_image_does_not_stop_the_folder(painter, monkeypatch, where):
    real, calls = getattr(pictures_module, where), []

    def fails_first(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise MemoryError
        return real(*arguments, **options)

    monkeypatch.setattr(pictures_module, where, fails_first)
    painted = list(paint(painter, plan("photos/*.*g", "new", style="wave")))
    assert [p.problem is None for p in painted] == [False, True]
    assert "memory" in painted[0].problem
