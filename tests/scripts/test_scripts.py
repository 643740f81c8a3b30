"""The commands as a person types them: results, and one sentence with exit code 1 for what goes wrong."""

import json
import logging
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkout import SCRIPTS
from clips import make_clip, see
from safetensors.torch import save_file
from training_runs import settings
from translation_runs import settings as translation_settings

from fast_style import load_image, load_stylizer, save_image
from fast_style.networks.serialization import save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.runtime import RuntimeName

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a script in this process (torch takes seconds to import) from the folder `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(SCRIPTS))

    # Hydra points the root logger at this test's terminal; the next test's is another.
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)

    def run(script: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments])
        code = 0
        try:
            runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "dots.safetensors"
    save_network(path, TransformNet(width=2, blocks=0), origin={"style": "dots"})
    return path


@pytest.mark.slow
def test_train_then_stylize_then_evaluate(tmp_path: Path, command: Command) -> None:
    code, out, err = command("train", *settings(tmp_path), "network_file=model.safetensors")
    assert code == 0, err
    assert "Model:       model.safetensors" in out
    assert "tensorboard --logdir" in out
    # evaluate.py stylizes without noise.
    stylize = ["stylize", "ckpt=model.safetensors", "input=photos", "output=painted", "runtime=torch", "noise=0"]
    code, out, _ = command(*stylize)
    assert code == 0
    assert len(list(Path("painted").glob("*_dots.png"))) == 6
    next(Path("painted").glob("*_dots.png")).unlink()
    for lines in (1, 0):
        again = command(*stylize, "skip_existing=true")
        assert again[0] == 0, again
        assert again[1].count("_dots.png") == lines
    assert again[1] == "Nothing to do: every result exists already.\n"
    eyes = {"conv1_1.weight": torch.randn(4, 3, 3, 3), "conv1_1.bias": torch.randn(4)}
    save_file(eyes, "eyes.safetensors", metadata={"layers": "conv1_1"})
    judge = ["judges=[eyes.safetensors]", "content_layers=[relu1_1]", "style_layers=[relu1_1]", "scales=[1]"]
    judged = ["style.image=dots.png", "photos=photos", "style_sizes=[32]", "json=figures.json", *judge]
    code, out, err = command("evaluate", "ckpt=model.safetensors", "pictures=painted", *judged)
    assert code == 0, err
    assert "relu1_1" in out
    figures = json.loads(Path("figures.json").read_text())
    assert figures["photos"] == 6
    errors = [side["eyes/style/scale1"]["mean"] for side in figures["sides"].values()]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


@pytest.mark.slow
def test_train_to_translate_then_stylize_and_resume(tmp_path: Path, command: Command) -> None:
    chosen = translation_settings(tmp_path, steps=2, val_every=2, checkpoint_every=2, network_file="model.safetensors")
    code, out, err = command("train", *chosen)
    assert code == 0, err
    assert out.count("Model:") == 2
    for direction, side in (("A2B", "testA"), ("B2A", "testB")):
        assert f"Model:       model_{direction}.safetensors" in out
        photos = [f"input=warm2cold/{side}", f"output=painted_{direction}", "runtime=torch", "tiles=16"]
        code, _, err = command("stylize", f"ckpt=model_{direction}.safetensors", *photos)
        assert code == 0, err
        assert len(list(Path(f"painted_{direction}").glob(f"*_warm2cold_{direction}.png"))) == 2
    sides = ["input=warm2cold/testA", "target=warm2cold/testB", "layers=[relu1_1]", "json=figures.json"]
    code, out, err = command("evaluate_translation", "ckpt=model_A2B.safetensors", *sides)
    assert code == 0, err
    assert "Fréchet distance to warm2cold/testB" in out
    assert json.loads(Path("figures.json").read_text())["translated"].keys() == {"relu1_1"}
    code, out, err = command("train", "method=cyclegan", "resume=auto", f"runs={tmp_path / 'runs'}")
    assert code == 0, err
    assert "Resuming from" in err
    code, out, err = command("train", "method=cyclegan", f"resume={next(Path('runs').glob('*/*'))}")
    assert code == 0, err
    code, _, err = command("train", f"resume={next(Path('runs').glob('*/*'))}")
    assert code == 1
    assert "a run with task=translation, but this command has task=style" in err


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["data.root=nowhere"], "data.root=nowhere has no folder trainA and no trainB"),
        ([], "Two collections are wanted: data.root=FOLDER"),
        (["data=folder", "data.root=x"], "take data=unpaired with data.root=FOLDER"),
    ],
)
def test_collections_that_are_not_there_are_one_sentence(command: Command, settings: list[str], sentence: str) -> None:
    code, _, err = command("train", "method=cyclegan", *settings)
    assert code == 1
    assert sentence in err
    assert "Traceback" not in err
    assert not Path("runs").exists()


@pytest.mark.parametrize("ckpt", ["wave", "dots"])
@pytest.mark.usefixtures("network")
def test_a_network_goes_by_its_name(tmp_path: Path, command: Command, ckpt: str) -> None:
    save_image(torch.rand(1, 3, 20, 24), tmp_path / "photo.png")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "dots.safetensors").rename("checkpoints/dots.safetensors")
    # wave is in the scripts' checkout.
    code, out, err = command("stylize", f"ckpt={ckpt}", "input=photo.png", "runtime=torch")
    assert code == 0, err
    assert out.strip() == f"stylized/photo_{ckpt}.png"


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        # The default runtime is exported first, which takes seconds.
        pytest.param("plain.png", None, marks=pytest.mark.slow),
        *[(name, "torch") for name in ("plain.png", "two words.png", "a=b, c.png", "it's (1) [x].png")],
    ],
)
def test_any_file_name_can_be_said(
    tmp_path: Path, command: Command, network: Path, name: str, runtime: RuntimeName | None
) -> None:
    save_image(torch.rand(1, 3, 20, 24), tmp_path / name)
    chosen = [f"runtime={runtime}"] if runtime else []
    code, _, err = command("stylize", f"ckpt={network}", f'input="{name}"', "output=out.png", *chosen)
    assert code == 0, err
    expected = load_stylizer(network, runtime=runtime or "auto")(load_image(tmp_path / name))
    torch.testing.assert_close(load_image("out.png"), expected, rtol=0, atol=0.51 / 255)


@pytest.mark.parametrize(("arguments", "target"), [([], "stylized/clip_dots.mp4"), (["output=out.mkv"], "out.mkv")])
def test_a_video_is_painted_under_a_bar_of_frames(
    command: Command, network: Path, arguments: list[str], target: str
) -> None:
    make_clip("clip.mp4")
    paint = ["stylize", f"ckpt={network}", "runtime=torch", "input=clip.mp4", "smoothing=0.5"]
    code, out, err = command(*paint, *arguments)
    assert code == 0, err
    assert out.strip() == target
    assert "10/10" in err
    assert "frame/s" in err
    assert len(see(target).pictures) == 10


def test_a_video_that_is_painted_already_is_named_and_left(
    command: Command, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clip("clip.mp4")
    Path("out.mp4").write_text("painted before")
    monkeypatch.setattr("fast_style.stylize.stylizer.load_stylizer", None)
    code, out, err = command("stylize", f"ckpt={network}", "input=clip.mp4", "output=out.mp4", "skip_existing=true")
    assert code == 0, err
    assert out.strip() == "out.mp4"
    assert Path("out.mp4").read_text() == "painted before"


EARLY = [
    (["input=nowhere.mp4"], "nowhere.mp4, found nothing"),
    (["input=clip.mp4", "output=out.png"], ".mp4"),
    (["input=clip.mp4", "smoothing=2"], "smoothing"),
    (["input=clip.mp4", "quality=0"], "quality"),
    (["input=clip.mp4", "size=0"], "size"),
    (["input=photo.png", "smoothing=0.5"], "smoothing=0.5 is for videos"),
]
LATE = [
    (["input=text.mp4"], "text.mp4, found a file that cannot be decoded"),
    (["input=clip.mp4", "mask=nowhere.png"], "nowhere.png"),
]


@pytest.mark.parametrize(("arguments", "hint"), EARLY + LATE)
def test_a_mistake_about_a_video_is_one_sentence(
    tmp_path: Path,
    command: Command,
    network: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    hint: str,
) -> None:
    make_clip("clip.mp4")
    Path("text.mp4").write_text("no video" * 1000)
    if (arguments, hint) in EARLY:  # Said before a runtime is prepared.
        monkeypatch.setattr("fast_style.stylize.stylizer.load_stylizer", None)
    code, _, err = command("stylize", f"ckpt={network}", "runtime=torch", *arguments)
    assert code == 1
    [sentence] = err.splitlines()
    assert sentence.startswith("Error: ")
    assert hint in sentence
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"clip.mp4", "text.mp4", network.name}


def lay_out(folder: Path) -> None:
    (folder / "text.jpg").write_text("no picture")
    (folder / "folder.jpg").mkdir()
    (folder / "empty").mkdir()
    (folder / "bad").mkdir()
    (folder / "bad" / "a.jpg").write_text("no picture")
    (folder / "bad" / "b.jpg").write_text("no picture")
    (folder / "junk.safetensors").write_bytes(b"junk" * 100)
    (folder / "junk.ckpt").write_bytes(b"junk" * 100)


TRAINING_MISTAKES = [
    ("style.image=nowhere.jpg", "nowhere.jpg"),
    ("style.image=text.jpg", "text.jpg"),
    ("style.image=folder.jpg", "a folder"),
    ("data.root=nowhere", "nowhere"),
    ("data.root=empty", "holds no images"),
    ("data.root=bad", "could be read"),
    ("data.size=0", "data.size"),
    ("loss.style_layers=[relu9_9]", "relu1_1"),
    ("loss.normalization=gatys", "johnson2016"),
    ("generator=johnson generator.upsample=bilinear", "nearest"),
    ("generator.outer_kernel=4", "odd"),
    ("loss_network.weights=nowhere.pth", "nowhere.pth"),
    ("resume=nowhere", "resume=auto"),
    ("style=painting style.image=null", "style.image"),
    ("style=[wave,the_scream] style.image=null", "one style"),
    ("style.image=[a.jpg,b.jpg]", "one style"),
    ("style=wave style.image=null style.pictures.wave.texture=no.png", "no.png"),
    ("style=wave style.image=null style.source=photo", "texture or painting"),
    ("style.size=big", "sizes"),
    ("style.crops=0", "crop"),
    ("steps=0", "steps"),
    ("save_as=fp61", "fp16"),
    ("network_file=model.pt", ".safetensors"),
    ("loss.content_weight=0 loss.style_weight=0 loss.tv_weight=0", "Raise loss.style_weight"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("mistake", "hint"), TRAINING_MISTAKES)
def test_a_training_mistake_is_one_sentence(tmp_path: Path, command: Command, mistake: str, hint: str) -> None:
    lay_out(tmp_path)
    code, _, err = command("train", *settings(tmp_path), *mistake.split())
    assert code == 1
    assert err.startswith("Error: ")
    assert hint in err
    assert err.strip().count("\n") == 0
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    ("root", "missing"), [("nowhere/photos", "photos"), (".", "weights/vgg19_relu3_1.safetensors")]
)
def test_material_that_is_not_there_is_said_with_the_way_to_name_it(command: Command, root: str, missing: str) -> None:
    chosen = ["style=wave", "loss_network=vgg19_relu3_1", "data=folder", f"data.root={root}"]
    code, _, err = command("train", *chosen, "assets_dir=nowhere")
    assert code == 1
    assert f"nowhere/{missing}" in err
    assert "is not bundled" in err
    assert "assets_dir=" in err
    assert err.strip().count("\n") == 0


STYLIZING_MISTAKES = [
    (["ckpt=nowhere.safetensors", "input=photo.png"], "nowhere.safetensors"),
    (["ckpt=stary_night", "input=photo.png"], "starry_night, "),
    (["ckpt=junk.safetensors", "input=photo.png"], "junk.safetensors"),
    (["ckpt=junk.ckpt", "input=photo.png"], "junk.ckpt"),
    (["ckpt=dots.safetensors", "input=empty"], "no images"),
    (["ckpt=dots.safetensors", "input=photo.png", "output=photo.png"], "photo itself"),
    (["ckpt=dots.safetensors", "input=photo.png", "output=out.png", "quality=0"], "quality"),
    (["input=photo.png"], "ckpt"),
    (["ckpt=dots.safetensors", "input=photo.png", "device=quantum"], "quantum"),
    (["ckpt=dots.safetensors", "input=photo.png", "output=out.pdf"], ".png"),
    (["ckpt=dots.safetensors", "input=photo.png", "suffix=png"], ".png"),
    (["ckpt=dots.safetensors", "input=photo.png", "output=text.jpg/out.png"], "can't be written"),
]


@pytest.mark.parametrize(("arguments", "hint"), STYLIZING_MISTAKES)
@pytest.mark.usefixtures("network")
def test_a_stylizing_mistake_is_one_sentence(tmp_path: Path, command: Command, arguments: list[str], hint: str) -> None:
    lay_out(tmp_path)
    save_image(torch.rand(1, 3, 20, 24), tmp_path / "photo.png")
    code, _, err = command("stylize", *arguments, "runtime=torch")
    assert code == 1
    assert err.startswith("Error: ")
    assert hint in err
    assert err.strip().count("\n") == 0


def test_a_broken_photo_among_others_is_named_and_the_exit_code_says_so(
    tmp_path: Path, command: Command, network: Path
) -> None:
    (tmp_path / "in").mkdir()
    save_image(torch.rand(1, 3, 20, 24), tmp_path / "in" / "whole.png")
    (tmp_path / "in" / "broken.png").write_text("no picture")
    (tmp_path / "in" / "phone.heic").touch()
    code, out, err = command("stylize", f"ckpt={network}", "input=in", "output=out", "runtime=torch")
    assert code == 1
    assert err.startswith("Left out 1 file of image formats that are not read (.heic: 1).\n")
    assert "broken.png" in out + err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["whole_dots.png"]


def test_debug_shows_the_traceback(tmp_path: Path, command: Command) -> None:
    code, _, err = command("train", *settings(tmp_path), "style.image=nowhere.jpg", "debug=true")
    assert code == 1
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["style=stary_night"], "starry_night"), (["generator.widht=3"], "widht"), (["styl=wave"], "styl")],
)
def test_a_misspelling_gets_hydras_answer(tmp_path: Path, command: Command, arguments: list[str], hint: str) -> None:
    code, _, err = command("train", *arguments)
    assert code == 1
    assert hint in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_killed_command_goes_on_with_the_rest_of_its_folder(tmp_path: Path, command: Command, network: Path) -> None:
    for number in range(100):
        save_image(torch.rand(3, 96, 96), f"photos/{number % 7}/{number}.png")
    arguments = [f"ckpt={network}", "input=photos", "output=painted", "runtime=torch", "skip_existing=true"]
    log = (tmp_path / "log").open("w")
    running = subprocess.Popen([sys.executable, SCRIPTS / "stylize.py", *arguments], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while len(list(Path("painted").rglob("*_dots.png"))) < 5:
            assert running.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, "it never began to paint"
            time.sleep(0.01)
    finally:
        running.kill()
        running.wait()
        log.close()
    there = {file: file.read_bytes() for file in Path("painted").rglob("*_dots.png")}
    assert 5 <= len(there) < 100
    assert all(load_image(file).shape == (1, 3, 96, 96) for file in there)
    code, out, err = command("stylize", *arguments)
    assert code == 0, err
    assert out.count("_dots.png") == 100 - len(there)
    everything = list(Path("painted").rglob("*_dots.png"))
    assert len(everything) == 100
    assert all(load_image(file).shape == (1, 3, 96, 96) for file in everything)
    assert all(file.read_bytes() == before for file, before in there.items())
