"""TensorFlow Lite, now LiteRT (`format=tflite`): for Android and iOS."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fast_style.runtimes.formats.file_format import Export, ExportPrecision, Run, quiet

SUFFIX = ".tflite"
NEEDED: tuple[str, ...] = ("litert_torch", "ai_edge_litert")
EXTRA = "tflite"
PRECISIONS: tuple[ExportPrecision, ...] = ("fp32",)
SIZES = "fixed"


def write(export: Export, file: Path) -> None:
    """See `FileFormat`."""
    import litert_torch

    assert export.size is not None
    example = (torch.rand(1, 3, *export.size),)
    with quiet():
        network = _convertible(torch.export.export(export.network, example))
        litert_torch.convert(network, example).export(str(file))


def read(file: Path) -> Run:
    """See `FileFormat`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    (given,), (painted,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(given["index"], pictures)
        interpreter.invoke()
        found: NDArray[np.float32] = interpreter.get_tensor(painted["index"])
        return found

    return run


def _convertible(program: torch.export.ExportedProgram) -> nn.Module:
    """The network, with transposed convolutions that crop by 1 inside and the rest outside.

    LiteRT cannot convert a transposed convolution whose padding is as large as its kernel allows.
    """
    module: Any = program.module()
    aten = torch.ops.aten
    for node in list(module.graph.nodes):
        if node.target is aten.conv_transpose2d.input and len(node.args) > 4 and min(node.args[4]) > 1:
            padding = node.args[4]
            node.update_arg(4, [1, 1])
            with module.graph.inserting_after(node):
                rows, columns = (1 - amount for amount in padding)
                cropped = module.graph.call_function(
                    aten.constant_pad_nd.default, (node, [columns, columns, rows, rows])
                )
            node.replace_all_uses_with(cropped, delete_user_cb=lambda user, own=cropped: user is not own)
    module.recompile()
    found: nn.Module = module
    return found
