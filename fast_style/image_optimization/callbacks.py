"""Callbacks during the optimisation of an image: progress bar, TensorBoard, intermediate images."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from fast_style.image_optimization.method import Callback, Iterate
from fast_style.images.tensors import save_image


class CallbackList:
    """Call several callbacks for every iterate, and close them at the end."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = callbacks

    def __call__(self, iterate: Iterate) -> None:
        """Pass the iterate to all callbacks."""
        for callback in self.callbacks:
            callback(iterate)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as closing:  # It closes all of them, even if one fails.
            for callback in reversed(self.callbacks):
                close = getattr(callback, "close", None)
                if close:
                    closing.callback(close)


class ProgressBarCallback:
    """One progress bar over all evaluations, with the weighted terms by kind, the size and the time left."""

    def __init__(self, *, refresh_seconds: float = 0.5) -> None:
        self.refresh_seconds = refresh_seconds
        self._bar: tqdm[Any] | None = None
        self._open = ExitStack()

    def __call__(self, iterate: Iterate) -> None:
        """Advance the bar. Read the terms only when the bar is redrawn, because reading them stalls a GPU."""
        if self._bar is None:
            self._open.enter_context(logging_redirect_tqdm())  # Log messages get their own lines above the bar.
            self._bar = tqdm(total=iterate.steps, dynamic_ncols=True, mininterval=self.refresh_seconds)
        if self._bar.update(iterate.step - self._bar.n) or iterate.step in (1, iterate.steps):
            height, width = iterate.size
            kinds = {kind: f"{value:.3g}" for kind, value in by_kind(iterate.weighted).items()}
            self._bar.set_description(f"{width}x{height}", refresh=False)
            self._bar.set_postfix(kinds)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
        self._open.close()


class TensorBoardCallback:
    """TensorBoard log: weighted terms and their sum (`loss/...`), unweighted terms (`raw/...`), and the image.

    Args:
        folder: folder of the event file.
        every: evaluations between points; an image is written at every tenth point.
    """

    def __init__(self, folder: Path, *, every: int) -> None:
        if every < 1:
            raise ValueError(f"log_every must be at least 1; got {every}.")
        self.folder, self.every = folder, every
        self._writer: SummaryWriter | None = None

    def __call__(self, iterate: Iterate) -> None:
        """Write a point, and the image if it is due."""
        # Created at the first point, so that a run with wrong settings leaves no folder.
        self._writer = self._writer or SummaryWriter(str(self.folder))
        last = iterate.step == iterate.steps
        if iterate.step % self.every and iterate.step != 1 and not last:
            return
        self._write("loss/total", sum(by_kind(iterate.weighted).values()), iterate.step)
        for name, term in iterate.weighted.items():
            self._write(f"loss/{name}", float(term), iterate.step)
        for name, term in iterate.terms.items():
            self._write(f"raw/{name}", float(term), iterate.step)
        if last or iterate.step == 1 or iterate.step % (10 * self.every) == 0:
            self._writer.add_image("picture", iterate.picture()[0], iterate.step)

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, name: str, value: float, step: int) -> None:
        assert self._writer is not None
        self._writer.add_scalar(name, value, step)


class SnapshotCallback:
    """Save intermediate images as `<output>_<step><suffix>`.

    Args:
        output: file of the final image.
        every: evaluations between two intermediate images.
    """

    def __init__(self, output: Path, *, every: int) -> None:
        if every < 1:
            raise ValueError(f"save_every must be at least 1; got {every}.")
        self.output, self.every = output, every

    def __call__(self, iterate: Iterate) -> None:
        """Save the image if it is due."""
        if iterate.step % self.every == 0:
            save_image(iterate.picture(), self.file(iterate.step))

    def file(self, step: int) -> Path:
        """Return the file of the intermediate image at this step."""
        return self.output.with_name(f"{self.output.stem}_{step:05d}{self.output.suffix}")


def by_kind(weighted: Mapping[str, Tensor]) -> dict[str, float]:
    """Sum the terms by kind: `content`, `style`, `tv`, `range`."""
    kinds: dict[str, float] = {}
    for name, term in weighted.items():
        kind = name.split("/")[0]
        kinds[kind] = kinds.get(kind, 0.0) + float(term)
    return kinds
