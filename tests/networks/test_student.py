"""The file of a student rebuilds the same network."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fast_style.losses.functional import gram
from fast_style.networks.pretrained import vgg_from_file
from fast_style.networks.serialization import read_tensors
from fast_style.networks.student import Student, save_student

STAGES = [[4, 6], [5], [8, 3], [7]]


@pytest.fixture
def student() -> Student:
    torch.manual_seed(0)
    made = Student(stages=STAGES)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def test_layers_have_the_names_of_vgg(student: Student) -> None:
    assert student.names == ("relu1_1", "relu1_2", "relu2_1", "relu3_1", "relu3_2", "relu4_1")
    features = student(torch.rand(2, 3, 33, 48), student.names)
    assert {name: tuple(f.shape[1:]) for name, f in features.items()} == {
        "relu1_1": (4, 33, 48),
        "relu1_2": (6, 33, 48),
        "relu2_1": (5, 16, 24),
        "relu3_1": (8, 8, 12),
        "relu3_2": (3, 8, 12),
        "relu4_1": (7, 4, 6),
    }


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-2)])
def test_the_file_rebuilds_the_student(student: Student, precision, tolerance: float, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "student.safetensors"
    save_student(file, student, heads={}, scales={}, origin={"recipe": "{}"}, precision=precision)
    network, pictures = vgg_from_file(weights=str(file)), torch.rand(2, 3, 40, 56)
    assert set(student.names) <= set(network.names)
    found, wanted = network(pictures, student.names), student(pictures, student.names)
    for name in student.names:
        torch.testing.assert_close(found[name], wanted[name], rtol=tolerance, atol=tolerance)
    tensors, metadata = read_tensors(file)
    assert metadata["layers"] == "conv1_1 conv1_2 pool conv2_1 pool conv3_1 conv3_2 pool conv4_1"
    assert metadata["recipe"] == "{}"
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16 if precision == "fp16" else torch.float32}


def test_an_expansion_changes_only_the_returned_features(student: Student, tmp_path: Path) -> None:
    expanded = Student(stages=STAGES, expansions={"relu1_1": 11, "relu3_1": 9})
    expanded.load_state_dict(student.state_dict(), strict=False)
    pictures, names = torch.rand(2, 3, 40, 56), ["relu1_1", "relu1_2", "relu3_1", "relu4_1"]
    wide, plain = expanded(pictures, names), student(pictures, names)
    assert wide["relu1_1"].shape[1] == expanded.channels["relu1_1"] == 11
    torch.testing.assert_close(wide["relu3_1"], expanded.expansions["relu3_1"](plain["relu3_1"]))
    for name in ("relu1_2", "relu4_1"):
        torch.testing.assert_close(wide[name], plain[name])
    file, scales = tmp_path / "student.safetensors", {"relu1_1": 3.0, "relu4_1": 0.5}
    save_student(file, expanded, heads={}, scales=scales, origin={}, precision="fp32")
    found = vgg_from_file(weights=str(file))(pictures, names)
    for name in names:
        torch.testing.assert_close(found[name], scales.get(name, 1.0) * wide[name], rtol=1e-4, atol=1e-5)


def test_the_file_keeps_the_distances_that_the_heads_give(student: Student, tmp_path: Path) -> None:
    heads = {"relu1_1": torch.randn(9, 4), "relu3_1": torch.randn(5, 8)}
    file, names = tmp_path / "student.safetensors", ["relu1_1", "relu2_1", "relu3_1", "relu4_1"]
    scales = {"relu1_1": 7.0, "relu2_1": 3.0, "relu4_1": 0.2}
    save_student(file, student, heads=heads, scales=scales, origin={}, precision="fp32")
    pictures = torch.rand(2, 3, 40, 56)
    found, bare = vgg_from_file(weights=str(file))(pictures, names), student(pictures, names)
    for name, head in heads.items():
        projected = torch.einsum("tc,nchw->nthw", head, bare[name])
        for kind in (Tensor.clone, gram):  # Relative: a Gram matrix is divided by its number of channels.
            (a, b), (c, d) = kind(found[name]), kind(projected)
            torch.testing.assert_close((a - b).norm() / b.norm(), (c - d).norm() / d.norm(), rtol=1e-4, atol=1e-5)
        mean_square = projected.square().mean() * scales.get(name, 1.0) ** 2
        torch.testing.assert_close(found[name].square().mean(), mean_square, rtol=1e-4, atol=1e-5)
    for name in ("relu2_1", "relu4_1"):  # A layer without a head, and a layer behind a head.
        torch.testing.assert_close(found[name], scales[name] * bare[name], rtol=1e-4, atol=1e-5)


def test_a_picture_too_small_for_the_depth_is_refused(student: Student) -> None:
    student(torch.rand(1, 3, 16, 16), ["relu4_1"])
    with pytest.raises(
        ValueError, match="15x16 pixels is too small for a student of 4 stages, which needs at least 16x16 pixels"
    ):
        student(torch.rand(1, 3, 16, 15), ["relu1_1"])


def test_only_requested_layers_run(student: Student) -> None:
    student.layers["conv2_1"].register_forward_hook(lambda *_: pytest.fail("ran deeper than asked"))
    assert list(student(torch.rand(1, 3, 16, 16), ["relu1_2"])) == ["relu1_2"]


def test_every_parameter_gets_a_gradient(student: Student) -> None:
    features = student(torch.rand(2, 3, 32, 32), student.names)
    torch.stack([(f * torch.randn_like(f)).sum() for f in features.values()]).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in student.parameters())


def test_an_unknown_layer_is_named_with_the_known_ones(student: Student) -> None:
    with pytest.raises(ValueError, match=r"relu9_9.*relu4_1"):
        student(torch.rand(1, 3, 16, 16), ["relu9_9"])


@pytest.mark.parametrize("stages", [[], [[]], [[4], [0]]])
def test_stages_without_channels_are_refused(stages: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Student(stages=stages)
