"""Losses and gradients that are not finite: seen in the gradient norm, and their steps skipped."""

from torch import Tensor
from torch.optim import Optimizer


def propagate_nonfinite(loss: Tensor) -> Tensor:
    """The loss itself; where it is not finite, its gradients are NaN one and all.

    They need not be: that of x + NaN is 1. So the gradient's norm alone tells of both, and in every process, since
    processes share their gradients.
    """
    return loss * (1 + 0 * loss.detach())


def skip_unless_finite(optimizer: Optimizer, norm: Tensor) -> Tensor:
    """Let the coming `optimizer.step` change neither weights nor its own state if the gradient's norm is not finite.

    A fused optimiser skips on the device, and no step waits for the answer. For any other the norm is read here, and
    the step skipped by leaving it no gradients.

    Returns:
        Whether the norm is finite: a truth value on its device.
    """
    finite = norm.isfinite()
    if all(group.get("fused") for group in optimizer.param_groups):
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined] # As GradScaler tells it.
    elif not finite:
        optimizer.zero_grad(set_to_none=True)
    return finite
