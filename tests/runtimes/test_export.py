"""An exported network gives the same results as in PyTorch, at any size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_networks import ORIGIN, Exports, small_network

from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes import export as exporting
from fast_style.runtimes.export import NEEDED, READERS, SUFFIXES, ParityError, describe, export

NETWORKS = {
    "linear": {},
    "nearest": {"upsample": "nearest"},
    "fractional": {"upsample": "fractional"},
    "the_papers": {"upsample": "fractional", "fractional_kernel": 3, "residual_padding": "none"},
    "cyclegan": {"upsample": "fractional", "fractional_kernel": 3, "output_gain": 1.0, "outer_kernel": 7},
    "skip": {"skip": True},
}


def worst(found: TransformNet, run, shapes) -> float:
    difference = 0.0
    for shape in shapes:
        pictures = torch.rand(shape)
        with torch.no_grad():
            wanted = found(pictures).numpy()
        painted = run(pictures.numpy())
        assert painted.shape == wanted.shape
        difference = max(difference, float(np.abs(painted - wanted).max()))
    return difference


@pytest.mark.slow
@pytest.mark.parametrize("format", NEEDED)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_format_takes_any_batch_and_image_size(exports: Exports, format, precision) -> None:
    exported = exports.get(small_network(), format=format, precision=precision)
    file = exported.file
    assert file.name == f"wave{SUFFIXES[format]}"
    assert [p.shape for p in exported.parities] == [(1, 3, 96, 128), (2, 3, 131, 77)]
    shapes = [(1, 3, 64, 64), (3, 3, 33, 50), (1, 3, 17, 16), (1, 3, 101, 200)]
    assert worst(small_network(), READERS[format](file), shapes) < (1e-5 if precision == "fp32" else 2e-3)
    assert sorted(p.name for p in file.parent.iterdir()) == sorted(
        [file.name, "wave.bin"] if format == "openvino" else [file.name]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_generator_is_exported(exports: Exports, name: str) -> None:
    found = small_network(**NETWORKS[name])
    shapes = [(1, 3, 96, 64), (2, 3, 47, 90)]
    assert worst(found, READERS["onnx"](exports.get(found).file), shapes) < 1e-5


@pytest.mark.slow
def test_an_onnx_file_has_metadata_and_standard_operators_only(exports: Exports) -> None:
    import onnx

    model = onnx.load(exports.get(small_network(), precision="fp16").file)
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["style"] == "wave"
    assert "0 to 1" in said["input"]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    dims = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, "height", "width"]
    # ONNX Runtime Web's WebAssembly and WebGPU backends support all of these operators.
    assert {node.op_type for node in model.graph.node} <= {
        *("Add", "Cast", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "InstanceNormalization", "Min", "Mod"),
        *("Mul", "Neg", "Pad", "Relu", "Reshape", "Shape", "Squeeze", "Sub", "Tanh"),
    }


@pytest.mark.slow
def test_other_formats_have_metadata(exports: Exports) -> None:
    import openvino

    file = exports.get(small_network(), format="openvino").file
    assert openvino.Core().read_model(file).get_rt_info(["fast_style", "style"]).value == "wave"
    extra = {"fast_style.json": ""}
    torch.export.load(exports.get(small_network(), format="torch_export").file, extra_files=extra)
    assert json.loads(extra["fast_style.json"])["style"] == "wave"


def test_a_file_above_the_tolerance_is_not_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(exporting.WRITERS, "onnx", lambda network, file, about, precision: file.write_bytes(b"x"))
    monkeypatch.setitem(exporting.READERS, "onnx", lambda file: lambda pictures: 1 - pictures)
    (tmp_path / "wave.onnx").write_bytes(b"an earlier one")
    with pytest.raises(ParityError, match=r"from PyTorch by .*, and 0\.0001 is allowed; nothing was written"):
        export(TransformNet(width=2, blocks=0), tmp_path / "wave.onnx", origin=ORIGIN)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"an earlier one"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"format": "tensorrt"}, "format is one of onnx, openvino, torch_export; got 'tensorrt'"),
        ({"precision": "int8"}, "precision is one of fp32, fp16; got 'int8'"),
        ({"format": "openvino"}, r"ends in \.xml; got wave\.onnx"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, settings, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        export(small_network(), tmp_path / "wave.onnx", origin=ORIGIN, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda package: None if package == "openvino" else True)
    with pytest.raises(ValueError, match=r"needs openvino, not installed here: pip install 'fast_style\[openvino\]'"):
        export(small_network(), tmp_path / "wave.xml", origin=ORIGIN, format="openvino")


def test_the_metadata_has_the_direction_of_a_translation() -> None:
    assert describe({"style": "a2b_A2B", "direction": "A2B"}, "fp32", smallest=16)["direction"] == "A2B"
    assert "direction" not in describe(ORIGIN, "fp32", smallest=16)
