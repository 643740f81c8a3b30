"""How learning rates change in the course of a training."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def constant_then_linear(
    optimizer: Optimizer, *, total_steps: int, constant_epochs: int = 100, decay_epochs: int = 100
) -> LambdaLR:
    """The same rate at first, then linearly to 0 (Zhu et al. 2017, 7.1), stepped every training step.

    Args:
        optimizer: whose rates are multiplied.
        total_steps: of the training. It is as long as all epochs together, whatever the number of pictures: with the
            paper's collections and steps, epochs are the paper's.
        constant_epochs, decay_epochs: how many epochs keep the rate, and over how many it falls; the rate changes from
            epoch to epoch alone.

    Raises:
        ValueError: there are no epochs, or no steps.
    """
    epochs = constant_epochs + decay_epochs
    if min(constant_epochs, decay_epochs) < 0 or min(epochs, total_steps) < 1:
        raise ValueError(
            "A schedule has at least one epoch and one step; got "
            f"constant_epochs={constant_epochs}, decay_epochs={decay_epochs}, total_steps={total_steps}."
        )
    return LambdaLR(
        optimizer,
        lambda step: share_at(step * epochs // total_steps, constant_epochs=constant_epochs, decay_epochs=decay_epochs),
    )


def share_at(epoch: int, *, constant_epochs: int, decay_epochs: int) -> float:
    """The share of the full rate in an epoch, from 0: 1 at first, then falling to the 0 that no epoch has.

    The authors' Lua code, with which the paper's results were made; their PyTorch release begins an epoch earlier.
    """
    left = constant_epochs + decay_epochs - epoch
    return max(0.0, min(1.0, left / decay_epochs)) if decay_epochs else 1.0
