"""Gatys, Ecker and Bethge (2016): stylize one image by optimising its pixels with a loss network."""

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
    """State after one evaluation of the loss.

    Attributes:
        step: number of evaluations so far, from 1.
        steps: planned number of evaluations over all sizes.
        size: current height and width.
        terms: unweighted loss terms by name, scalars.
        weighted: weighted loss terms; their sum is the loss.
        picture: function that returns the current result, `(1, 3, H, W)` in 0..1.
    """

    step: int
    steps: int
    size: Size
    terms: Mapping[str, Tensor]
    weighted: Mapping[str, Tensor]
    picture: Callable[[], Tensor]


Callback = Callable[[Iterate], None]


class PictureOptimization:
    """A recipe for optimising images: optimiser, sizes, steps, start image and colours.

    Args:
        loss_network: frozen loss network, on the device to compute with.
        loss: builds the loss from the keyword arguments `loss_network`, `content` and `styles`.
        optimizer: builds the optimiser from a list of tensors.
        steps, first_steps: evaluations of the loss at each size, and at the first size. `first_steps` None: `steps`.
        smallest: shorter side of the first size in pixels; sizes grow by the square root of 2. None: full size only.
        average_decay: decay of the moving average of the iterates, which is the result. 0: the result is the iterate
            with the lowest loss.
        clamp: clamp the pixels to 0..1 before every evaluation. Do not use it with L-BFGS: L-BFGS stores its steps, and
            clamping changes them afterwards. Use the loss's `range_weight` instead.
        color, style_scale, style_size: see `Targets`.
        noise_ratio: share of noise in the start image, 0 to 1; the rest is the photo. A texture starts from noise only.
        noise_amplitude: largest distance of the uniform noise from mid-grey (0.5), 0 to 0.5.
        precision: precision of the loss network.

    Raises:
        ValueError: a setting out of its range.
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
            raise ValueError(f"steps and first_steps must be at least 1; got {steps} and {first_steps}.")
        if not 0 <= average_decay < 1:
            raise ValueError(f"average_decay must be at least 0 and below 1; got {average_decay}.")
        if not 0 <= noise_ratio <= 1 or not 0 <= noise_amplitude <= 0.5:
            raise ValueError(
                "noise_ratio must be from 0 to 1, and noise_amplitude from 0 to 0.5; got "
                f"{noise_ratio} and {noise_amplitude}."
            )
        if precision not in get_args(TrainingPrecision):
            raise ValueError(f"precision must be one of {', '.join(get_args(TrainingPrecision))}; got {precision!r}.")
        if smallest is not None and smallest < 1:
            raise ValueError(f"smallest must be at least 1 pixel, or null (full size only); got {smallest}.")
        # channels_last is faster and does not change the features.
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
        """Optimise an image.

        Args:
            content: the photo, `(1, 3, H, W)` in 0..1; the result has its size. None makes a texture.
            styles: the style images.
            size: height and width of a texture; None with a photo.
            init_image: start image; sizes below its own size are skipped.
            seed: seed of the noise.
            callback: called after every evaluation.
            stop: called after every evaluation; True ends the run with a result at the current size.

        Returns:
            The result `(1, 3, H, W)` in 0..1, on the CPU.

        Raises:
            ValueError: an invalid photo, style image, region or size, or a loss that is NaN or infinite.
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
        """Run only `count` evaluations at the photo's size, to measure their time or memory."""
        targets = self.targets(content, styles)
        loop = self.loop(targets, self._start(targets, targets.size, None, 0))
        loop.run(count, lambda _: True)

    def targets(self, content: Tensor | None, styles: Sequence[Style], size: Size | None = None) -> Targets:
        """Prepare photo and style images on the device. Arguments and errors are those of `run`."""
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
        """Return all sizes up to `full` (height, width), starting at the size of `init_image` if given."""
        sizes = sizes_up_to(full, smallest=self.smallest)
        if init_image is None:
            return sizes
        check_picture(init_image, "The start image (init_image)", "use another image, or init_image=null")
        height, width = init_image.shape[-2:]
        if abs(height * full[1] / (width * full[0]) - 1) > 0.05:
            raise ValueError(
                f"The start image (init_image) has {width}x{height} pixels, but the result has {full[1]}x{full[0]}, "
                "which is another shape: use an image made from this photo."
            )
        return [size for size in sizes if min(size) >= min(height, width)] or [full]

    def loss_at(self, size: Size, targets: Targets) -> PictureLoss:
        """Build the loss for images of this height and width, with its targets computed."""
        return self.loss(
            loss_network=self.loss_network, content=targets.content_at(size), styles=targets.styles_at(size)
        ).to(self.device)

    def loop(self, targets: Targets, init_image: Tensor) -> OptimizerLoop:
        """Build the optimisation loop at the size of `init_image`."""
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
        generator = torch.Generator().manual_seed(seed)  # On the CPU: the noise is then the same for every device.
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
    """Stylize one image by optimising its pixels, or make a texture.

    Args:
        content: the photo, `(1, 3, H, W)` in 0..1; the result has its size. None makes a texture.
        styles: a style image `(1, 3, H, W)` in 0..1, or several, as tensors or as `Style` with weight and region.
        loss_network: frozen loss network.
        size: height and width of a texture; None with a photo.
        seed: seed of the noise.
        callback: called after every evaluation.
        recipe: settings of `PictureOptimization`.

    Returns:
        The result `(1, 3, H, W)` in 0..1, on the CPU.

    Raises:
        ValueError: an invalid argument; the message says which.
    """
    given = [styles] if isinstance(styles, Tensor) else styles
    paintings = [style if isinstance(style, Style) else Style(style) for style in given]
    method = PictureOptimization(loss_network=loss_network, **recipe)
    return method.run(content, paintings, size=size, seed=seed, callback=callback)
