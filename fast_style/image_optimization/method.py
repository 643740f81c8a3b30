"""Gatys, Ecker and Bethge (2016): paint one picture by optimising its pixels under a loss network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer

from fast_style.devices import TrainingPrecision, best_precision
from fast_style.image_optimization.loss import PictureLoss, Style
from fast_style.image_optimization.optimizer_loop import OptimizerLoop
from fast_style.image_optimization.scales import Size, resized, sizes_up_to, warm_start
from fast_style.image_optimization.targets import ColorTransfer, Targets, check_picture
from fast_style.networks.loss_network import AnyLossNetwork

ADAM = partial(torch.optim.Adam, lr=0.02, betas=(0.9, 0.99))


@dataclass(frozen=True)
class Iterate:
    """What there is to see after an evaluation.

    Attributes:
        step: evaluations of the loss so far, from 1.
        steps: how many there will be, all sizes together.
        size: height and width at present.
        terms: unweighted terms of the loss by name, scalars.
        weighted: the same times their weights; their sum is the loss.
        picture: makes the result as it would be now, `(1, 3, H, W)` in 0..1.
    """

    step: int
    steps: int
    size: Size
    terms: Mapping[str, Tensor]
    weighted: Mapping[str, Tensor]
    picture: Callable[[], Tensor]


Callback = Callable[[Iterate], None]


class PictureOptimization:
    """A recipe to optimise pictures by.

    Args:
        loss_network: frozen features by name, on the device to compute with.
        loss: makes the loss of `loss_network=`, `content=` and `styles=`.
        optimizer: makes the optimiser of given parameters.
        steps: evaluations of the loss at each size; `first_steps` at the first, None for as many.
        smallest: shorter side of the first size; sizes grow by the square root of 2. None: the full size alone.
        average_decay: of the moving average of the iterates, which is the result; 0 takes the iterate of the lowest
            loss instead.
        clamp: keep the pixels in 0..1 at every evaluation. It misleads L-BFGS, which remembers steps that were then
            not taken; the loss's `range_weight` does not.
        color, style_scale, style_size: see `Targets`.
        noise_ratio: share of noise in the start, the rest is the photo; a texture starts from noise alone.
        noise_amplitude: the noise is uniform, this far around mid-grey.
        precision: of the loss network.
    """

    def __init__(
        self,
        *,
        loss_network: AnyLossNetwork,
        loss: Callable[..., PictureLoss] = PictureLoss,
        optimizer: Callable[[list[Tensor]], Optimizer] = ADAM,
        steps: int = 200,
        first_steps: int | None = None,
        smallest: int | None = 128,
        average_decay: float = 0.97,
        clamp: bool = True,
        color: ColorTransfer = "style",
        style_scale: float = 1.0,
        style_size: int | None = None,
        noise_ratio: float = 0.0,
        noise_amplitude: float = 0.5,
        precision: TrainingPrecision = "auto",
    ) -> None:
        if steps < 1 or (first_steps is not None and first_steps < 1):
            raise ValueError(f"steps and first_steps are at least 1; got {steps} and {first_steps}.")
        if not 0 <= average_decay < 1:
            raise ValueError(f"average_decay is from 0 to below 1; got {average_decay}.")
        if not 0 <= noise_ratio <= 1 or not 0 <= noise_amplitude <= 0.5:
            raise ValueError(
                f"noise_ratio is from 0 to 1, noise_amplitude to 0.5; got {noise_ratio} and {noise_amplitude}."
            )
        if precision not in get_args(TrainingPrecision):
            raise ValueError(f"precision is one of {', '.join(get_args(TrainingPrecision))}; got {precision!r}.")
        if smallest is not None and smallest < 1:
            raise ValueError(f"smallest is at least 1 pixel, or null for the full size alone; got {smallest}.")
        # Channels go last for speed; the features stay what they are.
        self.loss_network = loss_network.to(memory_format=torch.channels_last)
        self.loss, self.optimizer = loss, optimizer
        self.steps, self.first_steps, self.smallest = steps, first_steps or steps, smallest
        self.average_decay, self.clamp = average_decay, clamp
        self.color, self.style_scale, self.style_size = color, style_scale, style_size
        self.noise_ratio, self.noise_amplitude = noise_ratio, noise_amplitude
        self.device = next(loss_network.buffers()).device
        self.precision = best_precision(self.device) if precision == "auto" else precision

    def run(
        self,
        content: Tensor | None,
        styles: Sequence[Style],
        *,
        size: Size | None = None,
        init_image: Tensor | None = None,
        seed: int = 0,
        callback: Callback | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Tensor:
        """Paint.

        Args:
            content: the photo, `(1, 3, H, W)` in 0..1, painted at its own size; None makes a texture.
            styles: the paintings.
            size: height and width of a texture.
            init_image: a picture to go on from; sizes below its own are left out.
            seed: of the noise.
            callback: is shown every evaluation.
            stop: asked after every evaluation; True ends it there, at the size of the moment.

        Returns:
            `(1, 3, H, W)` in 0..1, on the CPU.

        Raises:
            ValueError: a photo, painting, region or size that does not do, or a loss that is no longer a number.
        """
        targets = self.targets(content, styles, size)
        sizes = self.sizes(targets.size, init_image)
        counts = [self.first_steps] + [self.steps] * (len(sizes) - 1)
        done = 0

        def after(loop: OptimizerLoop) -> bool:
            if callback:
                height, width = loop.pixels.shape[-2:]
                callback(
                    Iterate(
                        step=done + loop.evaluations,
                        steps=sum(counts),
                        size=(height, width),
                        terms=loop.terms,
                        weighted=loop.weighted,
                        picture=lambda: targets.finished(loop.picture).cpu(),
                    )
                )
            return not stop()

        loop = self.loop(targets, self._start(targets, sizes[0], init_image, seed))
        for count, larger in zip(counts, [*sizes[1:], None], strict=True):
            if not loop.run(count, after) or larger is None:
                break
            done += count
            former, loop = loop, self.loop(targets, resized(loop.picture, larger))
            warm_start(loop.optimizer, former.optimizer, larger)
        return targets.finished(loop.picture).cpu()

    def first_evaluations(self, content: Tensor | None, styles: Sequence[Style], *, count: int) -> None:
        """Only so many evaluations, at the photo's size: to time them, or to see what they need."""
        targets = self.targets(content, styles)
        loop = self.loop(targets, self._start(targets, targets.size, None, 0))
        loop.run(count, lambda _: True)

    def targets(self, content: Tensor | None, styles: Sequence[Style], size: Size | None = None) -> Targets:
        """What is painted from, on the device; arguments and errors of `run`."""
        return Targets(
            content,
            styles,
            size=size,
            color=self.color,
            style_scale=self.style_scale,
            style_size=self.style_size,
            device=self.device,
        )

    def sizes(self, full: Size, init_image: Tensor | None = None) -> list[Size]:
        """The sizes that a picture of that height and width grows through, from `init_image`'s on if there is one."""
        sizes = sizes_up_to(full, smallest=self.smallest)
        if init_image is None:
            return sizes
        check_picture(init_image, "The picture to go on from", "start from another picture, or from the photo")
        height, width = init_image.shape[-2:]
        if abs(height * full[1] / (width * full[0]) - 1) > 0.05:
            raise ValueError(
                f"The picture to go on from is {width}x{height} pixels, the one to paint {full[1]}x{full[0]}, which is "
                "of another shape: start from a picture of this photo."
            )
        return [size for size in sizes if min(size) >= min(height, width)] or [full]

    def loss_at(self, size: Size, targets: Targets) -> PictureLoss:
        """The loss of a picture of that height and width, its targets computed."""
        return self.loss(
            loss_network=self.loss_network, content=targets.content_at(size), styles=targets.styles_at(size)
        ).to(self.device)

    def loop(self, targets: Targets, init_image: Tensor) -> OptimizerLoop:
        """The loop at one size of a run, that of `init_image`."""
        return OptimizerLoop(
            init_image,
            self.loss_at((init_image.shape[-2], init_image.shape[-1]), targets),
            self.optimizer,
            average_decay=self.average_decay,
            clamp=self.clamp,
            precision=self.precision,
        )

    def _start(self, targets: Targets, size: Size, init_image: Tensor | None, seed: int) -> Tensor:
        if init_image is not None:
            return resized(init_image.to(self.device, torch.float32), size)
        generator = torch.Generator().manual_seed(seed)  # On the CPU, so that every device draws the same.
        noise = 0.5 + self.noise_amplitude * (2 * torch.rand(1, 3, *size, generator=generator) - 1)
        photo = targets.content_at(size)
        return noise.to(self.device) if photo is None else photo.lerp(noise.to(self.device), self.noise_ratio)


def optimize(
    content: Tensor | None,
    styles: Tensor | Sequence[Tensor | Style],
    *,
    loss_network: AnyLossNetwork,
    size: Size | None = None,
    seed: int = 0,
    callback: Callback | None = None,
    **recipe: Any,
) -> Tensor:
    """Paint one picture in a style by optimising its pixels; a texture where `content` is None.

    Args:
        content: the photo, `(1, 3, H, W)` in 0..1, painted at its own size.
        styles: a painting `(1, 3, H, W)`, or several, as they are or as `Style` with weight and region.
        loss_network: frozen features by name.
        size: height and width of a texture.
        seed: of the noise.
        callback: is shown every evaluation.
        recipe: settings of `PictureOptimization`.

    Returns:
        `(1, 3, H, W)` in 0..1.

    Raises:
        ValueError: what is given can't be painted; the sentence says why.
    """
    given = [styles] if isinstance(styles, Tensor) else styles
    paintings = [style if isinstance(style, Style) else Style(style) for style in given]
    method = PictureOptimization(loss_network=loss_network, **recipe)
    return method.run(content, paintings, size=size, seed=seed, callback=callback)
