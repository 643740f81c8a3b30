"""FastNet stylizes images of any size from 16x16, has few operations, and starts without a checkerboard."""

import pytest
import torch
import torch.nn.functional as F
from checkout import CONF
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from fast_style.networks.blocks import BilinearConv, CoarseLevel, ResidualBlock, ShuffleConv
from fast_style.networks.fast_net import FastNet

SMALL = {"width": 6, "half_width": 5, "coarse_width": 8, "coarse_blocks": 1}
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
        network.to_rgb.conv.weight.mul_(100)  # Without the tanh, values would be far outside 0..1.
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


@pytest.mark.parametrize("kernel", [3, 5])
def test_the_initial_output_layer_is_one_kernel_and_bilinear_interpolation(kernel):
    """Equal kernels would paint squares of 2x2 pixels, and independent ones a checkerboard."""
    layer, x = ShuffleConv(4, 5, kernel=kernel), torch.rand(1, 4, 20, 24)
    with torch.no_grad():
        # The sum of the four shifts of a kernel, spread back, is 4 times the kernel blurred by (1/8, 3/4, 1/8).
        blurred = layer.conv.weight.view(5, 4, 4, kernel, kernel).sum(1)
        coarse = F.conv2d(x, blurred, padding=kernel // 2) / 4 + layer.conv.bias[::4].view(1, 5, 1, 1)
        painted = layer(x)
        inside = (..., slice(4, -4), slice(4, -4))
        torch.testing.assert_close(F.avg_pool2d(painted, 2)[inside], coarse[inside])
        slope = torch.arange(24.0).expand(1, 4, 20, 24)
        steps = layer(slope).diff(dim=-1)[..., 8:-8, 8:-8]
        torch.testing.assert_close(steps, steps[..., :1, :1].expand_as(steps), atol=1e-4, rtol=1e-4)


def test_a_flat_image_stays_flat_at_first():
    with torch.no_grad():
        z = FastNet(**SMALL)(torch.full((1, 3, 64, 64), 0.3))[..., 16:-16, 16:-16]
    assert z.std((-2, -1)).max() < 1e-4


def test_a_bilinear_convolution_equals_the_interpolation_followed_by_the_convolution():
    layer, x = BilinearConv(4, 6), torch.rand(2, 4, 5, 7)
    with torch.no_grad():
        wanted = layer.conv(F.interpolate(x, scale_factor=2, mode="bilinear"))
        torch.testing.assert_close(layer(x), wanted)


def test_the_coarse_level_adds_to_its_input():
    level, x = CoarseLevel(6, width=8, layers=[ResidualBlock(8)]), torch.rand(1, 6, 12, 16)
    with torch.no_grad():
        level.branch[-1].weight.zero_()
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
    assert 0.15 < network.to_rgb.conv.weight.std() < 0.25
