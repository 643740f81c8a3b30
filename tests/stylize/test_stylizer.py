"""A stylizer computes exactly what its network computes, from either kind of file."""

import pytest
import torch

import fast_style
from fast_style import Stylizer, load_stylizer
from fast_style.networks import serialization
from fast_style.networks.serialization import describe, load_network, save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.pytorch import Torch
from fast_style.stylize.stylizer import find_network

ORIGIN = {"style": "wave", "recipe": "quick", "version": "0.1.0"}


def in_torch(path) -> Stylizer:
    return load_stylizer(path, runtime="torch", precision="fp32", device="cpu")


@pytest.fixture
def network():
    return TransformNet(width=4, blocks=1)


def as_slim_file(network, folder):
    save_network(folder / "wave.safetensors", network, origin=ORIGIN)
    return folder / "wave.safetensors"


def as_checkpoint(network, folder):
    content = {"tensors": network.state_dict(), "metadata": describe(network, ORIGIN)}
    torch.save({"fast_style": content, "epoch": 0}, folder / "last.ckpt")
    return folder / "last.ckpt"


@pytest.mark.parametrize("write", [as_slim_file, as_checkpoint])
@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
def test_a_file_paints_as_its_network_does(network, tmp_path, write, as_text):
    path = write(network, tmp_path)
    stylizer, pictures = in_torch(str(path) if as_text else path), torch.rand(2, 3, 18, 25)
    painted = stylizer(pictures)
    with torch.no_grad():
        assert torch.equal(painted, network.eval()(pictures))
    assert painted.shape == pictures.shape
    assert stylizer.style == "wave"
    assert stylizer.origin.items() >= ORIGIN.items()


def test_stylizing_keeps_no_graph_and_changes_no_input(network):
    pictures = torch.rand(1, 3, 16, 16, requires_grad=True)
    before = pictures.detach().clone()
    stylizer = Stylizer(Torch(network.train()), origin=ORIGIN)
    painted = stylizer(pictures)
    assert not painted.requires_grad
    assert torch.equal(pictures, before)
    assert torch.equal(stylizer(pictures), painted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_float_image_is_stylized_in_float32(network, dtype):
    picture = torch.rand(1, 3, 16, 16).to(dtype)
    stylizer = Stylizer(Torch(network), origin=ORIGIN)
    assert torch.equal(stylizer(picture), stylizer(picture.float()))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_bytes_are_refused_with_the_remedy(network, dtype):
    with pytest.raises(ValueError, match=f"floats in 0..1; got {dtype}. Divide 0..255 by 255"):
        Stylizer(Torch(network), origin=ORIGIN)(torch.ones(1, 3, 16, 16, dtype=dtype))


@pytest.mark.parametrize("shape", [(1, 3, 15, 40), (3, 16, 16), (1, 4, 16, 16)])
def test_a_wrong_shape_is_refused(network, shape):
    with pytest.raises(ValueError, match="at least 16"):
        Stylizer(Torch(network), origin=ORIGIN)(torch.rand(shape))


@pytest.mark.parametrize("paints", ["torch", "openvino"])
def test_the_network_for_strips_is_loaded_once(network, tmp_path, monkeypatch, paints):
    path, loaded = as_slim_file(network, tmp_path), []
    stylizer = in_torch(path)
    stylizer.runtime.name = paints
    monkeypatch.setattr(serialization, "load_network", lambda file: (loaded.append(file), load_network(file))[1])
    networks = [stylizer.network() for _ in range(3)] + [stylizer.network(device="cpu")]
    assert len({id(one) for one in networks}) == 1
    assert loaded == ([] if paints == "torch" else [path])
    moved = stylizer.network(device="meta")
    assert {weight.device.type for weight in moved.parameters()} == {"meta"}
    assert stylizer.network(device="meta") is moved
    assert {weight.device.type for weight in stylizer.network().parameters()} == {"cpu"}


def test_without_a_file_a_copy_of_the_network_is_moved(network):
    stylizer = Stylizer(Torch(network), origin=ORIGIN)
    assert {weight.device.type for weight in stylizer.network(device="meta").parameters()} == {"meta"}
    assert stylizer.network() is network
    assert stylizer(torch.rand(1, 3, 16, 16)).device.type == "cpu"
    stylizer = Stylizer(Torch(network), origin=ORIGIN)
    stylizer.runtime.name = "openvino"
    with pytest.raises(ValueError, match="made without a file"):
        stylizer.network()


def test_a_network_without_metadata_still_has_a_style_name(network):
    assert Stylizer(Torch(network), origin={}).style == "stylized"


def test_a_file_that_is_no_network_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"wave\.safetensors, found nothing"):
        load_stylizer(tmp_path / "wave.safetensors")


def test_the_public_names_are_there():
    assert all(getattr(fast_style, name) is not None for name in fast_style.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_styliser'"):
        fast_style.load_styliser  # noqa: B018 - the look-up is the test


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """Network files in two folders, in `checkpoints`, and in the current folder."""
    for path in (
        "here/dots",
        "here/wave",
        "there/wave",
        "there/trained/wave",
        "there/the_scream",
        "checkpoints/starry_night",
        "my",
    ):
        save_network(tmp_path / f"{path}.safetensors", TransformNet(width=2, blocks=0), origin={"style": path})
    (tmp_path / "wave").mkdir()
    (tmp_path / "scream").write_bytes((tmp_path / "my.safetensors").read_bytes())
    monkeypatch.chdir(tmp_path)
    return ("here", tmp_path / "there", "nowhere")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("dots", "here/dots.safetensors"),
        ("wave", "here/wave.safetensors"),  # Not the folder named wave, nor the network in the second folder.
        ("the_scream", "there/the_scream.safetensors"),
        ("trained/wave", "there/trained/wave.safetensors"),
        ("scream", "scream"),  # A file has priority over a name.
        ("my.safetensors", "my.safetensors"),
        ("nowhere.ckpt", "nowhere.ckpt"),  # A path; reading it reports the error.
        ("nowhere/dots", "nowhere/dots"),
        ("./dots", "./dots"),
    ],
)
def test_a_name_is_the_network_of_the_first_folder_that_has_it(networks, tmp_path, said, found):
    assert tmp_path / find_network(said, networks) == tmp_path / found


def test_an_unknown_name_lists_the_known_ones(networks):
    with pytest.raises(
        ValueError,
        match=r"stary is neither a file nor .* in here or .*known names: dots, the_scream, trained/wave, wa",
    ):
        find_network("stary", networks)
    with pytest.raises(ValueError, match="known names: none"):
        find_network("stary", ["nowhere"])


@pytest.mark.usefixtures("networks")
def test_in_a_checkout_a_name_is_enough():
    assert load_stylizer("starry_night", runtime="torch").style == "checkpoints_starry_night"  # Cleaned.
    with pytest.raises(ValueError, match="starry_night"):
        load_stylizer("wave_2")
