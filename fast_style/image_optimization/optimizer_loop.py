"""Optimisation of one image at one size: its pixels are the only parameter."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import Tensor
from torch.optim import Optimizer

from fast_style.image_optimization.loss import PictureLoss

_PRECISIONS = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class _Enough(Exception):  # noqa: N818 - not an error
    """Raised to leave an optimiser's inner loop."""


class OptimizerLoop:
    """Optimise an image, and keep the average of the iterates or the best iterate as the result.

    Args:
        init_image: start image `(1, 3, H, W)`.
        loss: the loss for images of this size.
        optimizer: builds the optimiser from a list of tensors.
        average_decay: decay of the moving average of all iterates, with a bias correction like Adam's. 0 keeps the
            iterate with the lowest loss instead.
        clamp: clamp the pixels to 0..1 before every evaluation.
        precision: `32-true`, `bf16-mixed` or `16-mixed`; mixed precision applies to the loss network only.

    Attributes:
        evaluations: number of loss evaluations so far.
        terms, weighted: unweighted and weighted terms of the last evaluation by name.
    """

    def __init__(
        self,
        init_image: Tensor,
        loss: PictureLoss,
        optimizer: Callable[[list[Tensor]], Optimizer],
        *,
        average_decay: float,
        clamp: bool,
        precision: str,
    ) -> None:
        # L-BFGS needs contiguous parameters. So only the copy for the loss network is channels_last.
        self.pixels = init_image.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        self.loss, self.optimizer = loss, optimizer([self.pixels])
        self.average_decay, self.clamp, self.precision = average_decay, clamp, precision
        self.evaluations, self._lowest = 0, math.inf
        self.terms: Mapping[str, Tensor] = {}
        self.weighted: Mapping[str, Tensor] = {}
        self._remembered = self.pixels.detach().clone()

    @property
    def picture(self) -> Tensor:
        """The average of the iterates, or the best iterate, clamped to 0..1."""
        return self._remembered.clamp(0, 1)

    def run(self, evaluations: int, after: Callable[["OptimizerLoop"], bool]) -> bool:
        """Optimise until this number of loss evaluations is reached.

        Args:
            evaluations: total number of evaluations since the start, also for optimisers with many evaluations per
                step. L-BFGS can continue afterwards only if the number is the end of an inner loop (`max_iter`).
            after: called after every evaluation; False stops the optimisation.

        Returns:
            False if `after` stopped the optimisation, else True.

        Raises:
            ValueError: the loss is NaN or infinite.
        """
        going = True

        def evaluate() -> Tensor:
            nonlocal going
            if self.evaluations >= evaluations:
                raise _Enough
            total = self._evaluate()
            going = after(self)
            if not going:
                raise _Enough
            return total

        with suppress(_Enough):
            while self.evaluations < evaluations:
                self.optimizer.step(evaluate)  # type: ignore[arg-type]  # torch types the result as float; tensors work.
        return going

    def _evaluate(self) -> Tensor:
        if self.clamp:
            with torch.no_grad():
                self.pixels.clamp_(0, 1)
        self.optimizer.zero_grad()
        dtype = _PRECISIONS.get(self.precision)
        with torch.autocast(self.pixels.device.type, dtype, enabled=dtype is not None):
            terms = self.loss(self.pixels.contiguous(memory_format=torch.channels_last))
        weighted = self.loss.weigh(terms)
        total = torch.stack(list(weighted.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self.terms = {name: term.detach() for name, term in terms.items()}
        self.weighted = {name: term.detach() for name, term in weighted.items()}
        self.evaluations += 1
        self._remember(total.detach())
        return total

    @torch.no_grad()
    def _remember(self, total: Tensor) -> None:
        value = float(total)
        if not math.isfinite(value):
            raise ValueError(
                f"The loss is {value} at evaluation {self.evaluations}, so the optimisation stopped: use a lower "
                "learning rate (method.optimizer.lr), other loss weights, or method.precision=32-true."
            )
        if value >= self._lowest and not self.average_decay:
            return
        self._lowest = value
        weight = (1 - self.average_decay) / (1 - self.average_decay**self.evaluations)
        self._remembered.lerp_(self.pixels, weight)
