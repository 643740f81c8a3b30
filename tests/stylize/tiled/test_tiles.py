"""Strips give the same result as the whole image: no seams, at any strip height."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fast_style.networks.blocks import FractionalConv, ResizeConv
from fast_style.networks.fast_net import FastNet
from fast_style.networks.transform_net import TransformNet
from fast_style.stylize.tiled.lazy_rows import BilinearRows, ConvRows, DiskRows, PhotoRows, UpsampleRows, strips
from fast_style.stylize.tiled.tiles import Tiles, thumbnail_moments

NETWORKS = {
    "linear": {},
    "nearest": {"upsample": "nearest"},
    "fractional": {"upsample": "fractional"},
    "kernel_of_3": {"upsample": "fractional", "fractional_kernel": 3},
    "no_blocks": {"blocks": 0},
    "cyclegan": {"upsample": "fractional", "fractional_kernel": 3, "output_gain": 1.0, "outer_kernel": 7},
    "skip": {"skip": True},
}


def network(**settings) -> TransformNet:
    torch.manual_seed(0)
    made = TransformNet(**({"width": 4, "blocks": 2} | settings)).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # The constant initial norm parameters would hide swapped channels.
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return made


def picture(height: int, width: int) -> np.ndarray:
    slopes = np.add.outer(np.linspace(0, 100, height), np.linspace(0, 80, width))[..., None] + [0, 20, 40]
    return (slopes + np.random.default_rng(0).integers(0, 30, (height, width, 3))).astype(np.uint8)


def whole(net: TransformNet, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)[0].permute(1, 2, 0).numpy()


def joined(tiles: Tiles, pixels: np.ndarray) -> np.ndarray:
    tops, parts = zip(*tiles.paint(pixels), strict=True)
    assert list(tops) == list(np.cumsum([0] + [len(part) for part in parts[:-1]]))
    return np.concatenate(parts)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("height", "width", "rows"), [(96, 64, 32), (75, 50, 8), (75, 50, 20), (131, 47, 1000)])
def test_exact_statistics_give_the_untiled_image(name: str, height: int, width: int, rows: int) -> None:
    net, pixels = network(**NETWORKS[name]), picture(height, width)
    painted = joined(Tiles(net, rows=rows), pixels)
    assert painted.shape == pixels.shape
    np.testing.assert_allclose(painted, whole(net, pixels), atol=1e-5)


@pytest.mark.parametrize("statistics", ["exact", "thumbnail"])
@pytest.mark.parametrize(("height", "width", "rows"), [(96, 64, 8), (75, 50, 20), (131, 47, 40)])
def test_levels_inside_of_levels_are_computed_in_strips(height: int, width: int, rows: int, statistics: str) -> None:
    torch.manual_seed(0)
    net = FastNet(width=4, half_width=4, coarse_width=5, coarse_blocks=1, full_width=3).eval()
    pixels, reports = picture(height, width), []
    tiles = Tiles(net, rows=rows, statistics=statistics)
    painted = np.concatenate([part for _, part in tiles.paint(pixels, progress=reports.append)])
    np.testing.assert_allclose(painted, whole(net, pixels), atol=1e-5)
    assert reports == sorted(reports)
    assert reports[-1] == pytest.approx(1)


def test_strips_with_their_own_statistics_differ() -> None:
    net, pixels = network(), picture(96, 64)
    alone = np.concatenate([whole(net, pixels[top : top + 32]) for top in range(0, 96, 32)])
    assert np.abs(alone - whole(net, pixels)).max() > 0.05


@pytest.mark.parametrize("rows", [16, 40])
def test_statistics_of_a_full_size_thumbnail_are_exact(rows: int) -> None:
    net, pixels = network(), picture(96, 64)
    painted = joined(Tiles(net, rows=rows, statistics="thumbnail"), pixels)
    np.testing.assert_allclose(painted, whole(net, pixels), atol=1e-5)


def test_statistics_of_a_thumbnail_have_no_seams(monkeypatch) -> None:
    monkeypatch.setattr("fast_style.stylize.tiled.tiles.THUMBNAIL", 32)
    net, pixels = network(), picture(128, 96)
    two, many = (joined(Tiles(net, rows=rows, statistics="thumbnail"), pixels) for rows in (64, 16))
    np.testing.assert_allclose(two, many, atol=1e-5)
    assert len(thumbnail_moments(net, pixels)) == 9


def test_a_float_image_is_stylized_too() -> None:
    net, pixels = network(), picture(48, 40)
    same = joined(Tiles(net, rows=16), pixels.astype(np.float32) / 255)
    np.testing.assert_allclose(same, joined(Tiles(net, rows=16), pixels), atol=1e-6)


def test_no_more_than_three_feature_maps_are_kept(monkeypatch) -> None:
    kept: list[int] = []
    own = DiskRows.__init__

    def counting(self, *arguments) -> None:
        kept.append(sum(not one._file.closed for one in made) + 1)
        own(self, *arguments)
        made.append(self)

    made: list[DiskRows] = []
    monkeypatch.setattr(DiskRows, "__init__", counting)
    for statistics in ("exact", "thumbnail"):
        joined(Tiles(network(), rows=16, statistics=statistics), picture(64, 48))
    assert max(kept) == 3


def test_no_file_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    strips = Tiles(network(), rows=16, spool=tmp_path).paint(picture(64, 48))
    next(strips)
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else None
    assert list(tmp_path.iterdir()) == []  # The files have no names, so a killed process leaves none behind.
    strips.close()
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) < before


@pytest.mark.parametrize("statistics", ["exact", "thumbnail"])
def test_progress_goes_from_nothing_to_all_with_the_last_strip(statistics: Any) -> None:
    told: list[float] = []
    list(Tiles(network(), rows=16, statistics=statistics).paint(picture(64, 48), progress=told.append))
    assert told == sorted(told)
    assert 0 < told[0] < 0.1
    assert told[-1] == pytest.approx(1)
    assert told[-2] < 0.999


@pytest.mark.parametrize("kernel", [3, 9])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_strip_of_a_convolution_equals_those_rows_of_the_whole(kernel: int, stride: int) -> None:
    conv = nn.Conv2d(3, 5, kernel, stride, padding=kernel // 2, padding_mode="reflect")
    pixels = picture(40, 24)
    source = PhotoRows(pixels, multiple=4)
    with torch.no_grad():
        wanted = conv(source.rows(0, 40))
        for top, bottom in [(0, 1), (0, 7), (3, 11), (40 // stride - 3, 40 // stride), (0, 40 // stride)]:
            found = ConvRows(source, conv).rows(top, bottom)
            torch.testing.assert_close(found, wanted[:, :, top:bottom])


@pytest.mark.parametrize("conv", [FractionalConv(3, 5), FractionalConv(3, 5, kernel=3), ResizeConv(3, 5)], ids=str)
def test_a_strip_of_an_upsampling_equals_those_rows_of_the_whole(conv) -> None:
    source = PhotoRows(picture(20, 16), multiple=4)
    with torch.no_grad():
        wanted = conv(source.rows(0, 20))
        doubled = UpsampleRows(source, conv.kernel())
        assert (doubled.channels, doubled.height, doubled.width) == wanted.shape[1:]
        for top, bottom in [(0, 1), (1, 2), (0, 7), (5, 16), (39, 40), (36, 40), (0, 40)]:
            torch.testing.assert_close(doubled.rows(top, bottom), wanted[:, :, top:bottom])


def test_rows_of_a_bilinear_interpolation_are_those_of_the_whole() -> None:
    source = PhotoRows(picture(20, 16), multiple=4)
    wanted = F.interpolate(source.rows(0, 20), scale_factor=2, mode="bilinear")
    doubled = BilinearRows(source)
    for top, bottom in [(0, 1), (1, 2), (0, 7), (5, 16), (39, 40), (36, 40), (0, 40)]:
        torch.testing.assert_close(doubled.rows(top, bottom), wanted[:, :, top:bottom])


def test_spooled_rows_come_back(tmp_path: Path) -> None:
    source = PhotoRows(picture(20, 16), multiple=4)
    spooled = DiskRows(source, tmp_path, torch.float32)
    for top, bottom in reversed(list(strips(20, 6))):
        spooled.put(top, source.rows(top, bottom))
    assert torch.equal(spooled.rows(2, 19), source.rows(2, 19))
    spooled.close()
    assert list(tmp_path.iterdir()) == []


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="statistics is one of exact, thumbnail; got 'guessed'"):
        Tiles(network(), rows=16, statistics="guessed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="residual_padding=none"):
        Tiles(network(residual_padding="none"), rows=16)
