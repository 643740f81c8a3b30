"""Export a trained network for another runtime: python scripts/export.py ckpt=... format=onnx (see --help)."""

import sys
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf

from fast_style.cli.errors import NETWORKS, one_sentence_errors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PHOTOS = 12  # For the calibration; more of them changed nothing in our measurements.


@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Export the network; print the differences from PyTorch and the path of the file."""
    from fast_style.networks.serialization import load_network
    from fast_style.runtimes.export import check_installed, export, file_format
    from fast_style.stylize.stylizer import find_network

    check_installed(cfg.format, cfg.precision)
    network, origin = load_network(find_network(cfg.ckpt, NETWORKS))
    target = cfg.output or f"exports/{origin.get('style', 'network')}{file_format(cfg.format).SUFFIX}"
    size: Any = OmegaConf.to_container(cfg.size) if OmegaConf.is_config(cfg.size) else cfg.size
    print("Exporting; this takes 15 seconds to a minute.", file=sys.stderr)
    parities = export(
        network,
        target,
        origin=origin,
        format=cfg.format,
        precision=cfg.precision,
        size=size,
        calibration=photos(cfg.calibration) if cfg.precision == "int8" else (),
    )
    for parity in parities:
        shape = "x".join(map(str, parity.shape))
        print(
            f"Difference from PyTorch at {shape}: at most {parity.difference:.1e}, in the mean {parity.mean:.1e} of 1."
        )
    print(target)


def photos(folder: str) -> "list[NDArray[np.float32]]":
    """Photos of a folder for the calibration, `(1, 3, H, W)` in 0..1."""
    from fast_style.images.listing import find_pictures
    from fast_style.images.tensors import load_image

    return [load_image(file, size=384).numpy() for file in find_pictures(folder)[:PHOTOS]]


if __name__ == "__main__":
    main()
