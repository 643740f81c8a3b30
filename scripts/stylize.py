"""Stylize images or a video with a trained network: python scripts/stylize.py ckpt=... input=... (see --help)."""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from fast_style.cli.errors import NETWORKS, one_sentence_errors
from fast_style.cli.progress import PictureProgressBar

if TYPE_CHECKING:
    from fast_style.images.decode import StrPath
    from fast_style.stylize.blending import Blending
    from fast_style.stylize.painter import Painter, PainterSettings

    Prepared = Callable[[], tuple[Painter, str]]


@hydra.main(version_base="1.3", config_path="../conf", config_name="stylize")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Stylize the input; print the path of each result, and the reason for each skipped photo."""
    from fast_style.stylize.blending import Blending
    from fast_style.stylize.painter import PainterSettings
    from fast_style.stylize.stylizer import find_network
    from fast_style.stylize.video.stylize_video import is_video

    blending = Blending(strength=cfg.strength, color=cfg.color)
    clip = is_video(cfg.input)
    max_memory = None if cfg.max_memory is None else int(cfg.max_memory * 2**30)
    settings = PainterSettings(
        tiles=cfg.tiles,
        statistics=cfg.statistics,
        max_memory=max_memory,
        brush_scale=cfg.brush_scale,
        noise=0.0 if clip and cfg.noise == "auto" else cfg.noise,  # In a video it would stand still.
    )
    network = find_network(cfg.ckpt, NETWORKS)
    # Both check all settings before a runtime is prepared: that takes seconds, and a mistake should show at once.
    paint = paint_clip if clip else paint_pictures
    paint(cfg, network, partial(prepare, cfg, network, settings, blending))


def paint_pictures(cfg: DictConfig, network: "StrPath", prepared: "Prepared") -> None:
    """Stylize one or many images, with a progress bar that counts them."""
    from fast_style.images.decode import MAX_PIXELS
    from fast_style.stylize.files import FileSettings, paint
    from fast_style.stylize.output_paths import left_out, plan, unfinished
    from fast_style.stylize.stylizer import style_of

    if cfg.smoothing:
        raise ValueError(f"smoothing={cfg.smoothing} is for videos, but the input is images; remove it.")
    files = FileSettings(size=cfg.size, quality=cfg.quality, alpha=cfg.alpha, mask=cfg.mask, batch=cfg.batch)
    if sentence := left_out(cfg.input):
        print(sentence, file=sys.stderr)
    pairs = plan(cfg.input, cfg.output, style=style_of(network), suffix=cfg.suffix)
    if cfg.skip_existing:
        pairs = unfinished(pairs)
        if not pairs:
            print("Nothing to do: every result exists already.")
            return
    painter, header = prepared()
    failed = 0
    with PictureProgressBar(len(pairs), header=header) as bar:
        for painted in paint(
            painter,
            pairs,
            files,
            max_pixels=MAX_PIXELS if cfg.max_pixels is None else cfg.max_pixels,
            progress=bar.within,
        ):
            failed += painted.problem is not None
            bar.next(str(painted.target) if painted.problem is None else f"Skipped: {painted.problem}")
    if failed:
        sys.exit(f"Error: {failed} of {len(pairs)} images could not be stylized.")


def paint_clip(cfg: DictConfig, network: "StrPath", prepared: "Prepared") -> None:
    """Stylize a video, with a progress bar that counts frames; print the path of the result."""
    from fast_style.stylize.stylizer import style_of
    from fast_style.stylize.video.stylize_video import VideoProgress, check_settings, paint_video, plan_video

    def show(progress: VideoProgress) -> None:
        bar.total, bar.delay = progress.expected, 0
        bar.update()

    choices = {"size": cfg.size, "smoothing": cfg.smoothing, "quality": cfg.quality}
    check_settings(**choices)
    target = plan_video(cfg.input, cfg.output, style=style_of(network), suffix=cfg.suffix)
    if cfg.skip_existing and target.is_file():
        print(target)
        return
    painter, header = prepared()
    # The bar is delayed, so that an error prints one sentence without an empty bar.
    with logging_redirect_tqdm(), tqdm(unit="frame", delay=0.001) as bar:
        painted = paint_video(painter, cfg.input, target, mask=cfg.mask, progress=show, **choices)
    print(header, file=sys.stderr)
    print(painted.target)
    if painted.skipped:
        print(f"Skipped: {painted.skipped} frames could not be decoded.", file=sys.stderr)


def prepare(
    cfg: DictConfig, network: "StrPath", settings: "PainterSettings", blending: "Blending"
) -> "tuple[Painter, str]":
    """The painter, and a line that names its runtime, precision and device."""
    from fast_style.stylize.painter import Painter
    from fast_style.stylize.stylizer import load_stylizer

    stylizer = load_stylizer(
        network,
        runtime=cfg.runtime,
        precision=cfg.precision,
        device=cfg.device,
        cache=cfg.cache,
        calibration=cfg.calibration,
    )
    runtime = stylizer.runtime
    header = f"Runtime: {runtime.name}, {runtime.precision}, {runtime.device}."
    return Painter(stylizer, settings, blending=blending), header


if __name__ == "__main__":
    main()
