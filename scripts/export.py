"""Export a trained network for another runtime: python scripts/export.py ckpt=... format=onnx (see --help)."""

import sys

import hydra
from omegaconf import DictConfig

from fast_style.cli.errors import NETWORKS, one_sentence_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Export the network; print the differences from PyTorch and the path of the file."""
    from fast_style.networks.serialization import load_network
    from fast_style.runtimes.export import SUFFIXES, check_installed, export
    from fast_style.stylize.stylizer import find_network

    check_installed(cfg.format)
    network, origin = load_network(find_network(cfg.ckpt, NETWORKS))
    target = cfg.output or f"exports/{origin.get('style', 'network')}{SUFFIXES[cfg.format]}"
    print("Exporting; this takes about 15 seconds.", file=sys.stderr)
    for parity in export(network, target, origin=origin, format=cfg.format, precision=cfg.precision):
        shape = "x".join(map(str, parity.shape))
        print(f"Largest difference from PyTorch at {shape}: {parity.difference:.1e} of 1.")
    print(target)


if __name__ == "__main__":
    main()
