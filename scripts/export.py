"""Export a trained network for another runtime: python scripts/export.py ckpt=... format=onnx (see --help)."""

import sys
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from fast_style.cli.errors import NETWORKS, one_sentence_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Export the network; print the differences from PyTorch and the path of the file."""
    from fast_style.networks.serialization import load_network
    from fast_style.runtimes.calibration import Calibration
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
        calibration=Calibration.from_folder(cfg.calibration).photos() if cfg.precision == "int8" else (),
    )
    for parity in parities:
        shape = "x".join(map(str, parity.shape))
        print(
            f"Difference from PyTorch at {shape}: at most {parity.difference:.1e}, in the mean {parity.mean:.1e} of 1."
        )
    print(target)


if __name__ == "__main__":
    main()
