"""Measure networks and stylized images: python scripts/evaluate.py ckpt=... style=... photos=... (see --help)."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from fast_style.cli.errors import NETWORKS, one_sentence_errors

if TYPE_CHECKING:
    import torch

    from fast_style.evaluation.comparison import Comparison, PhotoDone
    from fast_style.evaluation.judges import Judge
    from fast_style.evaluation.sides import Side

ROWS_OF_SHEET = 16


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@one_sentence_errors
def main(cfg: DictConfig) -> None:
    """Print the figures as a table, and write them to files if requested."""
    from fast_style.data.style_images import pictures_of
    from fast_style.devices import usable_device
    from fast_style.evaluation.comparison import compare_sides
    from fast_style.evaluation.report import as_table
    from fast_style.images.listing import find_pictures
    from fast_style.images.tensors import load_image
    from fast_style.training.config_checks import name_of_style

    name_of_style(cfg)  # Check that a style is set.
    (picture,) = pictures_of(OmegaConf.to_container(cfg.style, resolve=True))
    photos = find_pictures(cfg.photos)
    device = usable_device(cfg.device)  # Used by the networks and the judges.
    sides = sides_of(cfg, photos, device)
    judges = judges_of(cfg, sides, device)
    painting = {size: load_image(picture, size=size) for size in cfg.style_sizes}
    sheet = Sheet(cfg.sheet, painting[max(painting)])
    with tqdm(total=len(photos), unit="photo") as bar:

        def on_photo(done: "PhotoDone") -> None:
            if done.round and bar.n == bar.total:
                bar.reset()
                bar.set_description(f"matching contents, round {done.round}")
            bar.update()
            if done.round == 0:
                sheet.add(done)

        found = compare_sides(
            sides,
            photos,
            painting,
            judges,
            size=cfg.size,
            scales=list(cfg.scales),
            match_content=cfg.match_content,
            stability_photos=cfg.stability_photos,
            device=device,
            on_photo=on_photo,
        )
    print(f"Style image {picture}; means over {found.photos} photos, with their 95 % bootstrap intervals:\n")
    print(as_table(found))
    write_files(cfg, found)
    sheet.write(found)


def listed(value: object) -> list[str]:
    """The values of a setting that takes one value, several or none."""
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return [str(one) for one in plain] if isinstance(plain, list) else [] if plain is None else [str(plain)]


def sides_of(cfg: DictConfig, photos: Sequence[str], device: "torch.device") -> "list[Side]":
    """The networks of `ckpt`, then the folders of `pictures`."""
    from fast_style.evaluation.judges import trained_with
    from fast_style.evaluation.sides import NetworkSide, from_folder, side_names
    from fast_style.stylize.stylizer import find_network, load_stylizer

    files = [str(find_network(name, NETWORKS)) for name in listed(cfg.ckpt)]
    folders = listed(cfg.pictures)
    if not files and not folders:
        raise ValueError("Give a network, ckpt=..., or a folder of stylized images, pictures=..., or several of them.")
    names = side_names([*files, *folders])
    sides: list[Side] = []
    for name, file in zip(names, files, strict=False):
        # PyTorch in float32, so that the figures do not depend on a runtime.
        stylizer = load_stylizer(file, runtime="torch", precision="fp32", device=str(device))
        sides.append(NetworkSide(name, stylizer, trained_with(stylizer.origin)))
    return sides + [
        from_folder(folder, photos, name=name) for name, folder in zip(names[len(files) :], folders, strict=True)
    ]


def judges_of(cfg: DictConfig, sides: "Sequence[Side]", device: "torch.device") -> "list[Judge]":
    """The judges that were asked for, or those that had no part in the trainings."""
    from fast_style.evaluation.judges import choose_judges, family_of, load_judge

    weights = f"{cfg.assets_dir}/weights"
    trained = [side.trained_with for side in sides if side.trained_with is not None]
    names = listed(cfg.judges) or choose_judges(trained, weights)
    if cfg.judges is None and {family_of(name) for name in names} & {family_of(name) for name in trained}:
        sentence = "No independent judge is available: builtin judges networks that were trained with its family."
        print(sentence, file=sys.stderr)
    layers = {"style_layers": listed(cfg.style_layers), "content_layers": listed(cfg.content_layers)}
    return [load_judge(name, folder=weights, device=device, **layers) for name in names]


class Sheet:
    """Collects the images of the contact sheet, and writes it."""

    def __init__(self, file: str | None, painting: "torch.Tensor") -> None:
        from fast_style.images.encode import encoder_for

        if file:
            encoder_for(file)  # A wrong suffix is an error now, not after the measurement.
        self.file, self.painting = file, painting
        self.rows: list[list[torch.Tensor | None]] = []
        self.labels: list[str] = []

    def add(self, done: "PhotoDone") -> None:
        """Add the row of a photo; the first row shows the painting too."""
        from pathlib import Path

        if self.file and len(self.rows) < ROWS_OF_SHEET:
            self.rows.append([done.photo, None if self.rows else self.painting, *done.painted.values()])
            self.labels.append(Path(done.file).stem.replace("_", " "))

    def write(self, found: "Comparison") -> None:
        """Write the sheet, with figures in the heads of its columns, if it was requested."""
        from fast_style.evaluation.report import caption
        from fast_style.images.contact_sheet import contact_sheet
        from fast_style.images.tensors import save_image

        if self.file:
            columns = ["photo", "painting", *(caption(found, side) for side in found.figures)]
            save_image(contact_sheet(self.rows, column_labels=columns, row_labels=self.labels), self.file)


def write_files(cfg: DictConfig, found: "Comparison") -> None:
    """Write the JSON and the Markdown file if they were requested."""
    from fast_style.atomic_files import atomic_write
    from fast_style.evaluation.report import as_json, as_markdown

    for path, text in ((cfg.json, json.dumps(as_json(found), indent=2)), (cfg.markdown, as_markdown(found))):
        if path:
            with atomic_write(path) as file:
                file.write(text.encode())


if __name__ == "__main__":
    main()
