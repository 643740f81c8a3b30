"""Style and content errors of optimised images: the table in docs/results.md.

    python benchmarks/optimize_quality.py photos/*.jpg --styles starry_night wave the_scream --out optimized

The recipe is `optimization=lbfgs` at one size with 100 evaluations. The errors are measured on the written files, in
float32.
"""

import argparse
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tqdm import tqdm

from fast_style.data.style_images import pictures_of
from fast_style.image_optimization.loss import PictureLoss, Style
from fast_style.image_optimization.run import StyleFiles, optimize_file
from fast_style.image_optimization.scales import fitted
from fast_style.images.tensors import load_image, save_image

CONF = Path(__file__).resolve().parents[1] / "conf"
STYLE = ["relu1_1", "relu2_1", "relu3_1", "relu4_1"]
CONTENT = ["relu3_1", "relu4_1", "relu4_2"]


def main() -> None:
    """Optimise every photo in every style and print a table of relative errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path, help="photo files")
    parser.add_argument("--styles", nargs="+", default=["starry_night", "wave", "the_scream"], help="style names")
    parser.add_argument("--out", type=Path, default=Path("optimized"), help="folder for the images")
    parser.add_argument("--size", type=int, default=256, help="shorter side in pixels")
    parser.add_argument("--evaluations", type=int, default=100, help="evaluations of the loss per image")
    parser.add_argument("overrides", nargs="*", help="more settings of conf/optimize.yaml, after --", default=[])
    asked, more = parser.parse_known_args()
    more = [override for override in more if override != "--"]
    print("| photo | style | style error | content relu3_1 | relu4_1 | relu4_2 | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for photo in asked.photos:
        for style in asked.styles:
            settings = [f"style={style}", f"method.steps={asked.evaluations}", "method.smallest=null", *more]
            with initialize_config_dir(str(CONF), version_base="1.3"):
                cfg = compose("optimize", ["optimization=lbfgs", "method.first_steps=null", *settings])
            network = instantiate(cfg.loss_network, _convert_="all")
            method = instantiate(cfg.method, _convert_="all")(
                loss_network=network, loss=instantiate(cfg.loss, _convert_="all")
            )
            (painting,) = pictures_of(OmegaConf.to_container(cfg.style, resolve=True))
            target = asked.out / f"{photo.stem}_{style}.png"
            started = time.perf_counter()
            optimize_file(
                method,
                content=photo,
                style_files=StyleFiles([painting]),
                output=target,
                size=asked.size,
                runs=None,
            )
            seconds = time.perf_counter() - started
            terms = measured(network, load_image(photo, size=asked.size), load_image(painting), target)
            errors = sum(terms[f"style/{name}"] for name in STYLE) / len(STYLE)
            contents = " | ".join(f"{terms[f'content/{name}']:.3f}" for name in CONTENT)
            tqdm.write(f"| {photo.stem} | {style} | {errors:.4f} | {contents} | {seconds:.0f} |")
    grid = [torch.cat([load_image(asked.out / f"{p.stem}_{s}.png") for s in asked.styles], 3) for p in asked.photos]
    width = max(row.shape[3] for row in grid)
    save_image(
        torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[3])) for row in grid], 2), asked.out / "all.jpg"
    )


@torch.inference_mode()
def measured(network: torch.nn.Module, photo: torch.Tensor, painting: torch.Tensor, target: Path) -> dict[str, float]:
    """Relative loss terms of the written file `target`, by name."""
    style = Style(fitted(painting, max(photo.shape[-2:])))
    loss = PictureLoss(loss_network=network, content=photo, styles=[style], content_layers=CONTENT, style_layers=STYLE)
    return {name: float(term) for name, term in loss(load_image(target)).items()}


if __name__ == "__main__":
    main()
