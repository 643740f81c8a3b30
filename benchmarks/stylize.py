"""Speed of stylizing: python benchmarks/stylize.py [part ...] (see --help for the parts).

Each variant alternates with the first one in one process, with pauses, or the variants run as processes one after the
other. The script prints the median time in seconds and the ratio to the first variant, with the range of this ratio
over the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alternating import PAUSE, Side, alternated, print_speeds
from published import published_network
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fast_style.images.resize import enlarged
from fast_style.networks.fast_net import FastNet
from fast_style.networks.generator import Generator
from fast_style.networks.serialization import save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.stylize.stylizer import load_stylizer
from fast_style.stylize.tiled.tiles import Tiles

CHECKOUT = Path(__file__).resolve().parents[1]
MODEL = CHECKOUT / "checkpoints/johnson/starry_night.safetensors"
SAMPLES = CHECKOUT / "data/samples"
RUNTIMES = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)


class Convolutions(TorchDispatchMode):
    """Record the arguments of every convolution, to time the convolutions alone: a lower bound for every runtime."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.kept.append(args)
        return func(*args, **(kwargs or {}))

    def again(self) -> None:
        """Compute all recorded convolutions."""
        with torch.no_grad():
            for arguments in self.kept:
                torch.ops.aten.convolution.default(*arguments)


def convolutions_of(network: nn.Module, pictures: torch.Tensor, *, half: bool) -> Convolutions:
    """Record all convolutions of a network in channels_last, in bfloat16 if `half` is true, else in float32."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half), Convolutions() as found:
        network.to(memory_format=torch.channels_last)(pictures.contiguous(memory_format=torch.channels_last))
    return found


def saved(generator: Generator, folder: Path) -> Path:
    """Save a network with random weights: they take the same time."""
    file = folder / f"{type(generator).__name__}.safetensors"
    save_network(file, generator, origin={"style": type(generator).__name__})
    return file


def speed(rounds: int, cache: Path) -> None:
    """Compare the runtimes with eager float32 PyTorch of the network of pytorch/examples."""
    published = published_network().eval()
    for height, width in ((512, 512), (1080, 1920)):
        pictures = torch.rand(1, 3, height, width)
        arrays = pictures.numpy()

        def plainly(pictures: torch.Tensor = pictures) -> object:
            with torch.inference_mode():
                return published(pictures)

        first, sides = "pytorch/examples, eager float32", dict[str, Side]()
        for name, generator in (("fast", FastNet()), ("johnson", TransformNet())):
            for runtime, precision in RUNTIMES:
                stylizer = load_stylizer(
                    saved(generator, cache),
                    runtime=runtime,
                    precision=precision,
                    device="cpu",
                    cache=cache,
                    calibration=SAMPLES,
                )
                sides[f"{name}, {runtime} {precision}"] = lambda s=stylizer, a=arrays: s(a)  # type: ignore[misc]
            sides[f"{name}, its convolutions alone"] = convolutions_of(generator.eval(), pictures, half=False).again
        print(f"{width}x{height}")
        for name, side in sides.items():
            for _ in range(4):  # OpenVINO then has a model of this size.
                side()
            few = max(3, rounds // 2)
            print_speeds(alternated({first: plainly, name: side}, rounds if height < 1000 else few, pause=PAUSE))


def video(rounds: int, cache: Path) -> None:
    """Stylize a video of 640x360 and 240 frames, with sound, with `scripts/stylize.py` and `generator=fast`."""
    import av

    with tempfile.TemporaryDirectory() as place:
        clip, random = Path(place) / "clip.mp4", np.random.default_rng(0)
        with av.open(str(clip), "w") as container:
            stream = container.add_stream("libx264", rate=24)
            stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
            sound = container.add_stream("aac", rate=48000, layout="stereo")
            scene = enlarged(random.random((60, 100, 3), np.float32), 1000, 0, 600, 600).clip(0, 1)
            scene = (scene * 200 + random.integers(0, 55, scene.shape)).astype(np.uint8)
            for number in range(240):  # The camera moves over the scene.
                frame = np.ascontiguousarray(scene[number // 2 : number // 2 + 360, number : number + 640])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
                noise = random.uniform(-0.1, 0.1, (2, 2000)).astype(np.float32)
                samples = av.AudioFrame.from_ndarray(noise, "fltp", "stereo")
                samples.sample_rate, samples.pts = 48000, 2000 * number
                container.mux(sound.encode(samples))
            for each in (stream, sound):
                container.mux(each.encode(None))
        arguments = (f"ckpt={saved(FastNet(), cache)}", f"input={clip}", f"output={place}/out.mp4", f"cache={cache}")
        for precision in ("fp32", "int8"):
            first, *later = [_stylize(*arguments, f"precision={precision}")[0] for _ in range(1 + rounds)]
            seconds = statistics.median(later)
            speed = f"{240 / seconds:.1f} frames a second for the whole command"
            print(f"  {precision}: {speed} ({seconds:.1f} s; first {first:.1f} s)")


def tiles(rounds: int, cache: Path) -> None:
    """Compare strips with the whole image at 2048x1536: time, largest difference and PSNR."""
    network = load_stylizer(MODEL, runtime="torch", precision="fp32", device="cpu").network()
    noise = np.random.default_rng(0).random((48, 64, 3), np.float32)
    picture = (enlarged(noise, 2048, 0, 1536, 1536).clip(0, 1) * 255).astype(np.uint8)
    with torch.inference_mode():
        whole = network(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)[0].permute(1, 2, 0).numpy()
    for kind in ("exact", "thumbnail"):
        start = time.perf_counter()
        found = np.concatenate([rows for _, rows in Tiles(network, rows=128, statistics=kind).paint(picture)])
        error = found - whole
        psnr = -10 * np.log10(float(np.square(error).mean()))
        took = time.perf_counter() - start
        print(f"  {kind}: {took:.1f} s, largest difference {np.abs(error).max():.1e}, PSNR {psnr:.1f} dB")


def _stylize(*arguments: str) -> tuple[float, float]:
    """Run scripts/stylize.py in a process; return its seconds and its peak resident memory in GiB."""
    start = time.perf_counter()
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "sys.stderr.write(done.stderr if done.returncode else '')\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(done.returncode)"
    )
    command = [sys.executable, "-c", code, sys.executable, str(CHECKOUT / "scripts/stylize.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start, int(done.stdout) / 2**20


def large(rounds: int, cache: Path) -> None:
    """Stylize the large photos of `--photos` with `max_memory=1.9` (GiB)."""
    for photo in sorted(PHOTOS.glob("*.jpg")):
        with tempfile.TemporaryDirectory() as folder:
            for kind in ("exact", "thumbnail"):
                seconds, memory = _stylize(
                    f"ckpt={MODEL}",
                    f'input="{photo}"',
                    f"output={folder}/out.jpg",
                    "max_memory=1.9",
                    f"statistics={kind}",
                    f"cache={cache}",
                )
                print(f"  {photo.name}, {kind}: {seconds:.0f} s, {memory:.2f} GiB at most")


def folder(rounds: int, cache: Path) -> None:
    """Compare one command for a folder of 200 photos with one command per photo and with one call per photo."""
    from fast_style import load_image, save_image

    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        sources = sorted(PHOTOS.glob("*.jpg"))
        photos.mkdir()
        for number in range(200):
            (photos / f"{number:03}.jpg").write_bytes(sources[number % len(sources)].read_bytes())
        start = time.perf_counter()
        for photo in sorted(photos.iterdir())[:5]:
            _stylize(f"ckpt={MODEL}", f"input={photo}", f"output={place}/one/{photo.name}", f"cache={cache}")
        command = (time.perf_counter() - start) / 5
        stylizer = load_stylizer(MODEL, runtime="torch", precision="fp32", device="cpu")
        start = time.perf_counter()
        for photo in sorted(photos.iterdir())[:20]:
            save_image(stylizer(load_image(photo)), f"{place}/two/{photo.name}")
        one = (time.perf_counter() - start) / 20
        together, _ = _stylize(f"ckpt={MODEL}", f"input={photos}", f"output={place}/all", f"cache={cache}")
        print(f"  together {200 / together:.1f} a second; a command each {1 / command:.2f}; a call each {1 / one:.2f}")


def start(rounds: int, cache: Path) -> None:
    """Time a new process for one 512x512 image, first with an empty cache, then with the cached runtime."""
    with tempfile.TemporaryDirectory() as place:
        photo = f"{place}/photo.png"
        from fast_style import save_image

        save_image(torch.rand(3, 512, 512), photo)
        for runtime in ("openvino", "onnxruntime", "torch"):
            arguments = (f"ckpt={MODEL}", f"input={photo}", f"output={place}/out.png", f"runtime={runtime}")
            first, *later = [_stylize(*arguments, f"cache={place}/cache")[0] for _ in range(1 + rounds)]
            print(f"  {runtime}: {first:.1f} s, then {statistics.median(later):.2f} s")
        code = "import time; s = time.perf_counter(); import fast_style; print(time.perf_counter() - s)"
        times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(rounds)]
        print(f"  import fast_style: {statistics.median(times):.3f} s")


PARTS = {"speed": speed, "video": video, "tiles": tiles, "large": large, "folder": folder, "start": start}
PHOTOS = Path("photos")


def main() -> None:
    """Measure the selected parts."""
    global PHOTOS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=7, help="rounds per variant")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of JPEG photos for large and folder")
    options = parser.parse_args()
    PHOTOS = options.photos
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}))
    with tempfile.TemporaryDirectory(prefix="fast_style-benchmark-") as cache:
        for name in options.parts or PARTS:
            print(name)
            PARTS[name](options.rounds, Path(cache))


if __name__ == "__main__":
    main()
