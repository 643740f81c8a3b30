"""What this machine computes with: its devices, their precision, their memory."""

from typing import Literal

import psutil
import torch

TrainingPrecision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


def usable_device(name: str | None) -> torch.device:
    """The device of that name; None takes CUDA where there is one, else the CPU.

    Raises:
        ValueError: it can't be used here.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).cpu()
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"The device {name!r} can't be used here ({reason}); take cpu.") from error


def best_precision(device: torch.device | None = None) -> TrainingPrecision:
    """`bf16-mixed` where the CPU computes in bfloat16, else `32-true`; None asks for CUDA before the CPU."""
    on_gpu = torch.cuda.is_available() if device is None else device.type == "cuda"
    if on_gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    on_cpu = device is None or device.type == "cpu"
    return "bf16-mixed" if on_cpu and has_bf16 else "32-true"


def free_memory(device: torch.device) -> int:
    """Bytes that a tensor could still have: on CUDA of the GPU's memory, on MPS of the part that it may use."""
    available = int(psutil.virtual_memory().available)
    if device.type == "mps":
        # The GPU has the host's memory. What torch holds and does not use is as good as free.
        used = torch.mps.current_allocated_memory()
        held = torch.mps.driver_allocated_memory() - used
        return max(0, min(torch.mps.recommended_max_memory() - used, available + held))
    if device.type != "cuda":
        return available
    free, _ = torch.cuda.mem_get_info(device)
    # As above: what torch holds and does not use.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
