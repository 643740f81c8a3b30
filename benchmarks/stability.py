"""Flicker of a stylized video: python benchmarks/stability.py clip.mp4 one.safetensors other.safetensors ...

The measure is the warping error (Lai et al. 2018). For each two consecutive frames, the optical flow of the input
frames warps the earlier stylized frame onto the later one. The difference is counted only where the warped input frames
agree. The script prints the root mean square difference in levels (0 to 255). It also prints this figure for the input
frames themselves, which is the error of the optical flow. The flow is scikit-image's TV-L1: pip install scikit-image.
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
from fast_style.stylize.video.frame import Frame
from fast_style.stylize.video.reader import read_clip
from fast_style.stylize.video.temporal_smoothing import TemporalSmoothing

#: Input frames agree where they differ by less than this (images are in 0 to 1). This excludes pixels that were hidden
#: one frame earlier.
AGREE = 0.05
Frames = list[NDArray[np.float32]]


def main() -> None:
    """Print two lines per network: without smoothing and with `smoothing=0.8`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", help="a video file")
    parser.add_argument("networks", nargs="+", help="network files")
    parser.add_argument("--frames", type=int, default=24, help="frames to read from the start of the clip")
    parser.add_argument("--size", type=int, default=256, help="shorter side in pixels")
    options = parser.parse_args()
    with read_clip(options.clip, size=options.size) as clip:
        frames = (part for part in clip.parts() if isinstance(part, Frame))
        photos = [frame.pixels.astype(np.float32) / 255 for frame in itertools.islice(frames, options.frames)]
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
    print(f"  {'input frames':40s} {warping_error(photos, flows, agree):6.2f}")
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
    """Warp `picture` `(H, W, 3)` by `flow` `(2, H, W)`."""
    rows, columns = np.meshgrid(*(np.arange(side) for side in picture.shape[:2]), indexing="ij")
    places = np.array([rows + flow[0], columns + flow[1]])
    return np.stack([warp(picture[..., c], places, mode="edge") for c in range(3)], axis=-1)


def warping_error(frames: Frames, flows: list[NDArray[np.float32]], agree: list[NDArray[np.bool_]]) -> float:
    """Root mean square difference of consecutive frames after warping, in levels (0 to 255)."""
    squares = [
        np.square(later - moved(earlier, flow))[mask].mean()
        for (earlier, later), flow, mask in zip(itertools.pairwise(frames), flows, agree, strict=True)
    ]
    return 255 * float(np.sqrt(np.mean(squares)))


if __name__ == "__main__":
    main()
