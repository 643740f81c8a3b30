"""Measure a network or stylized images: python scripts/evaluate.py ckpt=... style=... photos=... (see --help)."""

import json

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from fast_style.cli.errors import NETWORKS, one_sentence_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Print the metrics as a table, and write them to a JSON file if requested."""
    from fast_style.atomic_files import atomic_write
    from fast_style.data.style_images import pictures_of
    from fast_style.devices import usable_device
    from fast_style.evaluation.style_metrics import compute_style_metrics, from_folder, from_model
    from fast_style.images.listing import find_pictures
    from fast_style.images.tensors import load_image
    from fast_style.stylize.stylizer import find_network, load_stylizer
    from fast_style.training.config_checks import name_of_style

    if (cfg.ckpt is None) == (cfg.pictures is None):
        raise ValueError("Give either a network, ckpt=..., or a folder of stylized images, pictures=...")
    name_of_style(cfg)  # Check that a style is set.
    (picture,) = pictures_of(OmegaConf.to_container(cfg.style, resolve=True))
    photos = find_pictures(cfg.photos)
    device = usable_device(cfg.device)  # Used by the generator and the loss network.
    if cfg.ckpt is None:
        pairs = from_folder(cfg.pictures, photos)
    else:
        # PyTorch in float32, so that the figures do not depend on a runtime.
        network = find_network(cfg.ckpt, NETWORKS)
        stylizer = load_stylizer(network, runtime="torch", precision="fp32", device=str(device))
        pairs = from_model(stylizer, photos, size=cfg.size, enlarge=False)
    metrics = compute_style_metrics(
        tqdm(pairs, total=len(photos), unit="photo"),
        {size: load_image(picture, size=size) for size in cfg.style_sizes},
        loss_network=instantiate(cfg.loss_network, _convert_="all").to(device),
        style_layers=list(cfg.style_layers),
        content_layers=list(cfg.content_layers),
    )
    print(f"Errors to the style image {picture}, loss_network={HydraConfig.get().runtime.choices.loss_network}:")
    print(metrics.as_table())
    if cfg.json:
        with atomic_write(cfg.json) as file:
            file.write(json.dumps(metrics.as_json(), indent=2).encode())


if __name__ == "__main__":
    main()
