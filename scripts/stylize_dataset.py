"""Stylize a data set with many workers: scripts/stylize_dataset.py ckpt=... input=... output=... (see --help)."""

import sys

import hydra
from omegaconf import DictConfig
from tqdm import tqdm

from fast_style.cli.errors import NETWORKS, one_sentence_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="stylize_dataset")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Stylize the data set; show the images per second, then the numbers of stylized and skipped images."""
    from fast_style.data.shards.skipped import SKIPPED
    from fast_style.images.decode import MAX_PIXELS
    from fast_style.images.listing import describe_unsupported
    from fast_style.stylize.dataset.run import DatasetProgress, paint_dataset
    from fast_style.stylize.stylizer import find_network

    def advance(progress: DatasetProgress) -> None:
        bar.total, bar.initial = progress.total, progress.before
        bar.update(progress.done - bar.n)

    settings = {str(key): value for key, value in cfg.items() if key not in ("input", "output", "debug")}
    settings["ckpt"] = find_network(cfg.ckpt, NETWORKS)
    settings["max_pixels"] = MAX_PIXELS if cfg.max_pixels is None else cfg.max_pixels
    # Progress comes in units of many images, so the bar shows the mean speed since the start.
    with tqdm(unit="image", smoothing=0) as bar:
        done = paint_dataset(cfg.input, cfg.output, **settings, progress=advance)
    if sentence := describe_unsupported(done.left_out):
        print(sentence, file=sys.stderr)
    print(f"{done.painted} of {done.total} images are in {cfg.output}; {done.before} were done before.")
    if done.skipped:
        sys.exit(f"Error: {done.skipped} images could not be stylized; see {cfg.output}/{SKIPPED}.")


if __name__ == "__main__":
    main()
