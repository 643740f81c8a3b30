"""One picture at one size on its way down: its pixels are the only parameter."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import Tensor
from torch.optim import Optimizer

from fast_style.image_optimization.loss import PictureLoss

_PRECISIONS = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class _Enough(Exception):  # noqa: N818 - nothing went wrong
    """Leaves an optimiser's inner loop."""


class OptimizerLoop:
    """Optimises a picture, and remembers what is to be shown of it.

    Args:
        init_image: `(1, 3, H, W)`.
        loss: of pictures of this size.
        optimizer: makes the optimiser of given parameters.
        average_decay: of the moving average of all iterates, corrected for its youth as Adam's moments are; 0
            remembers the iterate of the lowest loss instead.
        clamp: cut the pixels to 0..1 before every evaluation.
        precision: `32-true`, or `bf16-mixed` or `16-mixed` for the loss network alone.

    Attributes:
        evaluations: of the loss, so far.
        terms, weighted: of the last one, by name, plain and times their weights.
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
        # L-BFGS wants its parameters in one piece, so the channels go last only on their way into the network.
        self.pixels = init_image.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        self.loss, self.optimizer = loss, optimizer([self.pixels])
        self.average_decay, self.clamp, self.precision = average_decay, clamp, precision
        self.evaluations, self._lowest = 0, math.inf
        self.terms: Mapping[str, Tensor] = {}
        self.weighted: Mapping[str, Tensor] = {}
        self._remembered = self.pixels.detach().clone()

    @property
    def picture(self) -> Tensor:
        """The average of the iterates, or the best one, cut to 0..1."""
        return self._remembered.clamp(0, 1)

    def run(self, evaluations: int, after: Callable[["OptimizerLoop"], bool]) -> bool:
        """Evaluate the loss so many times.

        Args:
            evaluations: the number of them since the beginning, also for optimisers that evaluate many times a step;
                L-BFGS can go on afterwards only if that was the end of an inner loop (`max_iter`).
            after: called after every evaluation; False ends the descent there.

        Returns:
            Whether it went to its end.

        Raises:
            ValueError: the loss is no longer a number.
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
                self.optimizer.step(evaluate)  # type: ignore[arg-type]  # torch says float; it is given tensors.
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
                f"The loss is {value} at evaluation {self.evaluations}, so there is no way on: take a lower "
                "learning rate, other weights, or precision 32-true."
            )
        if value >= self._lowest and not self.average_decay:
            return
        self._lowest = value
        weight = (1 - self.average_decay) / (1 - self.average_decay**self.evaluations)
        self._remembered.lerp_(self.pixels, weight)
