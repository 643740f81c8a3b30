"""Detect non-finite losses and gradients in the gradient norm, and skip their steps."""

from torch import Tensor
from torch.optim import Optimizer


def propagate_nonfinite(loss: Tensor) -> Tensor:
    """Return the loss unchanged; if it is not finite, make all its gradients NaN.

    Without this, gradients of a NaN loss can be finite: the gradient of x + NaN is 1. With it, the gradient norm alone
    shows a bad loss and a bad gradient. It shows them on every rank, because ranks average their gradients.
    """
    return loss * (1 + 0 * loss.detach())


def skip_unless_finite(optimizer: Optimizer, norm: Tensor) -> Tensor:
    """Make the next `optimizer.step` do nothing if the gradient norm is not finite.

    A fused optimiser skips the step on the device, so the CPU does not wait. For any other optimiser this function
    reads the norm and removes the gradients.

    Returns:
        Whether the norm is finite: a boolean scalar on its device.
    """
    finite = norm.isfinite()
    if all(group.get("fused") for group in optimizer.param_groups):
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined] # As GradScaler does.
    elif not finite:
        optimizer.zero_grad(set_to_none=True)
    return finite
