"""What every runtime is: a network that is ready to paint."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


RuntimeName = Literal["torch", "compile", "onnxruntime", "openvino"]
ComputePrecision = Literal["fp32", "bf16", "fp16"]


class Runtime(Protocol):
    """A network that is ready to run.

    Attributes:
        name, precision, device: what computes, in what, where.
    """

    name: RuntimeName
    precision: ComputePrecision
    device: str

    def arrays(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Paint `(N, 3, H, W)`, float32 in 0..1."""

    def tensors(self, pictures: "Tensor") -> "Tensor":
        """The same, for tensors on any device."""


class OnTensorsByArrays:
    """`tensors` of a runtime that knows arrays alone."""

    arrays: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def tensors(self, pictures: "Tensor") -> "Tensor":
        """Through the memory of the CPU, and back."""
        import torch

        painted = self.arrays(pictures.detach().float().cpu().numpy())
        return torch.from_numpy(painted).to(pictures.device)


def allowed_threads() -> int | None:
    """What OMP_NUM_THREADS allows on the CPU; PyTorch reads it itself, the other runtimes do not."""
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(said) if said.isdecimal() and int(said) else None
