"""Post-training quantisation to 8-bit integers: OpenVINO by NNCF, ONNX by ONNX Runtime's static quantiser.

Weights and inputs of the convolutions become 8-bit integers, in ranges that are measured on calibration photos. For
OpenVINO, NNCF also quantises the inputs of normalisations, sums and interpolations, which are then read faster. The
rest stays in floating point.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.runtimes.formats.file_format import quiet

Photos = Sequence[NDArray[np.float32]]


def quantized_openvino(model: Any, photos: Photos) -> Any:
    """Quantise an OpenVINO model, with the photos `(1, 3, H, W)` in 0..1 for calibration."""
    import nncf

    with quiet():
        return nncf.quantize(model, nncf.Dataset(list(photos)), subset_size=len(photos))


def quantized_onnx(model: bytes, photos: Photos, scratch: Path) -> Any:
    """Quantise an ONNX model, with the photos `(1, 3, H, W)` in 0..1 for calibration; `scratch` is a file name."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc] # ONNX Runtime has no types.
        def __init__(self) -> None:
            self.left = iter(photos)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            photo = next(self.left, None)
            return None if photo is None else {"pictures": photo}

    target = scratch.with_suffix(".int8.onnx")
    scratch.write_bytes(model)
    with quiet():
        quantize_static(
            scratch,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
        quantized = onnx.load(target)
    for file in (scratch, target):
        file.unlink()
    return quantized
