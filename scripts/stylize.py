"""Paint pictures with a trained style: python scripts/stylize.py ckpt=... input=... (see --help)."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from edge import NETWORKS, one_sentence_errors
from omegaconf import DictConfig
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

if TYPE_CHECKING:
    from fast_style.stylize.painting import Painter


@hydra.main(version_base="1.3", config_path="../conf", config_name="stylize")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Paint; name each result, and each photo that could not be painted."""
    from fast_style.picture_files import MAX_PIXELS
    from fast_style.stylize.controls import Controls
    from fast_style.stylize.painting import Painter, check_painting
    from fast_style.stylize.pictures import check_files, paint, plan
    from fast_style.stylize.stylizer import find_network, load_stylizer, style_of
    from fast_style.stylize.video import is_video, plan_video

    controls = Controls(strength=cfg.strength, color=cfg.color)
    painting = {
        "tiles": cfg.tiles,
        "statistics": cfg.statistics,
        "max_memory": None if cfg.max_memory is None else int(cfg.max_memory * 2**30),
        "scale": cfg.scale,
    }
    check_painting(**painting)
    check_files(size=cfg.size, quality=cfg.quality, alpha=cfg.alpha, mask=cfg.mask)
    network = find_network(cfg.ckpt, NETWORKS)
    # Before a runtime is prepared, which may take its time: who is mistaken shall not wait.
    video, planned = is_video(cfg.input), {"style": style_of(network), "suffix": cfg.suffix}
    clip = plan_video(cfg.input, cfg.output, **planned) if video else None
    pairs = [] if video else plan(cfg.input, cfg.output, **planned)
    stylizer = load_stylizer(network, runtime=cfg.runtime, precision=cfg.precision, device=cfg.device, cache=cfg.cache)
    painter = Painter(stylizer, controls=controls, **painting)
    said = f"Painting with {stylizer.runtime.name} in {stylizer.runtime.precision} on {stylizer.runtime.device}."
    if clip is not None:
        paint_clip(cfg, painter, clip, said=said)
        return
    bar = Bar(len(pairs), said=said)
    failed = 0
    for painted in paint(
        painter,
        pairs,
        size=cfg.size,
        quality=cfg.quality,
        alpha=cfg.alpha,
        mask=cfg.mask,
        max_pixels=MAX_PIXELS if cfg.max_pixels is None else cfg.max_pixels,
        skip_existing=cfg.skip_existing,
        progress=bar.within,
    ):
        failed += painted.problem is not None
        bar.next(str(painted.target) if painted.problem is None else f"Skipped: {painted.problem}")
    bar.close()
    if failed:
        sys.exit(f"Error: {failed} of {len(pairs)} pictures could not be painted.")


class Bar:
    """Pictures and how many a second; of a single one, the share that is done, if it takes longer.

    `said` goes before the first of them that is painted: a mistake is then one sentence and nothing else.
    """

    def __init__(self, pictures: int, *, said: str) -> None:
        self.said: str | None = said
        self.single = pictures == 1
        total, unit = (100, "%") if self.single else (pictures, "picture")
        self.bar = tqdm(total=total, unit=unit, delay=2 if self.single else 0, leave=not self.single)

    def within(self, share: float) -> None:
        """A part of a picture is done."""
        if self.single:
            self.bar.update(round(100 * share) - self.bar.n)

    def next(self, line: str) -> None:
        """A picture is done."""
        if self.said:
            self.bar.write(self.said, file=sys.stderr)
            self.said = None
        self.bar.update(0 if self.single else 1)
        self.bar.write(line)

    def close(self) -> None:
        """The end."""
        self.bar.close()


def paint_clip(cfg: DictConfig, painter: "Painter", target: Path, *, said: str) -> None:
    """Paint a video under a bar that counts frames; name the result."""
    from fast_style.stylize.video import Progress, paint_video

    def show(progress: Progress) -> None:
        bar.total = progress.expected
        bar.update()

    choices = {"size": cfg.size, "smoothing": cfg.smoothing, "quality": cfg.quality, "mask": cfg.mask}
    with logging_redirect_tqdm(), tqdm(unit="frame") as bar:
        painted = paint_video(painter, cfg.input, target, progress=show, **choices)
    print(said, file=sys.stderr)
    print(painted.target)
    if painted.skipped:
        print(f"Skipped: {painted.skipped} frames could not be decoded.", file=sys.stderr)


if __name__ == "__main__":
    main()
