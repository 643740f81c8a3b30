"""The painter: memory, brush_scale, blending and batches."""

import inspect
import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fast_style import Stylizer
from fast_style.images.decode import Arrays
from fast_style.images.encode import to_hwc, to_nchw, to_uint8
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.pytorch import Torch
from fast_style.stylize import files, network_runner, painter
from fast_style.stylize.blending import Blending
from fast_style.stylize.memory_budget import MASK, PICTURE, MemoryBudget
from fast_style.stylize.network_runner import Attempt, NetworkRunner
from fast_style.stylize.painter import Painter, PainterSettings

MIB = 2**20


def stylizer(width: int = 4) -> Stylizer:
    torch.manual_seed(0)
    architecture = json.dumps({"width": width})
    return Stylizer(Torch(TransformNet(width=width, blocks=1)), origin={"architecture": architecture})


def picture(height: int = 64, width: int = 48) -> Arrays:
    random = np.random.default_rng(0)
    return Arrays((random.random((height, width, 3)) * 255).astype(np.uint8), None)


@pytest.mark.parametrize("statistics", ["exact", "thumbnail"])
def test_strips_equal_the_whole_image(statistics: str) -> None:
    whole = Painter(stylizer(), PainterSettings(tiles="off"))(picture())
    strips = Painter(stylizer(), PainterSettings(tiles=16, statistics=statistics))(picture())  # type: ignore[arg-type]
    assert np.abs(whole.astype(int) - strips).max() <= 1


@pytest.mark.parametrize("scale", [1, 2])
def test_the_network_gets_the_photo_with_noise(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    seen: list[NDArray[np.float32]] = []
    own = Stylizer.__call__
    monkeypatch.setattr(Stylizer, "__call__", lambda self, x: (seen.append(np.array(x)), own(self, x))[1])
    for noise in (0, 0.05):
        Painter(stylizer(), PainterSettings(noise=noise, brush_scale=scale))(picture())
    plain, noisy = seen
    assert (noisy - plain).std() == pytest.approx(0.05, rel=0.1)
    if scale == 1:
        Painter(stylizer(), PainterSettings(noise=0.05)).paint_batch([(picture(), Blending())] * 2)
        assert np.array_equal(seen[-1], np.concatenate([noisy, noisy]))


@pytest.mark.parametrize(("noise_std", "noise"), [(0.05, 0.05), (0, 0), (None, 0)])
def test_automatic_noise_is_that_of_the_training(noise_std: float | None, noise: float) -> None:
    here = stylizer()
    if noise_std is not None:
        here.origin["recipe"] = json.dumps({"method": {"noise_std": noise_std}})
    assert Painter(here, PainterSettings(noise="auto")).noise == noise


def test_noise_works_in_strips_and_stays_out_of_the_photo() -> None:
    whole = Painter(stylizer(), PainterSettings(noise=0.1, tiles="off"))(picture())
    strips = Painter(stylizer(), PainterSettings(noise=0.1, tiles=16))(picture())
    assert np.abs(whole.astype(int) - strips).max() <= 1
    photo = picture()
    untouched = Painter(stylizer(), PainterSettings(noise=0.1), blending=Blending(strength=0))(photo)
    assert np.array_equal(untouched, photo.colour)


def test_memory_for_reading_and_writing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    own = NetworkRunner.attempts

    def attempts(self: NetworkRunner, height: int, width: int, *, beside: int) -> list[Attempt]:
        told.append(beside)
        return own(self, height, width, beside=beside)

    monkeypatch.setattr(NetworkRunner, "attempts", attempts)
    mask = np.ones((64, 48), np.float32)
    for scale in (1, 2):
        settings = PainterSettings(brush_scale=scale)
        Painter(stylizer(), settings)(picture())
        Painter(stylizer(), settings, blending=Blending(mask=mask))(picture())
    assert told == 2 * [64 * 48 * PICTURE, 64 * 48 * (PICTURE + MASK)]
    told.clear()
    Painter(stylizer(), PainterSettings(noise=0.1))(picture())
    assert told == [64 * 48 * (PICTURE + 3)]


def test_a_large_image_is_recognised() -> None:
    painter = Painter(stylizer(), PainterSettings(max_memory=160 * PICTURE))
    assert not painter.is_large(10)
    assert painter.is_large(11)


@pytest.mark.parametrize("scale", [1, 1.5, 2, 4])
@pytest.mark.parametrize("grey", [False, True])
def test_the_size_stays_whatever_the_brush(scale: float, grey: bool) -> None:
    photo = Arrays(np.random.default_rng(0).random((65, 49), np.float32), None) if grey else picture(65, 49)
    painted = Painter(stylizer(), PainterSettings(brush_scale=scale))(photo)
    assert painted.shape == (65, 49, 3)
    assert painted.std() > 0


def test_a_broad_brush_paints_a_small_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    own = Stylizer.__call__
    monkeypatch.setattr(Stylizer, "__call__", lambda self, x: (seen.append(x.shape), own(self, x))[1])
    Painter(stylizer(), PainterSettings(brush_scale=2))(picture())
    assert seen == [(1, 3, 32, 24)]


@pytest.mark.parametrize(
    ("shape", "working"),
    [((64, 48), (32, 24)), ((36, 96), (24, 64)), ((24, 30), (24, 30)), ((20, 200), (20, 200)), ((480, 24), (480, 24))],
    ids=str,
)
def test_an_automatic_brush_paints_at_one_size_whatever_the_resolution(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], working: tuple[int, int]
) -> None:
    monkeypatch.setattr(painter, "WORKING_SIDE", 24)
    seen: list[tuple[int, ...]] = []
    own = Stylizer.__call__
    monkeypatch.setattr(Stylizer, "__call__", lambda self, x: (seen.append(x.shape), own(self, x))[1])
    settings = PainterSettings(brush_scale="auto")
    assert Painter(stylizer(), settings)(picture(*shape)).shape == (*shape, 3)
    assert seen == [(1, 3, *working)]
    seen.clear()
    results = Painter(stylizer(), settings).paint_batch([(picture(*shape), Blending())] * 2)
    # Images that are stylized at their own size share a call.
    assert seen == ([(2, 3, *working)] if shape == working else [(1, 3, *working)] * 2)
    assert all(isinstance(found, np.ndarray) and found.shape == (*shape, 3) for found in results)


def test_an_automatic_brush_works_with_strips_and_blending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter, "WORKING_SIDE", 24)
    whole = Painter(stylizer(), PainterSettings(brush_scale="auto", tiles="off"))(picture())
    strips = Painter(stylizer(), PainterSettings(brush_scale="auto", tiles=8))(picture())
    assert np.abs(whole.astype(int) - strips).max() <= 1
    photo = picture()
    untouched = Painter(stylizer(), PainterSettings(brush_scale="auto"), blending=Blending(strength=0))(photo)
    assert np.array_equal(untouched, photo.colour)


@pytest.mark.parametrize("photos", [1, 3])
def test_the_memory_layout_changes_once_in_each_direction(monkeypatch: pytest.MonkeyPatch, photos: int) -> None:
    calls: list[str] = []

    def counted(name: str) -> None:
        own = getattr(network_runner, name)
        monkeypatch.setattr(network_runner, name, lambda pixels: (calls.append(name), own(pixels))[1])

    counted("to_nchw")
    counted("to_hwc")
    for blending in (Blending(), Blending(strength=0.5)):
        Painter(stylizer()).paint_batch([(picture(), blending)] * photos)
    assert calls == 2 * ["to_nchw", "to_hwc"]
    for module in (painter, network_runner, files):
        source = inspect.getsource(module)
        assert not [word for word in ("transpose", "moveaxis", "permute", "swapaxes") if word in source]


@pytest.mark.parametrize("height", [64, 200])
def test_blending_a_few_rows_at_a_time_is_blending_the_whole(height: int) -> None:
    photo, blending = picture(height), Blending(strength=0.5, mask=np.linspace(0, 1, height * 48).reshape(height, 48))
    painted = stylizer()(to_nchw(photo.colour))
    blended = blending(photo.colour / np.float32(255), to_hwc(painted)[0], top=0)
    assert np.array_equal(Painter(stylizer())(photo, blending=blending), to_uint8(blended))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"brush_scale": 0.5}, "brush_scale is at least 1"),
        ({"brush_scale": float("nan")}, "brush_scale is at least 1"),
        ({"brush_scale": "wide"}, "brush_scale is at least 1 .*, or auto; got wide"),
        ({"brush_scale": None}, "brush_scale is at least 1"),
        ({"noise": -0.1}, "noise .* is from 0 to 1, or auto; got -0.1"),
        ({"noise": float("nan")}, "noise .* is from 0 to 1"),
        ({"noise": "much"}, "noise .* is from 0 to 1, or auto; got much"),
        ({"noise": None}, "noise .* is from 0 to 1"),
        ({"tiles": 0}, "tiles is auto, off, or the height of a strip"),
        ({"tiles": True}, "tiles is auto, off, or the height of a strip"),
        ({"tiles": "on"}, "got 'on'"),
        ({"statistics": "guessed"}, "statistics is exact or thumbnail; got 'guessed'"),
        ({"max_memory": 0}, "max_memory is more than 0"),
        ({"max_memory": -5}, "max_memory is more than 0"),
    ],
    ids=str,
)
def test_invalid_settings_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PainterSettings(**settings)  # type: ignore[arg-type]


def test_the_budget_is_of_the_device_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int | None]] = []

    def of(device: str, *, max_memory: int | None) -> MemoryBudget:
        asked.append((device, max_memory))
        return MemoryBudget(MIB)

    monkeypatch.setattr(MemoryBudget, "of", of)
    here = stylizer()
    here.runtime.device = "cuda"
    Painter(here, PainterSettings(max_memory=5))
    Painter(stylizer())
    assert asked == [("cuda", 5), ("cpu", None)]


def test_nan_in_one_image_of_a_batch_spares_the_others() -> None:
    class Broken:
        name, precision, device = "torch", "fp32", "cpu"

        def arrays(self, pictures: np.ndarray) -> np.ndarray:
            pictures[1, 0, 0, 0] = np.nan
            return pictures

    found = Painter(Stylizer(Broken(), origin={})).paint_batch([(picture(), Blending())] * 3)  # type: ignore[arg-type]
    assert [isinstance(one, ValueError) for one in found] == [False, True, False]
    assert np.array_equal(found[2], picture().colour)  # type: ignore[arg-type]
