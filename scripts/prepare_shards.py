"""Pack photos into shards: python scripts/prepare_shards.py input=... output=... (see --help)."""

import hydra
from omegaconf import DictConfig
from tqdm import tqdm

from fast_style.cli.errors import one_sentence_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="prepare_shards")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Write the shards, then print the number of photos and of skipped files."""
    from fast_style.data.shards.index import index_folder
    from fast_style.data.shards.skipped import SKIPPED
    from fast_style.data.shards.sources import source_at
    from fast_style.data.shards.writer import ShardProgress, ShardSettings, write_shards
    from fast_style.images.decode import MAX_PIXELS

    if cfg.output is None:
        shards = index_folder(cfg.input)
        print(f"{sum(shard.samples for shard in shards)} photos in {len(shards)} shards, listed in index.json")
        return
    limit = MAX_PIXELS if cfg.max_pixels is None else cfg.max_pixels
    recipe = ShardSettings(cfg.shard_mb, cfg.shard_samples, cfg.size, cfg.quality, limit)
    source = source_at(cfg.input, field=cfg.field)

    def advance(progress: ShardProgress) -> None:
        bar.update(progress.taken - bar.n)

    with tqdm(total=source.count, unit="photo") as bar:
        done = write_shards(source, cfg.output, recipe, progress=advance)
    skipped = f"{done.skipped} skipped, listed in {cfg.output}/{SKIPPED}" if done.skipped else "none skipped"
    print(f"{done.samples} photos in {done.shards} shards in {cfg.output}, {skipped}")


if __name__ == "__main__":
    main()
