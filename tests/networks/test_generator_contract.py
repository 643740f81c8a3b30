"""Every generator in conf/generator/ keeps the contract of networks/generator.py; other code uses only the contract."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import CHECKOUT, CONF
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from fast_style.networks.generator import Generator
from fast_style.networks.layers import InstanceNorm
from fast_style.networks.metadata import GeneratorInfo, generator_info, read_header
from fast_style.networks.serialization import GENERATORS, describe, load_network, read_tensors, save_network
from fast_style.networks.strip_plan import Convolution, Normalization, Pointwise, StripPlan
from fast_style.stylize.tiled.tiles import Tiles

PRESETS = {path.stem: path for path in sorted(CONF.glob("generator/*.yaml"))}
SMALL = {"width": 4, "blocks": 1}  # For generators with these arguments.


def build(name: str) -> Generator:
    preset = OmegaConf.load(PRESETS[name])
    small = {key: value for key, value in SMALL.items() if key in preset}
    generator = instantiate(preset, **small, _convert_="all").eval()
    assert isinstance(generator, Generator)
    return generator


class Opaque(Generator):
    """A generator with only the contract, without a strip plan."""

    smallest, full_size_channels = 8, 3

    def __init__(self) -> None:
        super().__init__()
        self.architecture = {}
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        self.check_pictures(pictures)
        return self.conv(pictures).sigmoid()


@pytest.mark.parametrize("name", PRESETS)
def test_the_architecture_rebuilds_the_network(name: str) -> None:
    generator = build(name)
    again = type(generator)(**generator.architecture)
    again.load_state_dict(generator.state_dict())
    pictures = torch.rand(1, 3, 24, 32)
    assert torch.equal(generator(pictures), again.eval()(pictures))
    assert GENERATORS[type(generator).__name__] is type(generator)


@pytest.mark.parametrize("name", PRESETS)
def test_the_smallest_picture_is_painted_and_a_smaller_one_refused(name: str) -> None:
    generator = build(name)
    side = generator.smallest
    assert generator(torch.rand(1, 3, side, side)).shape == (1, 3, side, side)
    with pytest.raises(ValueError, match=f"at least {side}; got"):
        generator(torch.rand(1, 3, side, side - 1))


@pytest.mark.parametrize("name", PRESETS)
def test_the_strip_plan_is_the_network(name: str) -> None:
    generator = build(name)
    pixels = np.random.default_rng(0).random((70, 45, 3), np.float32)
    try:
        tiles = Tiles(generator, rows=16)
    except ValueError as error:
        pytest.skip(f"this generator has no strip plan: {error}")
    strips = [rows for _, rows in tiles.paint(pixels)]
    with torch.inference_mode():
        whole = generator(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(np.concatenate(strips) - whole).max() < 1e-4


def test_a_generator_without_a_strip_plan_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"^The generator Opaque cannot run in strips; use tiles=off or a smaller size=\.$"
    ):
        Tiles(Opaque(), rows=16)


class Depthwise(Opaque):
    """A dilated depthwise convolution at full image size, and a normalisation."""

    def __init__(self, **changes: int) -> None:
        super().__init__()
        options = {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 3} | changes
        self.conv = nn.Conv2d(3, 3, padding_mode="reflect", **options)
        self.norm = InstanceNorm(3)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.norm(self.conv(pictures)).sigmoid()

    def strip_plan(self) -> StripPlan:
        steps = (Convolution(self.conv), Normalization(self.norm, relu=False), Pointwise(torch.sigmoid))
        return StripPlan(1, steps)


def test_groups_and_dilation_are_computed_in_strips_too() -> None:
    generator, pixels = Depthwise().eval(), np.random.default_rng(0).random((53, 31, 3), np.float32)
    strips = np.concatenate([rows for _, rows in Tiles(generator, rows=8).paint(pixels)])
    with torch.inference_mode():
        whole = generator(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(strips - whole).max() < 1e-5


@pytest.mark.parametrize("kernel", [2, (3, 1)])
def test_a_kernel_without_strip_support_is_refused(kernel: object) -> None:
    with pytest.raises(ValueError, match="a square kernel of odd size; got"):
        Convolution(nn.Conv2d(3, 3, kernel))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [
        *({"smallest": "0"}, {"smallest": "abc"}, {"full_size_channels": "-32"}, {"num_styles": "1e3"}),
        *({"architecture": "[]"}, {"architecture": "{"}, {"architecture": '{"width": null}'}),
    ],
    ids=str,
)
def test_invalid_generator_properties_are_a_damaged_file(said: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="The network file is damaged"):
        generator_info(said)


@pytest.mark.parametrize("name", PRESETS)
def test_a_file_contains_the_properties_for_runtimes(name: str, tmp_path: Path) -> None:
    generator = build(name)
    info = GeneratorInfo(generator.smallest, generator.full_size_channels, generator.num_styles)
    assert generator_info(describe(generator, {})) == info
    # Metadata as in the first release.
    assert generator_info({"architecture": '{"width": 4}'}) == GeneratorInfo(full_size_channels=4)
    save_network(tmp_path / "a.safetensors", generator, origin={"style": "a"})
    assert generator_info(load_network(tmp_path / "a.safetensors")[1]) == info


def test_only_the_networks_folder_names_the_subclasses() -> None:
    for path in CHECKOUT.glob("fast_style/**/*.py"):
        if path.parent.name != "networks":
            assert not re.search(r"\bTransformNet\b|\bto_rgb\b|\boutput_gain\b", path.read_text()), path


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_with_nan_does_not_overwrite_a_good_file(value: float, tmp_path: Path) -> None:
    generator, file = build("slim"), tmp_path / "good.safetensors"
    save_network(file, generator, origin={"style": "a"})
    good = file.read_bytes()
    with torch.no_grad():
        next(generator.parameters()).view(-1)[0] = value
    with pytest.raises(ValueError, match=r"NaN or infinite .*good\.safetensors was not written"):
        save_network(file, generator, origin={"style": "a"})
    assert file.read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == ["good.safetensors"]


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("../../x", "x"),
        ("/etc/passwd", "etc_passwd"),
        ("a\\b", "a_b"),
        ("wave\x1b[31m\n", "wave_31m"),
        ("‮evil", "evil"),
        ("...", "style"),
        ("x" * 500, "x" * 100),
        ("波" * 300, "波" * 33),
        ("Große Welle", "Große_Welle"),
    ],
)
def test_names_from_files_are_cleaned_where_they_are_read(said: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "network.safetensors"
    save_network(file, build("slim"), origin={"style": said, "direction": said, "recipe": "{}\x1b[2J"})
    for metadata in (load_network(file)[1], read_header(file)):
        assert (metadata["style"], metadata["direction"]) == (name, name)
        assert "\x1b" not in metadata["recipe"]
    torch.save(
        {"fast_style": {"metadata": describe(build("slim"), {"style": said}), "tensors": {}}}, tmp_path / "a.ckpt"
    )
    assert read_tensors(tmp_path / "a.ckpt")[1]["style"] == name
