"""Learning rate schedules."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def constant_then_linear(
    optimizer: Optimizer, *, total_steps: int, constant_epochs: int = 100, decay_epochs: int = 100
) -> LambdaLR:
    """Constant learning rate, then a linear decay to 0 (Zhu et al. 2017, 7.1); call its step at every training step.

    Args:
        optimizer: the optimiser to schedule.
        total_steps: steps of the training, divided evenly into `constant_epochs + decay_epochs` epochs. With the
            paper's collections and number of steps, these are the paper's epochs.
        constant_epochs, decay_epochs: epochs with the full rate, and epochs over which it decays. The rate changes
            only from epoch to epoch.

    Raises:
        ValueError: no epochs or no steps.
    """
    epochs = constant_epochs + decay_epochs
    if min(constant_epochs, decay_epochs) < 0 or min(epochs, total_steps) < 1:
        raise ValueError(
            "A schedule needs at least one epoch and one step; got "
            f"constant_epochs={constant_epochs}, decay_epochs={decay_epochs}, total_steps={total_steps}."
        )
    return LambdaLR(
        optimizer,
        lambda step: share_at(step * epochs // total_steps, constant_epochs=constant_epochs, decay_epochs=decay_epochs),
    )


def share_at(epoch: int, *, constant_epochs: int, decay_epochs: int) -> float:
    """Factor of the full rate in an epoch (counted from 0): 1 at first, then falling; it would be 0 after the last.

    As in the authors' Lua code, which made the paper's results. Their PyTorch code starts the decay an epoch earlier.
    """
    left = constant_epochs + decay_epochs - epoch
    return max(0.0, min(1.0, left / decay_epochs)) if decay_epochs else 1.0
