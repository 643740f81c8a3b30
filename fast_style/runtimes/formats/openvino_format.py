"""OpenVINO's own format (`format=openvino`): an .xml file, and a .bin file with the weights next to it."""

from pathlib import Path

from fast_style.runtimes.formats.file_format import Export, ExportPrecision, Run
from fast_style.runtimes.formats.onnx_format import onnx_bytes
from fast_style.runtimes.openvino_import import import_openvino

SUFFIX = ".xml"
NEEDED: tuple[str, ...] = ("onnx", "onnxscript", "openvino")
EXTRA = "openvino"
PRECISIONS: tuple[ExportPrecision, ...] = ("fp32", "fp16", "int8")
SIZES = "any"


def write(export: Export, file: Path) -> None:
    """See `FileFormat`."""
    openvino = import_openvino()
    model = openvino.Core().read_model(onnx_bytes(export.network))
    if export.precision == "int8":
        from fast_style.runtimes.formats.int8 import quantized_openvino

        model = quantized_openvino(model, export.calibration)
    for name, text in export.about.items():
        model.set_rt_info(text, ["fast_style", name])
    openvino.save_model(model, file, compress_to_fp16=export.precision != "fp32")


def read(file: Path) -> Run:
    """See `FileFormat`."""
    openvino = import_openvino()
    model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pictures: model([pictures])[0]
