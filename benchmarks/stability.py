"""How still a painted video stands: python benchmarks/stability.py clip.mp4 one.safetensors other.safetensors ...

The warping error (Lai et al. 2018): of each two consecutive frames, the optical flow of the photos moves the earlier
painting onto the later one; what differs where the photos agree is flicker. Printed is its root mean square, of 255,
and the same of the photos themselves, which is what the flow leaves over. The flow is scikit-image's TV-L1.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.registration import optical_flow_tvl1
from skimage.transform import warp
from tqdm import tqdm

from fast_style.images.encode import to_hwc, to_nchw, to_uint8
from fast_style.stylize.stylizer import load_stylizer
from fast_style.stylize.video.reader import read_clip
from fast_style.stylize.video.temporal_smoothing import TemporalSmoothing

#: Photos agree where they differ by less, of 1: what was covered a frame ago is not compared.
AGREE = 0.05
Frames = list[NDArray[np.float32]]


def main() -> None:
    """Print a line a network, without and with smoothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=256, help="shorter side in pixels")
    options = parser.parse_args()
    with read_clip(options.clip, size=options.size) as clip:
        photos = [
            frame.pixels.astype(np.float32) / 255
            for frame in itertools.islice(clip.frames(sound=False), options.frames)
        ]
    flows = [
        optical_flow_tvl1(later.mean(-1), earlier.mean(-1))
        for earlier, later in tqdm(itertools.pairwise(photos), total=len(photos) - 1, unit="flow")
    ]
    agree = [
        np.abs(later - moved(earlier, flow)).max(-1) < AGREE
        for (earlier, later), flow in zip(itertools.pairwise(photos), flows, strict=True)
    ]
    print(
        f"{len(photos)} frames of {photos[0].shape[1]}x{photos[0].shape[0]}, {np.mean(agree):.0%} of the pixels agree"
    )
    print(f"  {'the photos':40s} {warping_error(photos, flows, agree):6.2f}")
    for network in options.networks:
        stylizer = load_stylizer(network)
        painted = [stylizer(to_nchw(to_uint8(photo))) for photo in tqdm(photos, unit="frame")]
        for smoothing in (0.0, 0.8):
            smooth = TemporalSmoothing(smoothing)
            frames = [
                to_hwc(smooth(to_nchw(to_uint8(photo)), picture))[0]
                for photo, picture in zip(photos, painted, strict=True)
            ]
            name = f"{Path(network).parent.name}/{Path(network).stem}" + (
                f", smoothing={smoothing}" if smoothing else ""
            )
            print(f"  {name:40s} {warping_error(frames, flows, agree):6.2f}")


def moved(picture: NDArray[np.float32], flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(H, W, 3)` where the flow `(2, H, W)` takes it from."""
    rows, columns = np.meshgrid(*(np.arange(side) for side in picture.shape[:2]), indexing="ij")
    places = np.array([rows + flow[0], columns + flow[1]])
    return np.stack([warp(picture[..., c], places, mode="edge") for c in range(3)], axis=-1)


def warping_error(frames: Frames, flows: list[NDArray[np.float32]], agree: list[NDArray[np.bool_]]) -> float:
    """Root mean square, of 255."""
    squares = [
        np.square(later - moved(earlier, flow))[mask].mean()
        for (earlier, later), flow, mask in zip(itertools.pairwise(frames), flows, agree, strict=True)
    ]
    return 255 * float(np.sqrt(np.mean(squares)))


if __name__ == "__main__":
    main()
