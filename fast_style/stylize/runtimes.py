"""Who executes a network: PyTorch, or a runtime that is faster on a processor and starts without PyTorch."""

import logging
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from fast_style.atomic_files import whole_file
from fast_style.stylize.artefacts import Source, blob_path, prepared
from fast_style.without_telemetry import import_openvino

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

RuntimeName = Literal["torch", "compile", "onnxruntime", "openvino"]
Precision = Literal["fp32", "bf16", "fp16"]
Device = Literal["cpu", "cuda", "mps"]
#: Fastest first, on a processor; measured in benchmarks/stylize.py.
ON_CPU: tuple[RuntimeName, ...] = ("openvino", "onnxruntime", "torch")


class Runtime(Protocol):
    """A network that is ready to run.

    Attributes:
        name, precision, device: what computes, in what, where.
    """

    name: RuntimeName
    precision: Precision
    device: str

    def arrays(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Paint `(N, 3, H, W)`, float32 in 0..1."""

    def tensors(self, pictures: "Tensor") -> "Tensor":
        """The same, for tensors on any device."""


class OnTensorsByArrays:
    """`tensors` of a runtime that knows arrays alone."""

    arrays: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def tensors(self, pictures: "Tensor") -> "Tensor":
        """Through the memory of the processor, and back."""
        import torch

        painted = self.arrays(pictures.detach().float().cpu().numpy())
        return torch.from_numpy(painted).to(pictures.device)


class OpenVino(OnTensorsByArrays):
    """OpenVINO on the processor; what it compiled is kept in the cache, and read again without PyTorch.

    Raises:
        ValueError: another device, or a precision that this processor does not compute in.
    """

    name: RuntimeName = "openvino"
    device = "cpu"

    def __init__(self, source: Source, *, precision: str = "auto", device: str = "cpu", cache: Path) -> None:
        if device != "cpu":
            raise ValueError(f"runtime=openvino runs on the cpu here; got device={device}. Take runtime=torch.")
        core = import_openvino().Core()
        self.precision = _openvino_precision(precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        hint = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}[self.precision]
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads := allowed_threads():
            config["INFERENCE_NUM_THREADS"] = threads
        machine = f"{core.get_property('CPU', 'FULL_DEVICE_NAME')}-{version('openvino')}"
        blob = blob_path(source, cache, f"openvino-{self.precision}", machine)
        compiled = _imported(core, blob, config)
        if compiled is None:
            compiled = prepared(source, cache, "openvino", lambda file: core.compile_model(file, "CPU", config))
            _keep(compiled, blob)
        self._request = compiled.create_infer_request()
        self._alone = Lock()

    def arrays(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Paint `(N, 3, H, W)`, float32 in 0..1."""
        # A request has one output; it takes all the threads there are, so that others gain nothing by going ahead.
        with self._alone:
            self._request.infer([np.ascontiguousarray(pictures)], share_inputs=True)
            painted: NDArray[np.float32] = self._request.get_output_tensor().data.copy()
        return painted


def _openvino_precision(wanted: str, capabilities: list[str]) -> Precision:
    """What is wanted, if the processor computes in it; bfloat16 before float32 if nothing is."""
    has = {"fp32": True, "bf16": "BF16" in capabilities, "fp16": "FP16" in capabilities}
    if wanted == "auto":
        return "bf16" if has["bf16"] else "fp32"
    if wanted not in has:
        raise ValueError(f"precision is auto, fp32, bf16 or fp16; got {wanted!r}.")
    if not has[wanted]:
        able = ", ".join(name for name, here in has.items() if here)
        raise ValueError(f"This processor does not compute in {wanted}; precision is one of {able} here.")
    return wanted  # type: ignore[return-value] # One of the three.


def _imported(core: Any, blob: Path, config: Mapping[str, Any]) -> Any:
    """What was compiled before; None if there is nothing, or nothing that does any more."""
    if not blob.is_file():
        return None
    try:
        return core.import_model(blob.read_bytes(), "CPU", dict(config))
    except RuntimeError:
        log.info("%s is of no use any more, and made again.", blob)
        return None


def _keep(compiled: Any, blob: Path) -> None:
    try:
        with whole_file(blob) as file:
            file.write(compiled.export_model().getbuffer())
    except OSError as error:  # It paints all the same; the next start takes longer.
        log.warning("%s can't be kept: %s.", blob, error.strerror)


class OnnxRuntime(OnTensorsByArrays):
    """ONNX Runtime on the processor, or on a GPU with the package that has it.

    Raises:
        ValueError: a device that the installed package has not, or a precision other than float32.
    """

    name: RuntimeName = "onnxruntime"
    precision: Precision = "fp32"

    def __init__(self, source: Source, *, precision: str = "auto", device: str = "cpu", cache: Path) -> None:
        import onnxruntime

        if precision not in ("auto", "fp32"):
            raise ValueError(f"runtime=onnxruntime computes in fp32; got {precision}. Take runtime=openvino or torch.")
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device)
        if provider not in onnxruntime.get_available_providers():
            raise ValueError(f"The installed onnxruntime has nothing for device={device}; take cpu or runtime=torch.")
        self.device = device
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = allowed_threads() or 0
        self._session = prepared(
            source, cache, "onnx", lambda file: onnxruntime.InferenceSession(file, options, providers=[provider])
        )

    def arrays(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Paint `(N, 3, H, W)`, float32 in 0..1."""
        painted: NDArray[np.float32] = self._session.run(None, {"pictures": np.ascontiguousarray(pictures)})[0]
        return painted


def allowed_threads() -> int | None:
    """What OMP_NUM_THREADS allows on the processor; PyTorch reads it itself, the other runtimes do not."""
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(said) if said.isdecimal() and int(said) else None


def choose(runtime: str, device: str) -> tuple[RuntimeName, str]:
    """The runtime and the device that are meant by names or `auto`: the fastest that is here.

    Raises:
        ValueError: an unknown name, or a runtime that is not installed.
    """
    if runtime not in ("auto", *get_args(RuntimeName)):
        raise ValueError(f"runtime is auto or one of {', '.join(get_args(RuntimeName))}; got {runtime!r}.")
    if runtime in ("onnxruntime", "openvino") and find_spec(runtime) is None:
        raise ValueError(f"runtime={runtime} is not installed: pip install 'fast_style[{runtime}]', or take torch.")
    if device == "auto":
        device = "cpu" if runtime in ("onnxruntime", "openvino") else _best_device()
    if runtime != "auto":
        return runtime, device  # type: ignore[return-value] # One of the names.
    return fastest(device)[0], device


def fastest(device: str) -> list[RuntimeName]:
    """The runtimes that are installed, the fastest on this device first; PyTorch is always among them."""
    return [name for name in ON_CPU if find_spec(name) is not None] if device == "cpu" else ["torch"]


def _best_device() -> str:
    """A GPU where there is one. Asked of PyTorch, which takes seconds, only if there may be one."""
    driver = Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or os.name == "nt"
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if not driver and not apple:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
