"""Paint a data set with many workers: python scripts/stylize_dataset.py ckpt=... input=... output=... (see --help)."""

import sys

import hydra
from omegaconf import DictConfig
from tqdm import tqdm

from fast_style.cli.errors import NETWORKS, one_sentence_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="stylize_dataset")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Paint; show how many pictures a second, and say how many there are and how many were skipped."""
    from fast_style.data.shards.skipped import SKIPPED
    from fast_style.images.decode import MAX_PIXELS
    from fast_style.stylize.dataset.run import DatasetProgress, paint_dataset
    from fast_style.stylize.stylizer import find_network

    def advance(progress: DatasetProgress) -> None:
        bar.total, bar.initial = progress.total, progress.before
        bar.update(progress.done - bar.n)

    settings = {str(key): value for key, value in cfg.items() if key not in ("input", "output", "debug")}
    settings["ckpt"] = find_network(cfg.ckpt, NETWORKS)
    settings["max_pixels"] = MAX_PIXELS if cfg.max_pixels is None else cfg.max_pixels
    # Many pictures come at once, so the speed is the mean since the start.
    with tqdm(unit="picture", smoothing=0) as bar:
        done = paint_dataset(cfg.input, cfg.output, **settings, progress=advance)
    print(f"{done.painted} of {done.total} pictures are in {cfg.output}; {done.before} were done before.")
    if done.skipped:
        sys.exit(f"Error: {done.skipped} pictures could not be painted; see {cfg.output}/{SKIPPED}.")


if __name__ == "__main__":
    main()
