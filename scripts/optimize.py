"""Stylize one image by optimising its pixels: python scripts/optimize.py content=... style=... (see --help)."""

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fast_style.cli.errors import check_keys, one_sentence_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="optimize")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Stylize the image, then print the losses and where the files are."""
    from fast_style.data.style_images import pictures_of
    from fast_style.devices import usable_device
    from fast_style.image_optimization.run import StyleFiles, optimize_file

    check_keys(cfg, "optimize")
    if cfg.output is None:
        raise ValueError("output is null: give the file of the result, as output=painted.png.")
    network = instantiate(cfg.loss_network, _convert_="all").to(usable_device(cfg.device))
    method = instantiate(cfg.method, _convert_="all")(loss_network=network, loss=instantiate(cfg.loss, _convert_="all"))
    style = OmegaConf.to_container(cfg.style, resolve=True)
    assert isinstance(style, dict)
    weights, masks = _listed(style["weights"]), _listed(style["masks"])
    outcome = optimize_file(
        method,
        content=cfg.content,
        style_files=StyleFiles(images=pictures_of(style), weights=weights, masks=masks),
        output=cfg.output,
        size=OmegaConf.to_container(cfg.size) if OmegaConf.is_config(cfg.size) else cfg.size,
        init_image=cfg.init_image,
        seed=cfg.seed,
        save_every=cfg.save_every,
        log_every=cfg.log_every,
        runs=cfg.runs,
        max_memory=cfg.max_memory,
    )
    print(f"Losses:      {', '.join(f'{name} {value:.4g}' for name, value in outcome.terms.items())}")
    print(f"Image:       {outcome.output}")
    if outcome.folder:
        print(f"TensorBoard: tensorboard --logdir {outcome.folder}")


def _listed(value: object) -> list | None:
    return value if value is None or isinstance(value, list) else [value]


if __name__ == "__main__":
    main()
