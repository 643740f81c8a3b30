"""ONNX (`format=onnx`): standard operators only, for most programs and for browsers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fast_style.runtimes.formats.file_format import Export, ExportPrecision, Run, exported, quiet

SUFFIX = ".onnx"
NEEDED: tuple[str, ...] = ("onnx", "onnxscript", "onnxruntime")
EXTRA = "onnx"
PRECISIONS: tuple[ExportPrecision, ...] = ("fp32", "fp16", "int8")
SIZES = "any"
OPSET = 18  # The lowest opset with all needed operators: older opsets run in more programs.


def write(export: Export, file: Path) -> None:
    """See `FileFormat`."""
    if export.precision == "int8":
        from fast_style.runtimes.formats.int8 import quantized_onnx

        model = quantized_onnx(onnx_bytes(export.network), export.calibration, file.with_suffix(".float.onnx"))
        file.write_bytes(_with_metadata(model, export.about))
    else:
        file.write_bytes(onnx_bytes(export.network, export.about, half=export.precision == "fp16"))


def read(file: Path) -> Run:
    """See `FileFormat`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda pictures: session.run(None, {"pictures": pictures})[0]


def onnx_bytes(network: nn.Module, about: Mapping[str, str] | None = None, *, half: bool = False) -> bytes:
    """The ONNX model, with computed weights folded into constants; with `half`, weights are stored in float16."""
    import onnxscript.optimizer

    with quiet():
        program = torch.onnx.export(
            exported(network), opset_version=OPSET, input_names=["pictures"], output_names=["painted"], verbose=False
        )
        assert program is not None
        # The default limits skip large weights. The upsampling kernels would then be recomputed in every call.
        onnxscript.optimizer.optimize(program.model, input_size_limit=2**30, output_size_limit=2**30)
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True):
            if name:
                dim.dim_param = name
    if half:
        _halve(model.graph)
    return _with_metadata(model, about or {})


def _with_metadata(model: Any, about: Mapping[str, str]) -> bytes:
    for name, text in about.items():
        model.metadata_props.add(key=name, value=text)
    content: bytes = model.SerializeToString()
    return content


def _halve(graph: Any) -> None:
    """Store large weights in float16, with a cast to float32 that every runtime computes once."""
    from onnx import TensorProto, helper, numpy_helper

    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 256:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.fp16"))
            graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
