"""Where the time of a training step goes, and what compiling and CUDA graphs change.

Each variant repeats the step of the method on one batch without Lightning. Its time is measured without a profiler.
Then a few steps are profiled piece by piece, with a synchronisation after each piece. The launch overhead is the time
of a step minus the time in which the GPU computes.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.profiler import ProfilerActivity, profile, record_function

from fast_style.methods.perceptual import PerceptualMethod
from gpu_parts.clock import milliseconds, wait
from gpu_parts.figures import Figures, sentence
from gpu_parts.photos import photo_folder
from gpu_parts.trace import busy_by_piece
from gpu_parts.training import RESIDENT, AfterFirstStep, settings, train

PIECES = (
    "generator forward",
    "loss network forward",
    "loss network backward",
    "generator backward",
    "optimizer",
)
PROFILED = 5  # Steps.


@dataclass(frozen=True)
class Variant:
    """How the step is computed.

    Attributes:
        mode: of torch.compile; None is eager.
        half_loss: the loss network's weights are stored in bfloat16. Autocast converts frozen weights at every step.
        whole: generator and loss are compiled as one function, so that the compiler sees both.
    """

    name: str
    mode: str | None = None
    half_loss: bool = False
    whole: bool = False


class Step:
    """A training step of a method on one batch, as a variant computes it."""

    def __init__(self, method: PerceptualMethod, photos: Tensor, variant: Variant) -> None:
        torch.compiler.reset()
        self.method, self.photos, self.variant = method, photos, variant
        self.taken = torch.tensor(True, device=photos.device)  # Made here: a copy to a GPU waits for all its work.
        self.optimizer: Optimizer = method.make_optimizer(method.generator.parameters())
        _store_convolutions(method.loss.loss_network, torch.bfloat16 if variant.half_loss else torch.float32)
        self.generator: Callable[[Tensor], Tensor] = self._compiled(method.generator)
        self.loss: Callable[[Tensor, Tensor], Tensor] = self._compiled(self._total)
        self.both: Callable[[Tensor], Tensor] = self._compiled(
            lambda photos: self._total(method.generator(photos), photos)
        )

    def _compiled(self, function: Any) -> Any:
        if self.variant.mode is None:
            return function
        return torch.compile(function, dynamic=False, mode=self.variant.mode)

    def _total(self, painted: Tensor, photos: Tensor) -> Tensor:
        return torch.stack(list(self.method.loss.weigh(self.method.loss(painted, photos)).values())).sum()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.photos.device.type, dtype=torch.bfloat16)

    def __call__(self) -> None:
        """One step."""
        torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad()
        with self._autocast():
            total = (
                self.both(self.photos) if self.variant.whole else self.loss(self.generator(self.photos), self.photos)
            )
        total.backward()
        self._update()

    def _update(self) -> None:
        generator = self.method.generator
        nn.utils.get_total_norm([p.grad for p in generator.parameters() if p.grad is not None])
        self.optimizer.step()
        self.method.average.update_parameters(generator, taken=self.taken)

    def in_pieces(self) -> None:
        """One step with a label and a synchronisation for each piece."""
        torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad()
        with self._autocast():
            painted = self._piece(PIECES[0], lambda: self.generator(self.photos))
            leaf = painted.detach().requires_grad_()
            total = self._piece(PIECES[1], lambda: self.loss(leaf, self.photos))
        self._piece(PIECES[2], total.backward)
        self._piece(PIECES[3], lambda: painted.backward(leaf.grad))
        self._piece(PIECES[4], self._update)

    def _piece(self, name: str, compute: Callable[[], Any]) -> Any:
        with record_function(name):
            result = compute()
            wait(self.photos.device)
        return result


def _store_convolutions(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert the weights of the convolutions only: the normalisation of the input stays in float32."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype)


#: The most important first. `reduce-overhead` records CUDA graphs: one launch for each of them.
VARIANTS = (
    Variant("compiled", "default"),
    Variant("CUDA graphs", "reduce-overhead"),
    Variant("eager"),
    Variant("CUDA graphs, loss network bf16, one function", "reduce-overhead", half_loss=True, whole=True),
    Variant("compiled, loss network bf16", "default", half_loss=True),
    Variant("CUDA graphs, loss network bf16", "reduce-overhead", half_loss=True),
)


def measure(figures: Figures) -> None:
    """Note every variant at johnson2016's batch."""
    measure_variants(figures, VARIANTS[: figures.sizes.variants])


def measure_variants(figures: Figures, wanted: Sequence[Variant]) -> None:
    """Note the figures of the variants, each with an error if it fails."""
    batch = figures.sizes.batches[0]
    figures.note("batch", batch)

    def act(method: PerceptualMethod, photos: Tensor) -> None:
        for variant in wanted:
            try:
                figures.note(variant.name, figures_of(method, photos, variant, figures))
            except Exception as error:
                figures.note(variant.name, {"error": sentence(error)})

    overrides = settings(figures, photo_folder(figures), batch=batch, steps=1, compile="false", **RESIDENT)
    train(overrides, AfterFirstStep(act))


def figures_of(method: PerceptualMethod, photos: Tensor, variant: Variant, figures: Figures) -> dict[str, Any]:
    """Time of a step; for a variant in pieces also the busy time and the kernels of each piece."""
    started = time.perf_counter()
    step = Step(method, photos, variant)
    # CUDA graphs are recorded at the second and third call.
    milli = milliseconds(step, photos.device, calls=figures.sizes.variant_steps, warm_up=4)
    found: dict[str, Any] = {"ms": milli, "images_per_second": len(photos) / milli * 1e3}
    if not variant.whole:
        try:
            found |= pieces_of(step, milli, figures)
        except Exception as error:  # The time of the whole step stays.
            found["pieces_error"] = sentence(error)
    return found | {"total_s": time.perf_counter() - started}


def pieces_of(step: Step, milli: float, figures: Figures) -> dict[str, Any]:
    """Profile steps piece by piece; on a CPU, which has no kernels, the wall time of a piece counts as busy."""
    on_gpu = step.photos.device.type == "cuda"
    for _ in range(3):
        step.in_pieces()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as recorded:
        for _ in range(PROFILED):
            step.in_pieces()
    file = figures.folder / "trace.json"
    recorded.export_chrome_trace(str(file))
    found = busy_by_piece(json.loads(file.read_text()), PIECES)
    if on_gpu and not found.busy:
        raise RuntimeError("The profiler saw no kernels.")
    times = found.busy if on_gpu else found.wall
    busy = {name: times[name] / PROFILED for name in PIECES}
    total = sum(busy.values())
    return {
        "pieces_ms": busy,
        "busy_ms": total,
        "busy_share": total / milli,
        "launch_overhead_ms": max(0.0, milli - total),
        "kernels": sum(found.kernels.values()) / PROFILED,
    }
