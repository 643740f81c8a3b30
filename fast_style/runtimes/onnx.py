"""ONNX Runtime on a CPU or a GPU."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fast_style.runtimes.cache import NetworkFile, model_path
from fast_style.runtimes.runtime import ComputePrecision, OnTensorsByArrays, RuntimeName, allowed_threads


class OnnxRuntime(OnTensorsByArrays):
    """ONNX Runtime on a CPU, or on a GPU if the installed package supports it.

    Raises:
        ValueError: a device that the installed package does not support, or a precision other than float32.
    """

    name: RuntimeName = "onnxruntime"
    precision: ComputePrecision = "fp32"

    def __init__(self, network_file: NetworkFile, *, precision: str = "auto", device: str = "cpu", cache: Path) -> None:
        import onnxruntime

        if precision not in ("auto", "fp32"):
            raise ValueError(f"runtime=onnxruntime computes in fp32; got {precision}. Use another runtime.")
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device)
        if provider not in onnxruntime.get_available_providers():
            raise ValueError(
                f"The installed onnxruntime does not support device={device}; use device=cpu or runtime=torch."
            )
        self.device = device
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = allowed_threads() or 0
        file = model_path(network_file, cache, "onnx")
        self._session = onnxruntime.InferenceSession(file, options, providers=[provider])

    def arrays(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stylize `(N, 3, H, W)`, float32 in 0..1."""
        painted: NDArray[np.float32] = self._session.run(None, {"pictures": np.ascontiguousarray(pictures)})[0]
        return painted
