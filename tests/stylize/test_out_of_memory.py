"""Out-of-memory errors are distinguished from other errors, with and without torch."""

import subprocess
import sys

import pytest
import torch

from fast_style.stylize.out_of_memory import is_out_of_memory, release_cached_memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        torch.OutOfMemoryError(),
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)"),
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        Exception("bfc_arena.cc:376 Available memory of 0 is smaller than requested bytes of 99"),
        Exception("Failed to allocate memory for requested buffer of size 99"),
    ],
    ids=str,
)
def test_out_of_memory_errors_are_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: invalid argument"), ValueError("out of memory.png"), OSError("out of memory")]
)
def test_other_errors_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from fast_style.stylize.out_of_memory import is_out_of_memory, release_cached_memory;"
        "release_cached_memory();"
        "sys.exit(not is_out_of_memory(RuntimeError('out of memory')) or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cached_gpu_memory_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append("cuda"))
    release_cached_memory()
    assert emptied == ["cuda"]
