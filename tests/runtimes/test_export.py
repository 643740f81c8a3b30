"""An exported network gives the same results as in PyTorch, at any size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_networks import ORIGIN, Exports, small_fast, small_network

from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes import export as exporting
from fast_style.runtimes.export import ParityError, describe, export, file_format
from fast_style.runtimes.formats import onnx_format

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


ANY_SIZE = ["onnx", "openvino", "torch_export"]


@pytest.mark.slow
@pytest.mark.parametrize("format", ANY_SIZE)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_format_takes_any_batch_and_image_size(exports: Exports, format, precision) -> None:
    exported = exports.get(small_network(), format=format, precision=precision)
    file = exported.file
    assert file.name == f"wave{file_format(format).SUFFIX}"
    assert [p.shape for p in exported.parities] == [(1, 3, 96, 128), (2, 3, 131, 77)]
    shapes = [(1, 3, 64, 64), (3, 3, 33, 50), (1, 3, 17, 16), (1, 3, 101, 200)]
    assert worst(small_network(), file_format(format).read(file), shapes) < (1e-5 if precision == "fp32" else 2e-3)
    assert sorted(p.name for p in file.parent.iterdir()) == sorted(
        [file.name, "wave.bin"] if format == "openvino" else [file.name]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_generator_is_exported(exports: Exports, name: str) -> None:
    found = small_network(**NETWORKS[name])
    shapes = [(1, 3, 96, 64), (2, 3, 47, 90)]
    assert worst(found, onnx_format.read(exports.get(found).file), shapes) < 1e-5


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
    monkeypatch.setattr(onnx_format, "write", lambda export, file: file.write_bytes(b"x"))
    monkeypatch.setattr(onnx_format, "read", lambda file: lambda pictures: 1 - pictures)
    (tmp_path / "wave.onnx").write_bytes(b"an earlier one")
    with pytest.raises(ParityError, match=r"from PyTorch by .*, and 0\.0001 is allowed; nothing was written"):
        export(TransformNet(width=2, blocks=0), tmp_path / "wave.onnx", origin=ORIGIN)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"an earlier one"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"format": "tensorrt"}, "format is one of onnx, openvino, torch_export, executorch, tflite; got 'tensorrt'"),
        ({"precision": "int4"}, "precision of format=onnx is one of fp32, fp16, int8; got 'int4'"),
        ({"format": "torch_export", "precision": "int8"}, "precision of format=torch_export is one of fp32, fp16; got"),
        ({"format": "openvino"}, r"ends in \.xml; got wave\.onnx"),
        ({"size": 256}, "A file of format=onnx takes images of any size; leave size out"),
        ({"precision": "int8"}, r"needs photos for the calibration; name a folder of photos, calibration=\.\.\."),
        ({"calibration": [np.zeros((1, 3, 16, 16), np.float32)]}, "are for precision=int8; got precision=fp32"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, settings, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        export(small_network(), tmp_path / "wave.onnx", origin=ORIGIN, **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_file_that_gives_nan_for_one_image_is_not_written(tmp_path: Path, monkeypatch, wrong: int) -> None:
    monkeypatch.setattr(onnx_format, "write", lambda export, file: file.write_bytes(b"x"))
    calls = []

    def sometimes(pictures):
        calls.append(len(calls))
        return np.full_like(pictures, np.nan if calls[-1] == wrong else 0.5)

    monkeypatch.setattr(onnx_format, "read", lambda file: sometimes)
    monkeypatch.setattr(exporting, "TOLERANCES", {"fp32": 1.0})
    with pytest.raises(ParityError, match="differs from PyTorch by nan"):
        export(TransformNet(width=2, blocks=0), tmp_path / "wave.onnx", origin=ORIGIN)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "size", "sentence"),
    [
        ("tflite", (8, 96), "size is at least 16 for this network in format=tflite; got 8x96"),
        ("executorch", 64, "size is at least 96 for this network in format=executorch; got 64x64"),
        ("executorch", (96, 128, 3), r"size is one number, or height and width, in pixels; got \[96, 128, 3\]"),
    ],
)
def test_a_size_that_a_format_does_not_support_is_refused(tmp_path: Path, monkeypatch, format, size, sentence) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda package: True)
    suffix = file_format(format).SUFFIX
    with pytest.raises(ValueError, match=sentence):
        export(small_network(), tmp_path / f"wave{suffix}", origin=ORIGIN, format=format, size=size)


def test_a_missing_package_is_named_with_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda package: None if package == "openvino" else True)
    with pytest.raises(ValueError, match=r"needs openvino, not installed here: pip install 'fast_style\[openvino\]'"):
        export(small_network(), tmp_path / "wave.xml", origin=ORIGIN, format="openvino")


def test_the_metadata_has_the_direction_of_a_translation() -> None:
    assert describe({"style": "a2b_A2B", "direction": "A2B"}, "fp32", smallest=16)["direction"] == "A2B"
    assert "direction" not in describe(ORIGIN, "fp32", smallest=16)


PHONES = {"executorch": "executorch", "tflite": "litert_torch"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "linear"])
@pytest.mark.parametrize("format", PHONES)
def test_phone_formats_equal_pytorch(exports: Exports, format: str, name: str) -> None:
    pytest.importorskip(PHONES[format], reason=f"pip install 'fast_style[{format}]'")
    network = small_fast() if name == "fast" else small_network()
    file = exports.get(network, format=format, size=(64, 96)).file
    shapes = [(1, 3, 64, 96), *([(1, 3, 16, 16), (1, 3, 32, 80)] if format == "executorch" else [])]
    assert worst(network, file_format(format).read(file), shapes) < 1e-4
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_8_bit_integers_are_near_pytorch_in_a_smaller_file(exports: Exports, format: str) -> None:
    if format == "openvino":
        pytest.importorskip("nncf")
    network = small_network(width=16)
    photos = [np.random.default_rng(seed).random((1, 3, 64, 80), np.float32) for seed in range(3)]
    exported = exports.get(network, format=format, precision="int8", calibration=photos)
    assert [parity.shape for parity in exported.parities] == [(1, 3, 64, 80)] * 3
    assert 0 < max(parity.mean for parity in exported.parities) < 0.03
    single = exports.get(network, format=format).file
    weights = ".bin" if format == "openvino" else ".onnx"
    assert exported.file.with_suffix(weights).stat().st_size < 0.6 * single.with_suffix(weights).stat().st_size
    assert file_format(format).read(exported.file)(np.zeros((2, 3, 33, 50), np.float32)).shape == (2, 3, 33, 50)
