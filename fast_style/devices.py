"""Devices of this machine: availability, best precision and free memory."""

from typing import Any, Literal

import psutil
import torch

TrainingPrecision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


def usable_device(name: str | None) -> torch.device:
    """Return the device with this name; None selects CUDA if available, else the CPU.

    Raises:
        ValueError: the device cannot be used on this machine.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).cpu()
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"The device {name!r} cannot be used on this machine ({reason}); use device=cpu.") from error


def best_precision(device: torch.device | None = None) -> TrainingPrecision:
    """Return `bf16-mixed` if the device computes fast in bfloat16, else `32-true`.

    None means CUDA if available, else the CPU.
    """
    on_gpu = torch.cuda.is_available() if device is None else device.type == "cuda"
    if on_gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    on_cpu = device is None or device.type == "cpu"
    return "bf16-mixed" if on_cpu and _has_fast_bf16() else "32-true"


def _has_fast_bf16() -> bool:
    """Whether the CPU computes in bfloat16, and not slower than in float32.

    An Intel CPU is fast in bfloat16 with AMX, which some virtual machines hide. Without it, a training step on a Xeon
    with AVX-512 bf16 took 1.4 times as long in bf16-mixed as in float32. On an AMD EPYC, bf16 is the faster one.
    """
    if not getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return False
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # Older versions of torch cannot tell.
    return "Intel" not in known.get("cpu_name", "") or known.get("amx_bf16", True)


def free_memory(device: torch.device) -> int:
    """Return the bytes that new tensors can use: GPU memory on CUDA, the recommended share on MPS, else RAM."""
    available = int(psutil.virtual_memory().available)
    if device.type == "mps":
        # The GPU shares the RAM. Memory that torch has reserved but does not use counts as free.
        used = torch.mps.current_allocated_memory()
        held = torch.mps.driver_allocated_memory() - used
        return max(0, min(torch.mps.recommended_max_memory() - used, available + held))
    if device.type != "cuda":
        return available
    free, _ = torch.cuda.mem_get_info(device)
    # As above: reserved but unused memory counts as free.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
