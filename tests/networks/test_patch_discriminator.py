"""The PatchGAN has the layers of the paper, a receptive field of 70x70 pixels, and gradients in all parameters."""

import pytest
import torch
from torch import nn

from fast_style.networks.blocks import init_normal_
from fast_style.networks.patch_discriminator import PatchDiscriminator


def without_norms(network: nn.Module) -> nn.Module:
    """Remove normalisations: they depend on the whole image, but the receptive field is that of the convolutions."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                setattr(module, name, nn.Identity())
    return network


@pytest.mark.parametrize(("layers", "field"), [(3, 70), (2, 34), (1, 16)])
def test_the_receptive_field_is_measured_by_the_gradient(layers: int, field: int) -> None:
    network = without_norms(PatchDiscriminator(width=2, layers=layers)).double()
    pictures = torch.rand(1, 3, 160, 160, dtype=torch.float64, requires_grad=True)
    patches = network(pictures)
    patches[0, 0, patches.shape[2] // 2, patches.shape[3] // 2].backward()
    assert pictures.grad is not None
    seen = pictures.grad[0].abs().sum(0) > 0
    for axis in (0, 1):
        (places,) = seen.any(axis).nonzero(as_tuple=True)
        assert places[-1] - places[0] + 1 == field


def test_the_layers_are_the_papers() -> None:
    with torch.device("meta"):
        network, pictures = PatchDiscriminator(), torch.rand(1, 3, 256, 256)
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [64, 128, 256, 512, 1]
    assert [conv.stride[0] for conv in convs] == [2, 2, 2, 1, 1]
    assert {conv.kernel_size for conv in convs} == {(4, 4)}
    norms = [module.num_features for module in network.modules() if isinstance(module, nn.InstanceNorm2d)]
    assert norms == [128, 256, 512]
    slopes = [module.negative_slope for module in network.modules() if isinstance(module, nn.LeakyReLU)]
    assert slopes == [0.2] * 4
    assert network(pictures).shape == (1, 1, 30, 30)


@pytest.mark.parametrize(("layers", "smallest"), [(3, 24), (2, 12), (1, 6)])
def test_the_smallest_picture_leaves_one_patch(layers: int, smallest: int) -> None:
    network = PatchDiscriminator(width=4, layers=layers)
    assert network(torch.rand(2, 3, smallest, smallest)).shape == (2, 1, 1, 1)
    with pytest.raises(ValueError, match=f"at least {smallest}; got"):
        network(torch.rand(1, 3, smallest, smallest - 1))
    with pytest.raises(ValueError, match=r"got \(1, 1, 64, 64\)"):
        network(torch.rand(1, 1, 64, 64))


def test_every_parameter_gets_a_gradient_and_any_size_goes_in() -> None:
    network = PatchDiscriminator(width=4)
    init_normal_(network, std=0.2)
    network(torch.rand(2, 3, 67, 41)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_images_are_mapped_from_0_1_to_the_papers_range() -> None:
    network = PatchDiscriminator(width=4)
    seen: list[torch.Tensor] = []
    network.patches[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.stack([torch.zeros(3, 24, 24), torch.ones(3, 24, 24)]))
    assert [picture.unique().tolist() for picture in seen[0]] == [[-1.0], [1.0]]


@pytest.mark.parametrize("arguments", [{"width": 0}, {"layers": 0}])
def test_bad_arguments_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="width >= 1 and layers >= 1"):
        PatchDiscriminator(**arguments)
