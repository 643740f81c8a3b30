"""The interface of a runtime: a network that is ready to run."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


RuntimeName = Literal["torch", "compile", "onnxruntime", "openvino"]
ComputePrecision = Literal["fp32", "bf16", "fp16", "int8"]


class Runtime(Protocol):
    """A network that is ready to run.

    Attributes:
        name, precision, device: which runtime computes, at which precision, on which device.
    """

    name: RuntimeName
    precision: ComputePrecision
    device: str

    def arrays(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stylize `(N, 3, H, W)`, float32 in 0..1."""

    def tensors(self, pictures: "Tensor") -> "Tensor":
        """Stylize a tensor `(N, 3, H, W)` on any device."""


class OnTensorsByArrays:
    """Provides `tensors` for runtimes that only implement `arrays`."""

    arrays: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def tensors(self, pictures: "Tensor") -> "Tensor":
        """Stylize a tensor through CPU memory; the result is on the input's device."""
        import torch

        painted = self.arrays(pictures.detach().float().cpu().numpy())
        return torch.from_numpy(painted).to(pictures.device)


def allowed_threads() -> int | None:
    """Number of CPU threads from OMP_NUM_THREADS; PyTorch reads it itself, the other runtimes do not."""
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(said) if said.isdecimal() and int(said) else None
