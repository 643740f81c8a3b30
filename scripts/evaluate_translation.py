"""Measure a translation: python scripts/evaluate_translation.py ckpt=... input=... target=... (see --help)."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from tqdm import tqdm

from fast_style.cli.errors import NETWORKS, one_sentence_errors


def counted(items: Iterable[Any], bar: Any) -> Iterator[Any]:
    """Yield the items; the progress bar advances after each one."""
    for item in items:
        yield item
        bar.update()


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate_translation")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Print distances and artefacts as tables, and write them to a JSON file if requested."""
    from fast_style.atomic_files import atomic_write
    from fast_style.devices import usable_device
    from fast_style.evaluation.frechet_distance import frechet_distance
    from fast_style.evaluation.sides import stylized
    from fast_style.evaluation.translation_artefacts import TranslationArtefacts
    from fast_style.images.listing import find_pictures
    from fast_style.images.tensors import load_image
    from fast_style.stylize.stylizer import find_network, load_stylizer

    pictures, targets = find_pictures(cfg.input), find_pictures(cfg.target)
    device = usable_device(cfg.device)  # Used by the generator and the loss network.
    # PyTorch in float32, so that the figures do not depend on a runtime.
    stylizer = load_stylizer(find_network(cfg.ckpt, NETWORKS), runtime="torch", precision="fp32", device=str(device))
    artefacts = TranslationArtefacts()
    with tqdm(total=len(targets) + len(pictures), unit="image") as bar:
        found = frechet_distance(
            artefacts.watched(counted(stylized(stylizer, pictures, size=cfg.size), bar)),
            counted((load_image(file, size=cfg.size) for file in targets), bar),
            loss_network=instantiate(cfg.loss_network, _convert_="all").to(device),
            layers=list(cfg.layers),
        )
    network = HydraConfig.get().runtime.choices.loss_network
    print(f"Fréchet distance to {cfg.target} ({found.targets} images), loss_network={network},")
    print(f"of {found.pictures} images from {cfg.input}, untranslated and translated:")
    print(found.as_table())
    if artefacts.pictures:
        print(f"\nArtefacts, means over {artefacts.pictures} images:")
        print(artefacts.as_table())
    if cfg.json:
        with atomic_write(cfg.json) as file:
            file.write(json.dumps(found.as_json() | {"artefacts": artefacts.means()}, indent=2).encode())


if __name__ == "__main__":
    main()
