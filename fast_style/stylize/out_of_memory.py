"""What running out of memory looks like, and what helps before the next try; imports no torch of its own."""

import sys

#: What PyTorch, cuDNN, cuBLAS, ONNX Runtime and OpenVINO say, in lower case.
_SENTENCES = (
    "out of memory",
    "alloc_failed",
    "failed to allocate memory",
    "can't allocate memory",
    "available memory of",
    "bad_alloc",
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a runtime's error says that the host or the device has too little memory."""
    if isinstance(error, MemoryError):
        return True
    # Where torch was never imported, its error was not raised either.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    if isinstance(error, ValueError | OSError):
        return False
    return any(sentence in str(error).lower() for sentence in _SENTENCES)


def release_cached_memory() -> None:
    """Give back what torch holds of a GPU and does not use, so that a smaller try finds all that is free."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
