"""Muon (Jordan et al. 2024): steps along orthogonalised momentum, also for convolutions."""

from collections.abc import Callable, Iterable
from itertools import groupby
from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x^3, x^5: the steepest start that still ends between 0.7 and 1.2
_ITERATIONS = 5
_EPS = 1e-7
#: A weight with fewer rows or columns is updated by Adam.
_SMALLEST = 4


class Muon(Optimizer):
    """Optimiser that updates matrices along their orthogonalised Nesterov momentum, and other weights with Adam.

    A weight counts as a matrix of shape `(out, everything else)`. It moves by
    `lr max(1, rows / columns)^1/2 U V^T`, where `U S V^T` is its momentum: by about the same amount in every
    direction, whatever the strength of the gradient there. Computed in float32, through the Gram matrix.
    torch.optim.Muon takes weights of two dimensions only, so no convolutions. It and timm's Muon compute in bfloat16,
    which takes seconds per step on a CPU without bfloat16.

    Like torch's fused optimisers it skips the step, without a sync of the device, if `found_inf` is 1.

    Args:
        params: parameters, or groups of parameters.
        lr: step length of a matrix in each direction.
        momentum: decay of the moving average of a matrix's gradients.
        adam_lr_scale: learning rate of all other weights, relative to `lr`.
        betas: Adam's betas.
        eps: Adam's epsilon.

    Raises:
        ValueError: a negative rate, or a momentum or beta outside of [0, 1).
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        adam_lr_scale: float = 0.3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        if lr < 0 or adam_lr_scale < 0 or not all(0 <= share < 1 for share in (momentum, *betas)):
            raise ValueError(
                "Muon needs lr and adam_lr_scale of at least 0, momentum and betas in [0, 1); got "
                f"lr={lr}, adam_lr_scale={adam_lr_scale}, momentum={momentum}, betas={tuple(betas)}."
            )
        chosen = {"lr": lr, "momentum": momentum, "adam_lr_scale": adam_lr_scale, "betas": tuple(betas), "eps": eps}
        super().__init__(params, chosen | {"fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found_inf = getattr(self, "found_inf", None)
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            taken = torch.ones((), device=weights[0].device) if found_inf is None else 1 - found_inf.reshape(())
            self._step_matrices([weight for weight in weights if _is_matrix(weight)], group, taken)
            self._step_others([weight for weight in weights if not _is_matrix(weight)], group, taken)
        return loss

    def _step_matrices(self, weights: list[Tensor], group: dict[str, Any], taken: Tensor) -> None:
        for shape, alike in groupby(sorted(weights, key=_shape), key=_shape):  # Weights of equal shape as one batch.
            same = list(alike)
            momenta = []
            for weight in same:
                gradient = _gradient(weight, taken)
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(gradient, taken * (1 - group["momentum"]))
                momenta.append(gradient.lerp(state["momentum"], group["momentum"]).flatten(1))
            rows, columns = shape[0], momenta[0].shape[1]
            steps = orthogonalised(torch.stack(momenta)) * (taken * group["lr"] * sqrt(max(1.0, rows / columns)))
            for weight, step in zip(same, steps, strict=True):
                weight.sub_(step.view(shape))

    def _step_others(self, weights: list[Tensor], group: dict[str, Any], taken: Tensor) -> None:
        first, second = group["betas"]
        for weight in weights:
            gradient = _gradient(weight, taken)
            state = self.state[weight]
            if not state:
                state["step"] = torch.zeros((), device=weight.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
            state["step"] += taken
            state["exp_avg"].lerp_(gradient, taken * (1 - first))
            state["exp_avg_sq"].lerp_(gradient.square(), taken * (1 - second))
            count = state["step"].clamp_min(1)
            root = (state["exp_avg_sq"] / (1 - second**count)).sqrt() + group["eps"]
            rate = taken * group["lr"] * group["adam_lr_scale"] / (1 - first**count)
            weight.sub_(rate * state["exp_avg"] / root)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Approximate `U V^T` of each matrix of `(N, rows, columns)` in float32; singular values are 0.7 to 1.2, not 1.

    Five Newton-Schulz iterations `x <- a x + b x x^T x + c (x x^T)^2 x`. Each is a polynomial in the small Gram matrix
    of `x`. So the polynomials are multiplied first, and only two products involve the long matrix.
    """
    a, b, c = _COEFFICIENTS
    long = matrices.float().mT if matrices.shape[-2] > matrices.shape[-1] else matrices.float()
    long = long / torch.linalg.matrix_norm(long, keepdim=True).clamp_min(_EPS)
    gram = long @ long.mT
    one = torch.eye(gram.shape[-1], device=gram.device)
    product = one.expand_as(gram)
    for iteration in range(_ITERATIONS):
        polynomial = a * one + b * gram + c * (gram @ gram)
        product = polynomial @ product
        if iteration + 1 < _ITERATIONS:
            gram = polynomial @ gram @ polynomial
    long = product @ long
    orthogonal: Tensor = long.mT if matrices.shape[-2] > matrices.shape[-1] else long
    return orthogonal


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim >= 2 and min(weight.shape[0], weight[0].numel()) >= _SMALLEST


def _shape(weight: Tensor) -> tuple[int, ...]:
    return tuple(weight.shape)


def _gradient(weight: Tensor, taken: Tensor) -> Tensor:
    """The gradient, or zeros if the step is skipped (0 times NaN would be NaN)."""
    assert weight.grad is not None
    gradient: Tensor = torch.where(taken > 0, weight.grad, 0.0)
    return gradient
