"""scripts/optimize.py from the command line, with a tiny loss network."""

import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import test_scripts
import torch
from checkout import SCRIPTS
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_scripts import Command
from torch.nn.functional import interpolate

from fast_style import load_image, save_image

command = test_scripts.command  # The same fixture.

SHALLOW = "conv1_1 conv1_2 pool conv2_1 conv2_2 pool conv3_1"
DEEP = f"{SHALLOW} conv3_2 conv3_3 conv3_4 pool conv4_1 conv4_2 conv4_3 conv4_4 pool conv5_1"
# assets_dir is in the current folder; all other files are the user's own.
TINY = [
    "assets_dir=.",
    "loss_network=vgg19_mix",
    "content=photo.png",
    "output=out.png",
    "size=32",
    "device=cpu",
    "method.precision=32-true",
]
TINY += ["method.steps=4", "method.first_steps=4"]
Paint = Callable[..., tuple[int, str, str]]


def network(path: Path, layers: str) -> None:
    """Build a VGG with four channels."""
    generator = torch.Generator().manual_seed(4)
    tensors, channels = {}, 3
    for name in layers.replace("pool", "").split():
        weight = torch.randn(4, channels, 3, 3, generator=generator)
        tensors |= {f"{name}.weight": weight * (2 / (9 * channels)) ** 0.5, f"{name}.bias": torch.zeros(4)}
        channels = 4
    save_file(tensors, path, metadata={"layers": layers})


def lay_out(folder: Path) -> None:
    """Write the assets, a photo of 48 x 36 pixels, masks, and unusable files."""
    generator = torch.Generator().manual_seed(3)

    def soft(height: int, width: int) -> torch.Tensor:
        small = torch.rand(1, 3, 5, 6, generator=generator)
        return interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1)

    (folder / "weights").mkdir()
    network(folder / "weights" / "vgg19_relu3_1.safetensors", SHALLOW)
    network(folder / "weights" / "vgg19_distilled_16x.safetensors", DEEP)
    for name in ("starry_night", "wave", "the_scream"):
        save_image(soft(40, 44), folder / "data" / "styles" / f"{name}.png")
    save_image(soft(36, 48), folder / "photo.png")
    save_image(soft(36, 48).mean(1, keepdim=True).expand(-1, 3, -1, -1), folder / "grey_photo.png")
    save_image(soft(48, 36), folder / "portrait.png")
    save_image(soft(30, 50), folder / "my.jpg")
    left = (torch.arange(48) < 24).float().expand(1, 3, 36, 48)
    save_image(left, folder / "left.png")
    save_image(1 - left, folder / "right.png")
    save_image(torch.zeros(1, 3, 36, 48), folder / "black.png")
    save_image(torch.ones(1, 3, 30, 40), folder / "small_mask.png")
    save_image(torch.full((1, 3, 36, 48), 0.5), folder / "one_colour.png")
    save_image(soft(8, 8), folder / "eight.png")
    (folder / "text.jpg").write_text("no picture")
    (folder / "zero.jpg").touch()
    (folder / "folder.png").mkdir()


@pytest.fixture
def paint(tmp_path: Path, command: Command) -> Paint:
    """Run the script in `tmp_path` with fast settings by default."""
    lay_out(tmp_path)
    return lambda *arguments: command("optimize", *TINY, *arguments)


def painted(paint: Paint, *arguments: str) -> torch.Tensor:
    """Run the script, which must succeed, and return the image."""
    Path("out.png").unlink(missing_ok=True)
    code, _, err = paint(*arguments)
    assert code == 0, err
    return load_image("out.png")


def listing() -> set[str]:
    """List all files and folders below the current folder."""
    return {str(path) for path in Path().rglob("*")}


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest difference, in levels of 0..255."""
    return 255 * (one - other).abs().max().item()


# ---- successful runs


def test_a_run_says_what_it_made(paint: Paint) -> None:
    before = listing()
    code, out, err = paint()
    assert code == 0, err
    losses, picture, curves = out.splitlines()
    terms = {"content/relu4_2", *(f"style/relu{stage}_1" for stage in range(1, 6)), "range"}
    assert {term.split()[0] for term in losses.removeprefix("Losses:").split(",")} == terms
    assert picture.split() == ["Image:", "out.png"]
    folder = curves.split("tensorboard --logdir ")[1]
    assert "loss/total" in EventAccumulator(folder).Reload().Tags()["scalars"]
    made = {name for name in listing() - before if not name.startswith("runs")}
    assert made == {"out.png"}
    assert load_image("out.png").shape == (1, 3, 32, 43)
    assert err.count("\n") == 1  # The line of the progress bar.
    assert "4/4" in err


def test_without_runs_nothing_is_said_of_curves(paint: Paint) -> None:
    before = listing()
    code, out, err = paint("runs=null")
    assert code == 0, err
    assert "TensorBoard" not in out
    assert listing() - before == {"out.png"}


@pytest.mark.slow
def test_styles_are_found_by_name_or_by_file(paint: Paint) -> None:
    default, wave, mine = (painted(paint, *style) for style in ([], ["style=wave"], ["style.image=my.jpg"]))
    assert difference(default, painted(paint, "style=starry_night")) == 0
    assert difference(wave, painted(paint, "style=[wave]")) == 0
    assert difference(wave, painted(paint, "style.image=data/styles/wave.png")) == 0
    assert difference(mine, painted(paint, "style=wave", "style.image=my.jpg")) == 0
    for one, other in ((default, wave), (default, mine), (wave, mine)):
        assert difference(one, other) > 5


@pytest.mark.slow
def test_weights_go_with_the_styles_in_their_order(paint: Paint) -> None:
    wave, scream = painted(paint, "style=wave"), painted(paint, "style=the_scream")
    assert difference(wave, scream) > 5
    assert difference(wave, painted(paint, "style=[wave,the_scream]", "style.weights=[1,1e-6]")) <= 2
    assert difference(scream, painted(paint, "style=[wave,the_scream]", "style.weights=[1e-6,1]")) <= 2
    assert difference(wave, painted(paint, "style=[the_scream,wave]", "style.weights=[1e-6,1]")) <= 2
    files = "style.image=[data/styles/wave.png,data/styles/the_scream.png]"
    assert difference(wave, painted(paint, files, "style.weights=[1,1e-6]")) <= 2
    both = painted(paint, "style=[wave,the_scream]")
    assert difference(both, painted(paint, files)) == 0
    assert min(difference(both, wave), difference(both, scream)) > 2


@pytest.mark.slow
def test_an_original_is_taken_where_it_is_asked_for_and_the_sentence_says_how_to_do_without(paint: Paint) -> None:
    original = ["style=wave", "style.source=painting", "style.cache=originals"]
    original += ["style.pictures.wave.url=none://at/w.jpg"]
    by_hand = Path("originals/wave.jpg")
    code, out, err = paint(*original)
    assert (code, out) == (1, "")
    *log, error = err.splitlines()
    assert log[0].startswith("Downloading")
    assert error.startswith("Error: The original of wave (Katsushika Hokusai")
    assert f"at {by_hand.absolute()} by hand" in error
    assert "style.source=texture" in error
    save_image(load_image("my.jpg"), by_hand)
    checksum = hashlib.sha256(by_hand.read_bytes()).hexdigest()
    made = painted(paint, *original, f"style.pictures.wave.sha256={checksum}")
    assert difference(made, painted(paint, f"style.image={by_hand}")) == 0


@pytest.mark.parametrize("masks", ["left.png", "[left.png]"])
def test_one_mask_is_named_with_or_without_brackets(paint: Paint, masks: str) -> None:
    result, photo = painted(paint, f"style.masks={masks}", "size=null"), load_image("photo.png")
    assert difference(result[..., 24:], photo[..., 24:]) == 0
    assert difference(result[..., :24], photo[..., :24]) > 5


@pytest.mark.slow
def test_every_style_has_its_mask(paint: Paint) -> None:
    one = painted(paint, "style=[wave,the_scream]", "style.masks=[left.png,right.png]")
    other = painted(paint, "style=[wave,the_scream]", "style.masks=[right.png,left.png]")
    assert difference(one, other) > 5
    assert difference(one, painted(paint, "style=[wave,the_scream]", "style.masks=[left.png,null]")) > 2


@pytest.mark.parametrize(("size", "expected"), [("32", (32, 32)), ("[40,24]", (24, 40))])
def test_a_texture_needs_no_photo(paint: Paint, size: str, expected: tuple[int, int]) -> None:
    assert painted(paint, "content=null", f"size={size}").shape[-2:] == expected


def colourfulness(picture: torch.Tensor) -> float:
    return (picture.amax(1) - picture.amin(1)).mean().item()


@pytest.mark.slow
def test_the_photos_colours_can_be_kept_or_matched(paint: Paint) -> None:
    grey = [painted(paint, "content=grey_photo.png", f"color={color}") for color in ("style", "match", "keep")]
    found = [colourfulness(picture) for picture in grey]
    assert found[0] > 2 * found[1]
    assert found[2] < 0.5 / 255
    assert difference(grey[1], grey[2]) > 2
    with_colours = painted(paint, "color=keep")
    assert colourfulness(with_colours) > 0.05
    assert difference(with_colours, painted(paint)) > 5


@pytest.mark.slow
def test_strength_paints_more_or_less_of_the_style(paint: Paint) -> None:
    photo = interpolate(load_image("photo.png"), size=(32, 43), mode="bicubic", antialias=True)
    gentle, strong, none = (
        (painted(paint, f"strength={strength}", "method.steps=20", "method.first_steps=20") - photo).abs().mean()
        for strength in ("0.03", "30", "0")
    )
    assert none < gentle < strong


@pytest.mark.slow
def test_pictures_on_the_way_are_kept_and_gone_on_from(paint: Paint) -> None:
    sizes = ["method.smallest=16", "save_every=4"]
    painted(paint, *sizes)
    kept = sorted(path.name for path in Path().glob("out_*.png"))
    assert kept == ["out_00004.png", "out_00008.png", "out_00012.png"]
    # The first of three sizes is done.
    code, _, err = paint(*sizes, "init_image=out_00008.png", "output=more.png")
    assert code == 0, err
    assert "8/8" in err
    assert load_image("more.png").shape == (1, 3, 32, 43)


@pytest.mark.parametrize("name", ["two words.png", "a=b, c.png", "it's (1) [x].png"])
def test_any_file_name_can_be_said(paint: Paint, name: str) -> None:
    os.replace("photo.png", name)
    Path("in").mkdir()
    os.replace("my.jpg", Path("in", name))
    code, out, err = paint(f'content="{name}"', f'style.image="in/{name}"', f'output="made/{name}"')
    assert code == 0, err
    assert f"made/{name}" in out
    assert load_image(Path("made", name)).shape == (1, 3, 32, 43)


RECIPES = [
    ("lbfgs", [], {"content/relu4_2", "style/relu5_1", "range"}),
    ("gatys2016", [], {"content/relu4_2", "style/relu5_1"}),
    ("pytorch_tutorial", [], {"content/conv2_2", "style/conv3_1"}),
    ("adam_noise", ["save_every=2"], {"content/conv4_2", "style/conv5_1"}),
]


@pytest.mark.parametrize(("recipe", "more", "terms"), RECIPES)
def test_every_recipe_paints(paint: Paint, recipe: str, more: list[str], terms: set[str]) -> None:
    code, out, err = paint(f"optimization={recipe}", "loss_network=vgg19_mix", *more)
    assert code == 0, err
    assert all(f"{term} " in out for term in terms)
    assert "4/4" in err
    assert load_image("out.png").shape == (1, 3, 32, 43)
    kept = sorted(path.name for path in Path().glob("out_*.png"))
    assert kept == (["out_00002.png", "out_00004.png"] if more else [])


@pytest.mark.slow
def test_lbfgs_lowers_the_loss_further_than_adam(paint: Paint) -> None:
    totals = []
    for recipe in ([], ["optimization=lbfgs"]):
        code, out, err = paint(*recipe, "method.first_steps=30")
        assert code == 0, err
        (folder,) = re.findall(r"--logdir (.+)", out)
        totals.append(EventAccumulator(folder).Reload().Scalars("loss/total")[-1].value)
        Path("runs").rename(f"former runs {len(totals)}")
    assert totals[1] < totals[0]


# ---- errors

SMALL = "content=eight.png size=null"  # relu5_1 needs 16 pixels per side.
# "missing" drops an argument of TINY.
MISTAKES = [
    ("missing content", "content"),
    ("content=nowhere.jpg", "nowhere.jpg"),
    ("content=text.jpg", "text.jpg"),
    ("content=folder.png", "a folder"),
    ("content=zero.jpg", "an empty file"),
    ("content=one_colour.png", "only one colour"),
    (SMALL, "too small"),
    ("style.image=eight.png", "too small"),
    ("style=painting", "style.image="),
    ("style.image=[]", "style.image="),
    ("style.image=nowhere.jpg", "nowhere.jpg"),
    ("style.image=[my.jpg,nowhere.jpg]", "nowhere.jpg"),
    ("style.image=text.jpg", "text.jpg"),
    ("style.image=one_colour.png", "only one colour"),
    ("style=[wave,the_scream] style.image=[my.jpg,one_colour.png]", "Style image 2"),
    ("style=shipwreck style.pictures.shipwreck.texture=no.png", "no.png"),
    ("style.source=photo", "style.source must be texture or painting"),
    ("style.masks=black.png", "black.png is empty"),
    ("style.masks=small_mask.png", "40x30 pixels, but the photo has 48x36"),
    ("style.masks=nowhere.png", "nowhere.png"),
    ("style.masks=[left.png,right.png]", "style.masks has 2"),
    ("content=null style.masks=left.png", "texture"),
    ("style.weights=[1,2]", "style.weights has 2"),
    ("style=[wave,the_scream] style.weights=[1]", "style.weights has 1"),
    ("style.weights=[0]", "weights above 0"),
    ("style=[wave,the_scream] style.weights=[1,-1]", "weights above 0"),
    ("style.weights=[heavy]", "weights"),
    ("size=0", "size"),
    ("size=-5", "size"),
    ("size=1.5", "size is"),
    ("size=big", "size is"),
    ("size=[1,2,3]", "size"),
    ("size=[32,32]", "shorter side"),
    ("content=null size=null", "size"),
    ("content=null size=[0,32]", "size"),
    ("content=null color=keep", "texture"),
    ("content=null strength=0", "weights of content and style are 0"),
    ("color=blue", "match"),
    ("output=out.pdf", ".png"),
    ("output=out", ".png"),
    ("output=folder.png", "a folder"),
    ("output=photo.png", "photo.png"),
    ("output=data/styles/starry_night.png", "starry_night.png"),
    ("output=text.jpg/out.png", "can't be written"),
    ("output=null", "output"),
    ("output=new/out.png content=nowhere.jpg", "nowhere.jpg"),
    ("loss.style_layers=[relu9_9]", "relu1_1"),
    ("loss.content_layers=[relu9_9]", "relu1_1"),
    ("loss.normalization=x", "gatys2016"),
    ("loss_network=vgg19 loss_network.weights=nowhere.pth", "nowhere.pth"),
    ("assets_dir=nowhere", "nowhere/weights"),
    ("method.steps=0", "steps"),
    ("method.smallest=0", "smallest"),
    ("method.smallest=-1", "smallest"),
    ("method.average_decay=1", "average_decay"),
    ("method.noise_ratio=2", "noise_ratio"),
    ("method.style_scale=0", "scale"),
    ("method.precision=fp16", "bf16-mixed"),
    ("method.optimizer.lr=-1", "learning rate"),
    ("method.optimizer.lr=1e30 method.clamp=false method.average_decay=0", "learning rate"),
    ("strength=0 loss.content_weight=0", "weights of content and style are 0"),
    ("strength=-1", "strength"),
    ("loss.style_weight=-1", "must be at least 0"),
    ("loss.content_weight=-1", "must be at least 0"),
    ("max_memory=0.0001", "size="),
    ("device=quantum", "quantum"),
    ("init_image=nowhere.png", "nowhere.png"),
    ("init_image=text.jpg", "text.jpg"),
    ("init_image=portrait.png", "36x48"),
    ("save_every=0", "save_every"),
    ("log_every=0", "log_every"),
    ("runs=text.jpg", "text.jpg"),
]
# Words of Python and OmegaConf that do not help a user.
JARGON = r"Traceback|\w+Error|full_key|object_type|division by zero|math domain|must be real|NoneType"


@pytest.mark.slow
@pytest.mark.parametrize(("mistake", "hint"), MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, command: Command, mistake: str, hint: str
) -> None:
    lay_out(tmp_path)
    before = listing()
    arguments = mistake.split()
    if arguments[0] == "missing":
        left_out = arguments[1]
        code, out, err = command("optimize", *(a for a in TINY if not a.startswith(f"{left_out}=")))
    else:
        code, out, err = command("optimize", *TINY, *arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("Error: ")
    assert err.strip().count("\n") == 0
    assert "\r" not in err
    assert hint in err
    assert not re.search(JARGON, err)
    assert listing() == before


@pytest.mark.parametrize("decay", ["0.97", "0"])
@pytest.mark.parametrize("steps", [4, 15])
def test_a_run_that_diverges_says_so_and_keeps_the_former_picture(paint: Paint, steps: int, decay: str) -> None:
    Path("out.png").write_text("old")
    wild = ["method.optimizer.lr=1e30", "method.clamp=false", f"method.first_steps={steps}"]
    before = listing()
    code, out, err = paint(*wild, f"method.average_decay={decay}")
    assert code == 1
    assert out == ""
    # The progress bar may stand above it.
    assert err.splitlines()[-1].startswith("Error: ")
    assert "learning rate" in err
    assert "Warning" not in err
    assert {name for name in listing() - before if not name.startswith("runs")} == set()
    assert Path("out.png").read_text() == "old"


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("style=stary_night", "starry_night"),
        ("style=[stary_night,wave]", "stary_night"),
        ("optimization=gatys", "gatys2016"),
        ("method.stps=3", "stps"),
        ("contnet=photo.png", "contnet"),
        ("loss_network=vgg99", "vgg19_mix"),
    ],
)
def test_a_misspelling_is_never_passed_over(paint: Paint, argument: str, hint: str) -> None:
    before = listing()
    code, _, err = paint(argument)
    assert code == 1
    assert hint in err
    assert "Traceback" not in err
    assert listing() == before


def test_a_recipe_for_training_is_refused(paint: Paint) -> None:
    code, _, err = paint("experiment=gallery")
    assert code == 1
    assert "gallery" in err


# ---- a real Ctrl-C


@dataclass(frozen=True)
class Stopped:
    folder: Path
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A run in its own process, interrupted after the first intermediate image."""
    folder = tmp_path_factory.mktemp("stopped")
    lay_out(folder)
    endless = ["method.steps=1000000", "method.first_steps=1000000", "save_every=20", "output=two words.png"]
    running = subprocess.Popen(
        [sys.executable, SCRIPTS / "optimize.py", *TINY, *endless],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 240
        while not (folder / "two words_00020.png").exists():
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline, "it never began to paint"
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    return Stopped(folder, running.returncode, out, err)


@pytest.mark.slow
def test_ctrl_c_saves_the_picture_and_says_how_to_go_on(stopped: Stopped) -> None:
    assert stopped.code == 130, stopped.err
    assert load_image(stopped.folder / "two words.png").shape == (1, 3, 32, 43)
    assert stopped.out == ""
    assert "Traceback" not in stopped.err
    last = stopped.err.splitlines()[-1]
    step = re.match(r"Stopped at evaluation (\d+) of 1000000; ", last)
    assert step
    assert int(step[1]) >= 20
    assert "43x32 pixels" in last
    assert "init_image=" in last


@pytest.mark.slow
def test_after_ctrl_c_there_are_only_whole_pictures_and_curves(stopped: Stopped) -> None:
    made = {path.name for path in stopped.folder.iterdir()}
    lay_out_alone = stopped.folder / "as before"
    lay_out_alone.mkdir()
    lay_out(lay_out_alone)
    made -= {path.name for path in lay_out_alone.iterdir()}
    assert {name for name in made if not re.fullmatch(r"two words(_\d{5})?\.png", name)} == {"runs"}
    (folder,) = (stopped.folder / "runs" / "optimized" / "two words").iterdir()
    assert EventAccumulator(str(folder)).Reload().Scalars("loss/total")[0].step == 1


@pytest.mark.slow
def test_the_answer_to_ctrl_c_has_a_line_of_its_own(stopped: Stopped) -> None:
    lines = stopped.err.replace("\r", "\n").splitlines()
    assert any(line.startswith("Finishing this step") for line in lines)


@pytest.mark.slow
def test_the_way_to_go_on_can_be_pasted_into_a_shell(stopped: Stopped) -> None:
    advice = stopped.err.splitlines()[-1].partition(" with ")[2]
    (argument,) = shlex.split(advice)
    assert argument.replace('"', "") == "init_image=two words.png"
