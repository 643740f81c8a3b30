"""OpenVINO on a CPU."""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.atomic_files import atomic_write
from fast_style.runtimes.cache import NetworkFile, blob_path, model_path
from fast_style.runtimes.calibration import Calibration
from fast_style.runtimes.openvino_import import import_openvino
from fast_style.runtimes.runtime import ComputePrecision, OnTensorsByArrays, RuntimeName, allowed_threads

log = logging.getLogger(__name__)

#: A size gets a model of its own when it has come again so many times in a row.
REPEATS = 3
_DIGEST_BYTES = 32  # Length of the SHA-256 digest at the start of a blob file.


class OpenVino(OnTensorsByArrays):
    """OpenVINO on a CPU. The compiled model is kept in the cache and loaded again without PyTorch.

    OpenVINO's own cache (`CACHE_DIR`) starts as quickly, but loads a damaged file and paints wrong pictures.

    Args:
        network_file: the network.
        precision: `auto`, `fp32`, `bf16`, `fp16`; or `int8`: convolutions in 8-bit integers (see `formats/int8.py`).
        device: `cpu`.
        cache: folder for the prepared model.
        calibration: for `int8`, a folder of photos on which the ranges of the integers are measured.

    Raises:
        ValueError: another device, a precision that this CPU does not support, or int8 without photos.
    """

    name: RuntimeName = "openvino"
    device = "cpu"

    def __init__(
        self,
        network_file: NetworkFile,
        *,
        precision: str = "auto",
        device: str = "cpu",
        cache: Path,
        calibration: str | os.PathLike[str] | None = None,
    ) -> None:
        if device != "cpu":
            raise ValueError(f"runtime=openvino runs on the CPU only; got device={device}. Use runtime=torch.")
        core = import_openvino().Core()
        name = core.get_property("CPU", "FULL_DEVICE_NAME")
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = _openvino_precision(precision, capabilities, fast_bf16=_has_fast_bf16(name))
        hint = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}[self.precision]
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads := allowed_threads():
            config["INFERENCE_NUM_THREADS"] = threads
        photos = _photos(calibration) if self.precision == "int8" else None
        kind = f"openvino-{self.precision}" if photos is None else f"openvino-int8-{photos.digest()}"
        blob = blob_path(network_file, cache, kind, f"{name}-{version('openvino')}")
        prepared = partial(model_path, network_file, cache, "openvino", calibration=photos)
        compiled = _imported(core, blob, config)
        if compiled is None:
            compiled = core.compile_model(prepared(), "CPU", config)
            _keep(compiled, blob)
        self._request = compiled.create_infer_request()
        self._compile = partial(_compiled_for, core, prepared, config)
        #: A shape and the request of its own model, or None if that model cannot be made.
        self._of_one_shape: tuple[tuple[int, ...], Any] = (), None
        self._last_shape: tuple[int, ...] = ()
        self._repeats = 0
        self._alone = Lock()

    def arrays(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stylize `(N, 3, H, W)`, float32 in 0..1."""
        # A request has one output buffer. It uses all threads, so parallel requests would gain nothing.
        with self._alone:
            request = self._request_for(pictures.shape)
            request.infer([np.ascontiguousarray(pictures)], share_inputs=True)
            painted: NDArray[np.float32] = request.get_output_tensor().data.copy()
        return painted

    def _request_for(self, shape: tuple[int, ...]) -> Any:
        """The request of the model for any size; for a size that comes again and again, of a model for this size alone.

        The frames of a video are an example. Compiling takes 0.1 s; then OpenVINO merges more layers, and FastNet takes
        a quarter less time.
        """
        self._repeats = self._repeats + 1 if shape == self._last_shape else 0
        self._last_shape = shape
        if self._repeats >= REPEATS and self._of_one_shape[0] != shape:
            self._of_one_shape = shape, self._model_of(shape)
        known, request = self._of_one_shape
        return self._request if known != shape or request is None else request

    def _model_of(self, shape: tuple[int, ...]) -> Any:
        try:
            request = self._compile(shape)
        except (ValueError, OSError, RuntimeError, ImportError) as error:
            # The prepared model may be gone from the cache. The model for any size is in memory and works.
            log.info("No model for images of %s alone: %s", shape, error)
            return None
        # The two models would need twice the memory.
        self._request.get_compiled_model().release_memory()
        return request


def _has_fast_bf16(cpu: str) -> bool:
    """Whether a CPU that supports bfloat16 is faster in it than in float32.

    An Intel CPU needs AMX for that, which some virtual machines hide: on a Xeon without it, FastNet took 1.6 times as
    long in bf16 as in float32. `fast_style.devices` has the same rule for PyTorch, but needs torch.
    """
    try:
        return "Intel" not in cpu or "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:  # Not Linux, where few Intel CPUs have AMX.
        return False


def _openvino_precision(wanted: str, capabilities: list[str], *, fast_bf16: bool) -> ComputePrecision:
    """The requested precision, if the CPU supports it; for `auto` bf16 if that is fast, else fp32."""
    has = {"fp32": True, "bf16": "BF16" in capabilities, "fp16": "FP16" in capabilities, "int8": True}
    if wanted == "auto":
        return "bf16" if has["bf16"] and fast_bf16 else "fp32"
    if wanted not in has:
        raise ValueError(f"precision of runtime=openvino is auto, {', '.join(has)}; got {wanted!r}.")
    if not has[wanted]:
        able = ", ".join(name for name, here in has.items() if here)
        raise ValueError(f"This CPU does not support {wanted}; use one of {able}.")
    return wanted  # type: ignore[return-value] # One of the four.


def _photos(folder: str | os.PathLike[str] | None) -> Calibration:
    if folder is None:
        raise ValueError("precision=int8 needs photos for the calibration; name a folder of photos, calibration=...")
    return Calibration.from_folder(folder)


def _compiled_for(core: Any, prepared: Callable[[], Path], config: Mapping[str, Any], shape: tuple[int, ...]) -> Any:
    """A request of the model for one shape `(N, 3, H, W)`."""
    model = core.read_model(prepared())
    model.reshape(shape)
    return core.compile_model(model, "CPU", dict(config)).create_infer_request()


def _imported(core: Any, blob: Path, config: Mapping[str, Any]) -> Any:
    """The compiled model from the cache; None if it is missing, damaged or from another version."""
    if not blob.is_file():
        return None
    content = blob.read_bytes()
    digest, compiled = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if sha256(compiled).digest() != digest:  # OpenVINO loads most damaged blobs and computes wrong results.
        log.info("%s is damaged; compiling again.", blob)
        return None
    try:
        return core.import_model(compiled, "CPU", dict(config))
    except RuntimeError as error:
        log.info("%s cannot be loaded (%s); compiling again.", blob, error)
        return None


def _keep(compiled: Any, blob: Path) -> None:
    try:
        with atomic_write(blob) as file:
            content = compiled.export_model().getbuffer()
            file.write(sha256(content).digest())
            file.write(content)
    except OSError as error:  # Stylizing still works; the next start takes longer.
        log.warning("%s cannot be written: %s.", blob, error.strerror)
