"""Recognise out-of-memory errors and release cached memory before the next attempt; never imports torch itself.

accelerate's `find_executable_batch_size` imports torch, and knows no errors of ONNX Runtime and OpenVINO.
"""

import sys

#: Parts of the messages of PyTorch, cuDNN, cuBLAS, ONNX Runtime and OpenVINO, in lower case.
_SENTENCES = (
    "out of memory",
    "alloc_failed",
    "failed to allocate memory",
    "can't allocate memory",
    "available memory of",
    "bad_alloc",
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether this error of a runtime means that the host or the GPU ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    # If torch was never imported, it cannot have raised the error.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    if isinstance(error, ValueError | OSError):
        return False
    return any(sentence in str(error).lower() for sentence in _SENTENCES)


def release_cached_memory() -> None:
    """Release GPU memory that torch caches but does not use, so that a smaller attempt can use it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
