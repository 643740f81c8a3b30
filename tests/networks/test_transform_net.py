"""Every TransformNet stylizes images from 16x16, has gradients in all parameters, and has the layers of its paper."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checkout import CONF
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fast_style.networks.blocks import ConvBlock, FractionalConv, ResidualBlock, ResizeConv, RgbConv, reflect
from fast_style.networks.transform_net import TransformNet

FOUND = {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in sorted(CONF.glob("generator/*.yaml"))}
PRESETS = {name: preset for name, preset in FOUND.items() if preset["_target_"].endswith(".TransformNet")}
JOHNSON2016 = {"upsample": "fractional", "fractional_kernel": 3, "residual_padding": "none", "output_gain": 1.0}

GENERATORS = {
    **PRESETS,
    "johnson2016": PRESETS["johnson"] | JOHNSON2016,
    "nearest": PRESETS["slim"] | {"upsample": "nearest"},
    "fractional": PRESETS["slim"] | {"upsample": "fractional"},
    "skip": PRESETS["slim"] | {"skip": True},
}


def build(name, **overrides):
    return instantiate(GENERATORS[name], **overrides, _convert_="all").eval()


def test_the_presets_are_found():
    assert {"johnson", "slim"} <= set(PRESETS)


@pytest.mark.parametrize("size", [(16, 16), (17, 35), (64, 50), (16, 61)])
@pytest.mark.parametrize("name", GENERATORS)
def test_the_result_has_the_shape_and_range_of_the_image(name, size):
    network = build(name)
    with torch.no_grad():
        network.to_rgb.weight.mul_(100)  # Without the tanh, values would be far outside 0..1.
        painted = network(torch.rand(2, 3, *size))
    assert painted.shape == (2, 3, *size)
    assert painted.dtype == torch.float32
    assert 0 <= painted.min() < 0.1
    assert 0.9 < painted.max() <= 1


@pytest.mark.parametrize("name", [*PRESETS, "johnson2016"])
def test_every_parameter_gets_a_gradient(name):
    network = build(name, width=6).double()
    with torch.no_grad():  # Leave the init, because its symmetries remove the effect of some biases.
        for value in network.parameters():
            value += 0.1 * torch.randn_like(value)
    painted = network(torch.rand(1, 3, 24, 20, dtype=torch.float64))
    (painted * torch.randn_like(painted)).sum().backward()
    # A shift of a residual channel stays constant through linear and nearest upsampling, and is then normalised away.
    without_effect = "$^" if network.architecture["upsample"] == "fractional" else r"residual\.\d+\.branch\.1\.1\.bias"
    for parameter, value in network.named_parameters():
        if re.fullmatch(without_effect, parameter):
            continue
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter
        assert value.grad.abs().max() > 1e-9, parameter


@pytest.mark.parametrize("padding", ["reflect", "none"])
def test_with_skip_the_layers_add_to_the_image(padding):
    network = build("skip", residual_padding=padding)
    picture = torch.rand(1, 3, 18, 23)
    with torch.no_grad():
        changed = network(picture)
        for value in network.to_rgb.parameters():
            value.zero_()
        torch.testing.assert_close(network(picture), 0.5 + 0.98 * (picture - 0.5), rtol=0, atol=1e-5)
    assert (changed - picture).abs().max() > 0.1


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", GENERATORS)
def test_a_flat_image_gives_finite_values(name, level):
    # Each normalisation of a flat image multiplies the gradient by 316, which exceeds the range of float32 for the 9
    # blocks of cyclegan. Training skips such a step (methods/nonfinite.py).
    network = build(name, width=8, **({"blocks": 6} if name == "cyclegan" else {}))
    picture = torch.full((1, 3, 21, 33), level)
    painted = network(picture)
    painted.sum().backward()
    assert painted.isfinite().all()
    assert all(value.grad.isfinite().all() for value in network.parameters())


@pytest.mark.parametrize("shape", [(1, 3, 15, 16), (1, 3, 16, 15), (3, 16, 16), (1, 4, 16, 16), (1, 1, 16, 16)])
@pytest.mark.parametrize("name", GENERATORS)
def test_wrong_shapes_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"at least 16; got \(" + ", ".join(map(str, shape))):
        build(name, width=4)(torch.rand(shape))


@pytest.mark.parametrize("name", GENERATORS)
def test_images_of_a_batch_are_independent(name):
    network, pictures = build(name, width=8), torch.rand(2, 3, 20, 24)
    with torch.no_grad():
        torch.testing.assert_close(network(pictures)[1:], network(pictures[1:]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", GENERATORS)
def test_odd_sizes_are_padded_at_right_and_bottom_and_cropped(name):
    network, picture = build(name, width=8), torch.rand(1, 3, 17, 35)
    b = network.border
    extended = np.pad(picture.numpy(), ((0, 0), (0, 0), (b, b + 3), (b, b + 1)), mode="reflect")
    with torch.no_grad():
        z = network.to_rgb(network.decoder(network.residual(network.encoder(torch.from_numpy(extended)))))
        before = torch.atanh(0.98 * (2 * picture - 1)) if network.skip else 0
        expected = (torch.tanh(network.output_gain * z[..., :17, :35] + before) + 1) / 2
        torch.testing.assert_close(network(picture), expected, rtol=0, atol=1e-5)


def test_the_papers_network_has_the_papers_layer_shapes():
    # Johnson et al. (2016), supplementary table 1, for a 256x256 picture.
    with torch.device("meta"):
        network, picture = TransformNet(**JOHNSON2016), torch.rand(1, 3, 256, 256)
    layers = [m for m in network.modules() if isinstance(m, ConvBlock | ResidualBlock | FractionalConv)]
    within_blocks = {m for block in network.residual for m in block.branch}
    shapes, asked = [], [m for m in layers if m not in within_blocks] + [network.to_rgb]
    for module in asked:
        module.register_forward_hook(lambda _m, _i, output: shapes.append(tuple(output.shape[1:])))
    painted = network(picture)
    assert shapes == [
        (32, 336, 336),
        (64, 168, 168),
        (128, 84, 84),
        (128, 80, 80),
        (128, 76, 76),
        (128, 72, 72),
        (128, 68, 68),
        (128, 64, 64),
        (64, 128, 128),
        (32, 256, 256),
        (3, 256, 256),
    ]
    assert painted.shape == (1, 3, 256, 256)


def test_cyclegans_generator_has_zhu_et_als_layer_shapes():
    # Zhu et al. (2017), 7.2: c7s1-64, d128, d256, 9 x R256, u128, u64, c7s1-3, for a 256x256 picture.
    with torch.device("meta"):
        network, picture = build("cyclegan"), torch.rand(1, 3, 256, 256)
    shapes = []
    for module in (*network.encoder, *network.residual, *network.decoder, network.to_rgb):
        module.register_forward_hook(lambda _m, _i, output: shapes.append(tuple(output.shape[1:])))
    network(picture)
    encoded = [(64, 256, 256), (128, 128, 128), (256, 64, 64)]
    assert shapes == [*encoded, *[(256, 64, 64)] * 9, (128, 128, 128), (64, 256, 256), (3, 256, 256)]
    kernels = [m.kernel_size[0] for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert kernels == [7, 3, 3, *[3, 3] * 9, 3, 3, 7]


@pytest.mark.parametrize(("name", "millions"), [("johnson2016", 1.68), ("johnson", 1.63), ("cyclegan", 11.38)])
def test_the_number_of_parameters_is_the_published_one(name, millions):
    assert round(sum(p.numel() for p in build(name).parameters()) / 1e6, 2) == millions


def test_slim_costs_at_most_a_quarter_of_johnson():
    def cost(name):
        with torch.device("meta"):
            network, picture = build(name), torch.rand(1, 3, 256, 256)
        with FlopCounterMode(display=False) as counter:
            network(picture)
        return counter.get_total_flops()

    assert 0 < cost("slim") <= cost("johnson") / 4


@pytest.mark.parametrize(("kernel", "even"), [(4, True), (3, False)])
def test_only_kernel_4_gives_every_pixel_equal_taps(kernel, even):
    layer = FractionalConv(1, 1, kernel=kernel)
    torch.nn.init.ones_(layer.conv.weight)
    with torch.no_grad():
        doubled = layer(torch.ones(1, 1, 6, 5))
    assert bool((doubled == doubled[0, 0, 0, 0]).all()) is even


def test_kernel_4_is_the_default():
    assert FractionalConv(1, 1).conv.kernel_size == (4, 4)
    assert TransformNet(width=2).architecture["fractional_kernel"] == 4


def test_the_four_phases_of_kernel_4_start_alike():
    doubled = FractionalConv(3, 5)(torch.rand(1, 3, 1, 1).expand(1, 3, 6, 4))
    torch.testing.assert_close(doubled, doubled[..., :1, :1].expand_as(doubled))


def test_the_output_gain_changes_the_gradient_not_the_initial_output():
    pictures, painted = torch.rand(1, 3, 20, 20), {}
    for gain in (1.0, 0.1):
        torch.manual_seed(3)
        network = TransformNet(width=4, blocks=1, output_gain=gain)
        painted[gain] = network(pictures)
        painted[gain].mean().backward()
        painted[gain, "gradient"] = network.to_rgb.weight.grad
    torch.testing.assert_close(painted[0.1], painted[1.0])
    torch.testing.assert_close(painted[0.1, "gradient"], 0.1 * painted[1.0, "gradient"])


@pytest.mark.parametrize(
    "layer",
    [FractionalConv(3, 5, kernel=3), FractionalConv(3, 5), ResizeConv(3, 5), ResizeConv(3, 5, boxes=2)],
    ids=["kernel3", "kernel4", "nearest", "linear"],
)
@pytest.mark.parametrize("size", [(2, 2), (5, 8)])
def test_upsampling_doubles_the_size(layer, size):
    assert layer(torch.rand(2, 3, *size)).shape == (2, 5, 2 * size[0], 2 * size[1])


@pytest.mark.parametrize("kernel", [3, 4])
def test_a_fractional_convolution_is_a_plain_one_away_from_the_border(kernel):
    layer, x = FractionalConv(2, 3, kernel=kernel).double(), torch.rand(1, 2, 6, 7, dtype=torch.float64)
    with torch.no_grad():
        plain = F.conv_transpose2d(x, layer.conv.weight, stride=2, padding=1, output_padding=kernel % 2)
        found = layer(x)
    torch.testing.assert_close(found[..., 2:-2, 2:-2], plain[..., 2:-2, 2:-2])
    assert not torch.allclose(found, plain)  # At the border, reflected pixels replace zeros.


@pytest.mark.parametrize("size", [(5, 8), (2, 3)])
@pytest.mark.parametrize("boxes", [1, 2])
def test_a_resize_convolution_is_interpolation_and_then_a_convolution(boxes, size):
    layer, x = ResizeConv(3, 5, boxes=boxes).double(), torch.rand(2, 3, *size, dtype=torch.float64)
    extended = F.pad(x, (1, 1, 1, 1), mode="reflect")
    doubled = extended.repeat_interleave(2, -1).repeat_interleave(2, -2)
    if boxes == 2:  # Means of neighbours give linear interpolation at quarter-pixel offsets.
        doubled = F.avg_pool2d(doubled, 2, stride=1)
    found = F.conv2d(doubled, layer.conv.weight)
    cut = (found.shape[-1] - 2 * size[1]) // 2
    torch.testing.assert_close(layer(x), found[..., cut : cut + 2 * size[0], cut : cut + 2 * size[1]])


@pytest.mark.parametrize(("boxes", "straight"), [(1, False), (2, True)])
def test_flat_areas_stay_flat_and_linear_keeps_slopes(boxes, straight):
    layer = ResizeConv(1, 3, boxes=boxes).double()
    flat, slope = torch.full((1, 1, 6, 6), 0.3).double(), torch.arange(8.0).double().expand(1, 1, 8, 8)
    with torch.no_grad():
        inner = layer(slope)[..., 3:-3, 3:-3]
        assert layer(flat).var((2, 3)).max() < 1e-20
    steps = inner.diff(dim=-1)
    assert torch.allclose(steps, steps[..., :1]) is straight


@pytest.mark.parametrize(("padding", "margin"), [("reflect", 0), ("none", 2)])
def test_a_residual_block_adds_to_the_middle_of_its_input(padding, margin):
    block, x = ResidualBlock(3, padding=padding), torch.randn(1, 3, 9, 8)
    torch.nn.init.zeros_(block.branch[1][1].weight)  # A zero scale in the last normalisation makes the branch zero.
    with torch.no_grad():
        assert torch.equal(block(x), x[..., margin : 9 - margin, margin : 8 - margin])


LOPSIDED = pytest.param(
    (11, 0, 3, 17),
)


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 2, 3, 0), (4, 4, 4, 4), (40, 43, 40, 41), LOPSIDED])
def test_reflection_equals_numpy_for_any_padding(pads):
    picture = torch.rand(2, 3, 5, 4)
    left, right, top, bottom = pads
    expected = np.pad(picture.numpy(), ((0, 0), (0, 0), (top, bottom), (left, right)), mode="reflect")
    np.testing.assert_array_equal(reflect(picture, left, right, top, bottom).numpy(), expected)


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [
        ({"width": 0}, "width >= 1"),
        ({"blocks": -1}, "blocks >= 0"),
        ({"upsample": "bilinear"}, "'linear', 'nearest', 'fractional'.*'bilinear'"),
        ({"fractional_kernel": 5}, "3 .*or 4; got 5"),
        ({"residual_padding": "zeros"}, "'reflect', 'none'.*'zeros'"),
        ({"output_gain": 0.0}, "output_gain must be above 0; got 0"),
        ({"outer_kernel": 8}, "outer_kernel must be odd and from 1 to 15; got 8"),
        ({"outer_kernel": 17}, "outer_kernel must be odd and from 1 to 15; got 17"),
    ],
)
def test_bad_arguments_are_refused_with_the_choices(arguments, choices):
    with pytest.raises(ValueError, match=choices):
        TransformNet(**arguments)


@pytest.mark.parametrize("kernel", [3, 7, 9])
@pytest.mark.parametrize("size", [(16, 16), (10, 12)])
def test_rgb_conv_equals_a_plain_convolution(kernel: int, size: tuple[int, int]) -> None:
    layer, x = RgbConv(5, kernel=kernel).double(), torch.rand(2, 5, *size, dtype=torch.float64, requires_grad=True)
    plain = nn.Conv2d(5, 3, kernel, padding=kernel // 2, padding_mode="reflect").double()
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), plain(x))
    found, expected = (torch.autograd.grad(f(x).square().sum(), [x, *f.parameters()]) for f in (layer, plain))
    torch.testing.assert_close(found, expected)
