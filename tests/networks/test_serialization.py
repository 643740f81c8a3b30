"""A network file rebuilds its network; other files are refused in one line, and code in a file never runs."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from checkout import CONF
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

import fast_style
from fast_style.networks import serialization
from fast_style.networks.serialization import describe, load_network, read_tensors, save_network
from fast_style.networks.transform_net import TransformNet

PRESETS = sorted(CONF.glob("generator/*.yaml"))
ORIGIN = {"style": "wave", "recipe": "quick", "version": fast_style.__version__}
VARIANTS = {
    "johnson2016": {"fractional_kernel": 3, "residual_padding": "none", "blocks": 2, "output_gain": 1.0},
    "nearest": {"upsample": "nearest", "blocks": 0},
    "linear": {"upsample": "linear", "blocks": 0},
}


def generators():
    for path in PRESETS:
        preset = OmegaConf.load(path)
        yield pytest.param(lambda preset=preset: instantiate(preset, width=8, _convert_="all"), id=path.stem)
    for name, options in VARIANTS.items():
        yield pytest.param(lambda options=options: TransformNet(width=8, **options), id=name)


def unsettled(network):
    """Change every weight, including the ones and zeros of the normalisations."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network.eval()


@pytest.fixture
def file(tmp_path):
    save_network(tmp_path / "wave.safetensors", unsettled(TransformNet(width=2, blocks=1)), origin=ORIGIN)
    return tmp_path / "wave.safetensors"


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0), ("fp16", 2e-3)])
@pytest.mark.parametrize("build", list(generators()))
def test_a_file_rebuilds_its_network_with_no_other_argument(tmp_path, build, precision, tolerance):
    network, picture = unsettled(build()), torch.rand(1, 3, 32, 27)
    path = tmp_path / "made/on/the/way.safetensors"
    save_network(path, network, origin=ORIGIN, precision=precision)
    rebuilt, origin = load_network(path)
    assert rebuilt.architecture == network.architecture
    assert not rebuilt.training
    assert {p.dtype for p in rebuilt.parameters()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(picture), network(picture), rtol=0, atol=tolerance)
    assert origin.items() >= ORIGIN.items()


def test_the_file_contains_its_origin(file):
    _, metadata = read_tensors(file)
    assert metadata.items() >= {**ORIGIN, "format": "fast_style/1", "network": "TransformNet"}.items()
    assert json.loads(metadata["architecture"]) == TransformNet(width=2, blocks=1).architecture


def test_a_file_without_outer_kernel_is_rebuilt(tmp_path):
    network = unsettled(TransformNet(width=2, blocks=1))
    metadata = describe(network, ORIGIN)
    older = json.loads(metadata["architecture"])
    del older["outer_kernel"]
    metadata["architecture"] = json.dumps(older)
    save_file(network.state_dict(), tmp_path / "older.safetensors", metadata=metadata)
    picture = torch.rand(1, 3, 20, 24)
    with torch.no_grad():
        assert torch.equal(load_network(tmp_path / "older.safetensors")[0](picture), network(picture))


def test_fp16_halves_the_file(tmp_path):
    network = TransformNet(width=16)
    sizes = {}
    for precision in ("fp32", "fp16"):
        save_network(tmp_path / precision, network, origin=ORIGIN, precision=precision)
        sizes[precision] = (tmp_path / precision).stat().st_size
    assert sizes["fp16"] < 0.52 * sizes["fp32"]


def test_a_training_checkpoint_is_loaded_too(tmp_path):
    network, picture = unsettled(TransformNet(width=4, blocks=1)), torch.rand(1, 3, 16, 16)
    content = {"tensors": network.state_dict(), "metadata": describe(network, ORIGIN)}
    torch.save({"state_dict": {"other": torch.zeros(1)}, "fast_style": content}, tmp_path / "last.ckpt")
    rebuilt, origin = load_network(tmp_path / "last.ckpt")
    assert torch.equal(rebuilt(picture), network(picture))
    assert origin["style"] == "wave"


# ---- files that are no network


def retold(file, **changes):
    """Write the same weights with changed metadata."""
    tensors, metadata = read_tensors(file)
    save_file(tensors, file, metadata={**metadata, **changes})


def make_folder(file):
    file.unlink()
    file.mkdir()


def described(**changes):
    return json.dumps(TransformNet(width=2, blocks=1).architecture | changes)


SPOILS = {
    "missing": (Path.unlink, "found nothing"),
    "folder": (make_folder, "found a folder"),
    "empty": (lambda f: f.write_bytes(b""), "not a complete safetensors file"),
    "truncated": (lambda f: f.write_bytes(f.read_bytes()[:-10]), "not a complete safetensors file"),
    "half-a-header": (lambda f: f.write_bytes(f.read_bytes()[:40]), "not a complete safetensors file"),
    "random-bytes": (lambda f: f.write_bytes(bytes(range(7, 256)) * 40), "not a complete safetensors file"),
    "text": (lambda f: f.write_text("<html>\n<body>404\n</html>\n" * 20), "not a complete safetensors file"),
    "something-else": (lambda f: save_file({"x": torch.zeros(3)}, f), "no network file of fast_style"),
    "newer-format": (lambda f: retold(f, format="fast_style/2"), "found 'fast_style/2'"),
    "unknown-network": (
        lambda f: retold(f, network="UNet"),
        "needs the generator UNet, but GENERATORS only has FastNet, TransformNet",
    ),
    "another-width": (lambda f: retold(f, architecture=described(width=3)), "damaged: its weights do not fit"),
    "more-blocks": (lambda f: retold(f, architecture=described(blocks=2)), "damaged: its weights do not fit"),
    "fewer-blocks": (lambda f: retold(f, architecture=described(blocks=0)), "damaged: its weights do not fit"),
    "unknown-option": (lambda f: retold(f, architecture=described(depth=2)), "damaged"),
    "impossible-option": (lambda f: retold(f, architecture=described(fractional_kernel=7)), "damaged"),
    "no-json": (lambda f: retold(f, architecture="width 2"), "damaged"),
    "json-of-something-else": (lambda f: retold(f, architecture="[1, 2]"), "damaged"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_other_files_are_refused_in_one_line(file, spoil):
    change, sentence = SPOILS[spoil]
    change(file)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_network(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


CHECKPOINTS = {
    "empty": lambda f: f.write_bytes(b""),
    "random-bytes": lambda f: f.write_bytes(bytes(range(7, 256)) * 40),
    "text": lambda f: f.write_text("<html>\n<body>404\n</html>\n" * 20),
    "truncated": lambda f: (torch.save({"x": torch.zeros(100)}, f), f.write_bytes(f.read_bytes()[:-200])),
    "tensor": lambda f: torch.save(torch.zeros(3), f),
    "numbers": lambda f: torch.save({"x": 1}, f),
    "state-dict": lambda f: torch.save(TransformNet(width=2).state_dict(), f),
}
CHECKPOINTS_OF_OURS = {
    "without-tensors": {"fast_style": {"metadata": {}}},
    "of-nothing": {"fast_style": None},
}


@pytest.mark.parametrize(
    "spoil",
    [
        *[pytest.param(spoil, id=name) for name, spoil in CHECKPOINTS.items()],
        *[
            pytest.param(lambda f, content=content: torch.save(content, f), id=name)
            for name, content in CHECKPOINTS_OF_OURS.items()
        ],
    ],
)
def test_invalid_checkpoints_are_refused_in_one_line(tmp_path, spoil):
    path = tmp_path / "last.ckpt"
    spoil(path)
    with pytest.raises(ValueError, match=r"last\.ckpt") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_an_oversized_file_is_not_opened(file, monkeypatch):
    monkeypatch.setattr(serialization, "LARGEST_FILE", file.stat().st_size)
    load_network(file)
    monkeypatch.setattr(serialization, "LARGEST_FILE", file.stat().st_size - 1)
    monkeypatch.setattr(serialization, "safe_open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ValueError, match=r"wave\.safetensors has over [\d,]+ bytes") as caught:
        load_network(file)
    assert "\n" not in str(caught.value)


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, touched):
        self.touched = touched

    def __reduce__(self):
        return Path.touch, (self.touched,)


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".safetensors", ""])
@pytest.mark.parametrize(
    "write",
    [torch.save, legacy, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))],
    ids=["torch", "torch-legacy", "pickle"],
)
def test_code_in_a_file_never_runs(tmp_path, write, suffix):
    touched, path = tmp_path / "touched", tmp_path / f"network{suffix}"
    write({"weight": torch.zeros(1), "more": Malicious(touched)}, path)
    with pytest.raises(ValueError, match="network") as caught:
        load_network(path)
    assert not touched.exists()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_code_in_those_files_is_real(tmp_path):
    torch.save(Malicious(tmp_path / "touched"), tmp_path / "network.ckpt")
    torch.load(tmp_path / "network.ckpt", weights_only=False)
    assert (tmp_path / "touched").exists()


# ---- writing


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_writing_that_fails_leaves_the_old_file_and_nothing_else(file, monkeypatch, failing):
    def fail(*_):
        raise OSError(28, "No space left on device")

    before = load_file(file)
    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        save_network(file, TransformNet(width=3), origin=ORIGIN)
    assert os.listdir(file.parent) == [file.name]
    after = load_file(file)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
