"""Cost and quality of generators: python benchmarks/generator_search.py cost|quality FILE.yaml ... (see --help).

    python benchmarks/generator_search.py cost conf/generator/{johnson,slim,fast}.yaml benchmarks/candidates/*.yaml
    python benchmarks/generator_search.py quality conf/generator/{johnson,fast}.yaml --styles wave -- steps=400

`cost` measures random networks: operations, parameters, size of the ONNX file, milliseconds of each runtime, which
alternate, and memory. `quality` trains every generator for every style with the same settings, then measures the
stylized photos by judges. The first file is the one that the others are compared with.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from alternating import alternated, speeds
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from stylize import convolutions_of
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from fast_style.data.style_images import pictures_of
from fast_style.evaluation.comparison import SECTIONS, Comparison, compare_sides
from fast_style.evaluation.cost import measured
from fast_style.evaluation.judges import available_judges, load_judge
from fast_style.evaluation.report import as_json
from fast_style.evaluation.sides import NetworkSide
from fast_style.images.listing import find_pictures
from fast_style.images.tensors import load_image
from fast_style.networks.generator import Generator
from fast_style.networks.serialization import GENERATORS, save_network
from fast_style.runtimes.formats.onnx_format import onnx_bytes
from fast_style.stylize.stylizer import load_stylizer
from fast_style.training.run import run

CHECKOUT = Path(__file__).resolve().parents[1]
RUNTIMES = ("openvino-fp32", "openvino-bf16", "onnxruntime-fp32", "torch-fp32")
JUDGES = ("vgg19_mix", "vgg16_hed")  # builtin, if their files are not here.
SCALES = (1, 2, 4)
SIDE = 512
LARGE = (1080, 1920)  # For the memory.


def built(file: Path) -> Generator:
    """Build the generator of a YAML file, and allow network files to contain its class."""
    sys.path.insert(0, str(CHECKOUT / "benchmarks"))  # For the class of the candidates.
    torch.manual_seed(0)
    generator = instantiate(OmegaConf.load(file), _convert_="all")
    assert isinstance(generator, Generator)
    GENERATORS[type(generator).__name__] = type(generator)
    return generator.eval()


def operations(generator: Generator) -> float:
    """Multiply-accumulate operations for an image of 512x512."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator(torch.rand(1, 3, SIDE, SIDE))
    return counter.get_total_flops() / 2


def cost(files: Sequence[Path], rounds: int, runtimes: Sequence[tuple[str, str]]) -> None:
    """Print a Markdown table with a row for each generator."""
    pictures = np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32)
    names = [file.stem for file in files]
    calls: dict[str, dict[str, Callable[[], object]]] = {}
    rows: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="fast_style-search-") as folder:
        for name, file in tqdm(list(zip(names, files, strict=True)), desc="preparing"):
            generator, saved = built(file), Path(folder) / f"{name}.safetensors"
            save_network(saved, generator, origin={"style": name})
            rows[name] = [
                f"{operations(generator) / 1e9:.2f}",
                f"{sum(value.numel() for value in generator.parameters()) / 1e3:.0f} k",
                f"{len(onnx_bytes(generator, half=True)) / 1e6:.2f} MB",
                f"{_memory(file):.0f}",
            ]
            for runtime, precision in runtimes:
                stylizer = load_stylizer(
                    saved, runtime=runtime, precision=precision, device="cpu", cache=Path(folder) / "cache"
                )
                calls.setdefault(f"{runtime} {precision}", {})[name] = lambda s=stylizer: s(pictures)
            alone = convolutions_of(generator, torch.from_numpy(pictures), half=False).again
            calls.setdefault("convolutions alone", {})[name] = alone
        for sides in calls.values():
            seconds = alternated(sides, rounds)
            first = seconds[names[0]]
            for name, own in seconds.items():
                ratio = statistics.median(speeds(first, own))
                rows[name].append(f"{1e3 * statistics.median(own):.1f} ms ({ratio:.1f}x)")
    print(f"{SIDE}x{SIDE}, {torch.get_num_threads()} threads; in brackets, the speed relative to {names[0]}\n")
    heads = ["generator", "GMAC", "parameters", "ONNX, fp16", "bytes a pixel", *calls]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for name, cells in rows.items():
        print("| " + " | ".join([name, *cells]) + " |")


def _memory(file: Path) -> float:
    """Bytes per pixel at the peak of an image of 1920x1080 with OpenVINO, measured in a new process."""
    command = [sys.executable, __file__, "memory", str(file)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def memory(file: Path) -> None:
    """Print the bytes per pixel that one image needs at most, without the network itself."""
    with tempfile.TemporaryDirectory(prefix="fast_style-search-") as folder:
        saved = Path(folder) / "network.safetensors"
        save_network(saved, built(file), origin={"style": "search"})
        stylizer = load_stylizer(saved, runtime="openvino", precision="fp32", device="cpu", cache=Path(folder))
        stylizer(np.zeros((1, 3, 64, 64), np.float32))
        pictures = np.random.default_rng(0).random((1, 3, *LARGE), np.float32)
        _, found = measured(lambda: stylizer(pictures), torch.device("cpu"))
    print(found.memory / (LARGE[0] * LARGE[1]))


def quality(files: Sequence[Path], styles: Sequence[str], folder: Path, photos: Path, overrides: list[str]) -> None:
    """Train every generator for every style, unless its file exists, and print the figures relative to the first one.

    A style is a name in `conf/style/` or the file of a painting. The networks are trained as `scripts/train.py` does.
    """
    ratios: dict[str, list[dict[str, float]]] = {file.stem: [] for file in files}
    for style in styles:
        chosen = f"style.image={Path(style).resolve()}" if Path(style).is_file() else f"style={style}"
        networks = {}
        for file in files:
            networks[file.stem] = folder / f"{file.stem}_{Path(style).stem}.safetensors"
            train(file, networks[file.stem], [chosen, f"runs={folder / 'runs'}", *overrides])
        found = judged(networks, chosen, photos)
        (folder / f"{Path(style).stem}.json").write_text(json.dumps(as_json(found), indent=2))
        first = found.figures[files[0].stem]
        for name, own in found.figures.items():
            ratios[name].append({key: own[key].mean / first[key].mean for key in first if _is_compared(key)})
    print(f"\nFigures relative to {files[0].stem}: geometric mean over {len(styles)} styles, and the largest\n")
    heads = ["generator", *ratios[files[0].stem][0]]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for name, by_style in ratios.items():
        columns = [[ratio[key] for ratio in by_style] for key in heads[1:]]
        cells = [f"{statistics.geometric_mean(column):.2f} ({max(column):.2f})" for column in columns]
        print("| " + " | ".join([name, *cells]) + " |")


def _is_compared(figure: str) -> bool:
    """Whether a figure is the style error of a scale, or the content error, by a judge."""
    judge, _, rest = figure.partition("/")
    return judge not in SECTIONS and (rest == "content" or rest in {f"style/scale{scale}" for scale in SCALES})


def train(file: Path, network: Path, overrides: list[str]) -> None:
    """Train the generator of a YAML file, as `scripts/train.py` does, unless the network file exists."""
    built(file)
    if network.exists():
        return
    settings = [f"network_file={network}", *overrides]
    with initialize_config_dir(str(CHECKOUT / "conf"), version_base="1.3"):
        cfg = compose("train", settings)
    cfg.generator = OmegaConf.load(file)
    torch.compiler.reset()
    run(cfg, settings)


def judged(networks: dict[str, Path], style: str, photos: Path) -> Comparison:
    """Measure the networks by all judges that are available, with the settings of `scripts/evaluate.py`."""
    with initialize_config_dir(str(CHECKOUT / "conf"), version_base="1.3"):
        cfg = compose("evaluate", [style, f"photos={photos}"])
    weights = f"{cfg.assets_dir}/weights"
    (picture,) = pictures_of(OmegaConf.to_container(cfg.style, resolve=True))
    sides = [
        NetworkSide(name, load_stylizer(file, runtime="torch", precision="fp32", device="cpu"))
        for name, file in networks.items()
    ]
    names = [name for name in JUDGES if name in available_judges(weights)] or ["builtin"]
    return compare_sides(
        sides,
        find_pictures(photos),
        {size: load_image(picture, size=size) for size in cfg.style_sizes},
        [load_judge(name, folder=weights, device=torch.device("cpu")) for name in names],
        size=cfg.size,
        scales=SCALES,
    )


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["cost", "memory", "quality"])
    parser.add_argument("files", nargs="+", type=Path, help="YAML files of generators")
    parser.add_argument("--rounds", type=int, default=9, help="cost: rounds in which the generators alternate")
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, help="cost: such as openvino-fp32 torch-bf16")
    parser.add_argument("--styles", nargs="+", default=["starry_night"], help="quality: names or files of paintings")
    parser.add_argument("--folder", type=Path, default=Path("runs/generator_search"), help="quality: for the networks")
    parser.add_argument(
        "--photos", type=Path, default=Path("data/samples"), help="quality: folder of the judged photos"
    )
    parser.epilog = "After --: settings of scripts/train.py for quality, such as steps=400."
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    asked = parser.parse_args(words[:end])
    if asked.part == "memory":
        memory(asked.files[0])
    elif asked.part == "cost":
        cost(asked.files, asked.rounds, [tuple(name.split("-")) for name in asked.runtimes])
    else:
        asked.folder.mkdir(parents=True, exist_ok=True)
        quality(asked.files, asked.styles, asked.folder, asked.photos, words[end + 1 :])


if __name__ == "__main__":
    main()
