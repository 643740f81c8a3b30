"""Images a second and memory of a trained network: PyTorch eager and compiled, ONNX Runtime and TensorRT."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fast_style.runtimes.cache import model_path, read_network_file
from fast_style.stylize.stylizer import load_stylizer
from gpu_parts.clock import chosen_device, milliseconds
from gpu_parts.figures import Figures, sentence
from gpu_parts.running import CHECKOUT

NETWORK = CHECKOUT / "checkpoints" / "starry_night.safetensors"
Call = Callable[[], object]


def measure(figures: Figures) -> None:
    """Note each variant at each size, the smallest first; a variant that is not available is noted with its reason."""
    device = chosen_device(figures.sizes)
    wanted = list(variants(device, figures.folder / "runtimes").items())
    for name, make in wanted[: figures.sizes.runtimes]:
        try:
            call_of = make()
        except Exception as error:
            figures.note(name, {"skipped": sentence(error)})
            continue
        sizes: dict[str, Any] = {}
        for size, (height, width) in figures.sizes.pictures.items():
            try:
                sizes[size] = figures_of(call_of(height, width), device, figures.sizes.passes)
            except Exception as error:
                sizes[size] = {"error": sentence(error)}
            figures.note(name, sizes)


def figures_of(call: Call, device: torch.device, passes: int) -> dict[str, float]:
    """Time and peak memory of a call, which stylizes one image."""
    used = peak_memory(call, device)
    milli = milliseconds(call, device, calls=passes, warm_up=1)
    return {"ms": milli, "images_per_second": 1e3 / milli, "peak_memory_mib": used / 2**20}


def peak_memory(call: Call, device: torch.device) -> float:
    """Bytes on the device at the peak of a call; on a CPU the largest resident size so far.

    Memory that torch did not allocate (ONNX Runtime) counts by the free memory of the device after the call: its
    allocator keeps what it took.
    """
    if device.type != "cuda":
        import resource

        call()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    call()  # Compiles; what only that needs must not count.
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    call()
    torch.cuda.synchronize(device)
    others = before - torch.cuda.mem_get_info(device)[0] - torch.cuda.memory_reserved(device)
    return torch.cuda.max_memory_allocated(device) + max(0.0, others)


def variants(device: torch.device, cache: Path) -> dict[str, Callable[[], Callable[[int, int], Call]]]:
    """Functions that load a variant; they raise an error that says why it is not available."""

    def on_torch(runtime: str, precision: str) -> Callable[[], Callable[[int, int], Call]]:
        return lambda: torch_calls(runtime, precision, device, cache)

    return {
        "eager fp32": on_torch("torch", "fp32"),
        "eager bf16": on_torch("torch", "bf16"),
        "compiled bf16": on_torch("compile", "bf16"),
        "ONNX Runtime": lambda: onnx_calls("CUDAExecutionProvider", device, cache),
        "TensorRT": lambda: onnx_calls("TensorrtExecutionProvider", device, cache),
        "compiled fp32": on_torch("compile", "fp32"),
    }


def torch_calls(runtime: str, precision: str, device: torch.device, cache: Path) -> Callable[[int, int], Call]:
    """Calls on an image that is on the device already."""
    stylizer = load_stylizer(NETWORK, runtime=runtime, precision=precision, device=device.type, cache=cache)

    def call_of(height: int, width: int) -> Call:
        picture = torch.rand(1, 3, height, width, device=device)
        return lambda: stylizer(picture)

    return call_of


def onnx_calls(provider: str, device: torch.device, cache: Path) -> Callable[[int, int], Call]:
    """Calls of ONNX Runtime on an image in host memory: the time includes both copies.

    Raises:
        ValueError: not installed, or without this provider.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise ValueError("The package onnxruntime is not installed.")
    import onnxruntime

    if device.type != "cuda":
        raise ValueError("A dry run on the CPU measures no runtime for GPUs.")
    if provider not in onnxruntime.get_available_providers():
        raise ValueError(f"The installed onnxruntime has no {provider}.")
    session = onnx_session(provider, cache)

    def call_of(height: int, width: int) -> Call:
        picture = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        return lambda: session.run(None, {session.get_inputs()[0].name: picture})

    return call_of


def onnx_session(provider: str, cache: Path) -> Any:
    """A session that runs on this provider and on no other, because a silent fall-back would be measured instead."""
    import onnxruntime

    file = model_path(read_network_file(NETWORK), cache, "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=[provider])
    if session.get_providers()[0] != provider:
        raise ValueError(f"onnxruntime could not start its {provider}.")
    return session
