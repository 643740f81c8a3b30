"""FastNet stylizes images of any size from 16x16, has few operations, and starts without a checkerboard."""

import pytest
import torch
import torch.nn.functional as F
from checkout import CONF
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from fast_style.networks.blocks import BilinearConv, CoarseLevel, ResidualBlock
from fast_style.networks.fast_net import FastNet
from fast_style.stylize.memory_budget import BYTES_PER_PIXEL

SMALL = {"width": 6, "half_width": 5, "full_width": 4, "coarse_width": 8, "coarse_blocks": 1}
SHAPES = {
    "default": {},
    "no_blocks": {"blocks": 0, "coarse_blocks": 0, "last_layers": 0},
    "more_blocks": {"blocks": 2, "last_layers": 2},
    "small_kernel": {"outer_kernel": 3},
}


def preset(name):
    return instantiate(OmegaConf.load(CONF / f"generator/{name}.yaml"), _convert_="all").eval()


@pytest.mark.parametrize("size", [(16, 16), (17, 35), (64, 50), (16, 61)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_result_has_the_shape_and_range_of_the_image(shape, size):
    network = FastNet(**SMALL | SHAPES[shape])
    with torch.no_grad():
        network.to_rgb.weight.mul_(300)  # Without the tanh, values would be far outside 0..1.
        painted = network(torch.rand(2, 3, *size))
    assert painted.shape == (2, 3, *size)
    assert 0 <= painted.min() < 0.1
    assert 0.9 < painted.max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_every_parameter_gets_a_gradient(shape):
    network = FastNet(**SMALL | SHAPES[shape]).double()
    with torch.no_grad():  # Leave the init, because its symmetries remove the effect of some biases.
        for value in network.parameters():
            value += 0.1 * torch.randn_like(value)
    painted = network(torch.rand(1, 3, 24, 32, dtype=torch.float64))
    (painted * torch.randn_like(painted)).sum().backward()
    idle = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.abs().max() > 0]
    assert idle == []


def test_odd_sizes_are_padded_at_right_and_bottom_and_cropped():
    network = FastNet(**SMALL).eval()
    picture = torch.rand(1, 3, 29, 42)
    padded = F.pad(picture, (0, 6, 0, 3), mode="reflect")
    with torch.no_grad():
        assert torch.equal(network(picture), network(padded)[..., :29, :42])


def test_a_flat_image_stays_flat_at_first():
    with torch.no_grad():
        z = FastNet(**SMALL)(torch.full((1, 3, 64, 64), 0.3))[..., 16:-16, 16:-16]
    assert z.std((-2, -1)).max() < 1e-4


def test_a_bilinear_convolution_equals_convolution_and_normalisation_after_the_interpolation():
    """With the statistics of the smaller features."""
    layer, x = BilinearConv(4, 6), torch.rand(2, 4, 5, 7)
    conv, norm = layer.layers
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
        variance, mean = torch.var_mean(conv(x), (2, 3), correction=0, keepdim=True)
        doubled = conv(F.interpolate(x, scale_factor=2, mode="bilinear"))
        normalised = (doubled - mean) / (variance + norm.eps).sqrt()
        torch.testing.assert_close(layer(x), normalised * norm.weight[:, None, None] + norm.bias[:, None, None])


def test_the_coarse_level_adds_to_its_input():
    level, x = CoarseLevel(6, width=8, layers=[ResidualBlock(8)]), torch.rand(1, 6, 12, 16)
    with torch.no_grad():
        level.branch[-1].layers[-1].weight.zero_()
        torch.testing.assert_close(level(x), x)


def test_the_operations_are_at_most_an_eighth_of_those_of_johnson():
    def cost(network):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.rand(1, 3, 512, 512))
        return counter.get_total_flops() / 2

    assert 0 < cost(preset("fast")) <= min(4.5e9, cost(preset("johnson")) / 8)


def test_the_file_is_small():
    assert sum(value.numel() for value in preset("fast").parameters()) * 2 < 0.7e6


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"coarse_width": 0},
        {"half_width": 0},
        {"last_layers": -1},
        {"full_width": 0},
        {"blocks": -1},
        {"coarse_blocks": -1},
        {"outer_kernel": 4},
        {"outer_kernel": 17},
        {"output_gain": 0},
    ],
)
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FastNet(**wrong)


def test_the_gain_leaves_the_initial_output_as_it_is():
    outputs = []
    for gain in (1.0, 0.1):
        torch.manual_seed(0)
        network = FastNet(**SMALL, output_gain=gain)
        with torch.no_grad():
            outputs.append(network(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))))
    torch.testing.assert_close(*outputs)
    network.init_normal_(0.02)
    assert 0.15 < network.to_rgb.weight.std() < 0.25


@pytest.mark.parametrize(
    ("runtime", "bytes_per_pixel"), {"torch": 232, "compile": 154, "onnxruntime": 165, "openvino": 171}.items()
)
def test_the_memory_budget_covers_what_was_measured(runtime, bytes_per_pixel):
    """Measured at 1920x1080 in float32, OpenVINO after six images; the budget is in proportion to the channels."""
    assert BYTES_PER_PIXEL[runtime] * FastNet().full_size_channels / 32 >= bytes_per_pixel
