"""Compiled, our layers give the same results as the layers of torch; otherwise they are the layers of torch."""

from functools import partial

import pytest
import torch
from torch import nn

from fast_style.networks.layers import BilinearUpsample, InstanceNorm, MaxPool, ReLU

LAYERS = {
    "relu": (ReLU, nn.ReLU),
    "norm": (InstanceNorm, nn.InstanceNorm2d),
    "pool": (MaxPool, nn.MaxPool2d),
    "bilinear": (BilinearUpsample, partial(nn.Upsample, scale_factor=2.0, mode="bilinear")),
}
FORMATS = [torch.contiguous_format, torch.channels_last]


def build(name):
    ours, torchs = LAYERS[name]
    layer, reference = ours(*([6] if name == "norm" else [])), torchs(*{"norm": [6], "pool": [2]}.get(name, []))
    if name == "norm":
        reference = torchs(6, affine=True)
        nn.init.uniform_(layer.weight), nn.init.uniform_(layer.bias)
        reference.load_state_dict(layer.state_dict())
    return layer, reference


def compiled(layer):
    torch.compiler.reset()
    return torch.compile(layer, backend="aot_eager", fullgraph=True)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_compiled_results_equal_torchs_layers(name, layout, size):
    layer, reference = build(name)
    features = torch.randn(2, 6, *size).to(memory_format=layout).requires_grad_()
    other = features.detach().clone().requires_grad_()
    found, wanted = compiled(layer)(features), reference(other)
    torch.testing.assert_close(found, wanted)
    slope = torch.randn_like(found)
    found.backward(slope)
    wanted.backward(slope)
    torch.testing.assert_close(features.grad, other.grad)
    for ours, torchs in zip(layer.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, torchs.grad)


@pytest.mark.parametrize("name", LAYERS)
def test_uncompiled_results_equal_torchs_layers_bit_for_bit(name):
    layer, reference = build(name)
    features = torch.randn(2, 6, 8, 8)
    assert torch.equal(layer(features), reference(features))


@pytest.mark.parametrize(
    ("name", "operation"),
    [("relu", "relu"), ("norm", "instance_norm"), ("pool", "max_pool2d"), ("bilinear", "upsample_bilinear2d.vec")],
)
def test_an_export_contains_torchs_layers(name, operation):
    program = torch.export.export(build(name)[0], (torch.randn(1, 6, 8, 8),))
    assert [node.target.name() for node in program.graph.nodes if node.op == "call_function"] == [f"aten::{operation}"]


def test_equal_maxima_share_the_gradient():
    features = torch.tensor([[1.0, 1.0, 0.0, 2.0], [0.0, 1.0, 2.0, 2.0]]).view(1, 1, 2, 4).requires_grad_()
    compiled(MaxPool())(features).sum().backward()
    third = 1 / 3
    assert features.grad.flatten().tolist() == pytest.approx([third, third, 0, third, 0, third, third, third])


def test_nan_stays_nan_in_the_pooling():
    features = torch.full((1, 1, 2, 2), torch.nan, requires_grad=True)
    pooled = compiled(MaxPool())(features)
    pooled.sum().backward()
    assert pooled.isnan().all()
    assert not features.grad.isnan().any()
