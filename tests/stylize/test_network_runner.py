"""When memory runs out: smaller batches, then strips, then the CPU; and an error message if all of them fail."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fast_style import Stylizer, devices
from fast_style.images.decode import Arrays, read_arrays
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.pytorch import Torch
from fast_style.stylize import network_runner
from fast_style.stylize.blending import Blending
from fast_style.stylize.files import FileSettings, paint
from fast_style.stylize.memory_budget import MOVED, PICTURE, PROCESS, STRIP, MemoryBudget
from fast_style.stylize.network_runner import NetworkRunner
from fast_style.stylize.painter import Painter, PainterSettings
from fast_style.stylize.tiled import tiles

HEIGHT, WIDTH = 64, 40
PIXELS = HEIGHT * WIDTH
PLENTY = MemoryBudget(10**15, 10**15)
Calls = list[tuple[Any, ...]]


class Gpu:
    """A runtime that returns its input, on a GPU with room for `limit` pixels."""

    name, precision = "torch", "fp32"

    def __init__(self, calls: Calls, limit: float, error: Callable[[], Exception], device: str = "cuda") -> None:
        self.calls, self.limit, self.error, self.device = calls, limit, error, device

    def arrays(self, pictures: np.ndarray) -> np.ndarray:
        self.calls.append(("whole", len(pictures)))
        if pictures[:, 0].size > self.limit:
            raise self.error()
        return pictures


class World:
    """A painter on a GPU that records every call of its network."""

    def __init__(self) -> None:
        self.calls: Calls = []
        self.whole: float = np.inf
        self.strips: dict[str, float] = {"cuda": np.inf, "cpu": np.inf}
        self.error: Callable[[], Exception] = lambda: torch.OutOfMemoryError("CUDA out of memory.")
        self.freed = 0

    def painter(self, *, device: str = "cuda", budget: MemoryBudget = PLENTY, **settings: Any) -> Painter:
        stylizer = Stylizer(Gpu(self.calls, self.whole, self.error, device), origin={})  # type: ignore[arg-type]
        stylizer.network = lambda *, device="cpu": SimpleNamespace(device=device)  # type: ignore[method-assign]
        return Painter(stylizer, PainterSettings(**settings), budget=budget)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Strips:
        def __init__(self, network: SimpleNamespace, *, rows: int, statistics: str) -> None:
            self.device, self.rows = network.device, rows

        def paint(self, colour: np.ndarray, *, progress: Callable[[float], None]) -> Iterator[tuple[int, np.ndarray]]:
            world.calls.append((self.device, self.rows))
            for top in range(0, len(colour), self.rows):
                # In the middle of the image, as in reality.
                if top and self.rows * colour.shape[1] > world.strips[self.device]:
                    raise world.error()
                yield top, colour[top : top + self.rows] / np.float32(255)

    def freed() -> None:
        world.freed += 1

    monkeypatch.setattr(tiles, "Tiles", Strips)
    monkeypatch.setattr(devices, "usable_device", torch.device)
    monkeypatch.setattr(network_runner, "release_cached_memory", freed)
    return world


def photo(seed: int = 0, height: int = HEIGHT) -> Arrays:
    return Arrays(np.random.default_rng(seed).integers(0, 256, (height, WIDTH, 3), dtype=np.uint8), None)


def batch(count: int = 8) -> list[tuple[Arrays, Blending]]:
    return [(photo(number), Blending()) for number in range(count)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


ERRORS = [
    pytest.param(lambda: torch.OutOfMemoryError("CUDA out of memory."), id="torch"),
    pytest.param(lambda: Exception("Failed to allocate memory for requested buffer"), id="onnxruntime"),
    pytest.param(lambda: RuntimeError("MPS backend out of memory"), id="mps"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_batches_become_smaller_when_memory_runs_out(
    world: World, caplog: pytest.LogCaptureFixture, error: Callable[[], Exception]
) -> None:
    world.whole, world.error = 3 * PIXELS, error
    painter = world.painter()
    for found, (picture, _) in zip(painter.paint_batch(batch()), batch(), strict=True):
        assert np.array_equal(found, picture.colour)  # type: ignore[arg-type]
    assert world.calls == [("whole", n) for n in (8, 4, 2, 2, 2, 2)]
    assert world.freed == 2
    assert warnings(caplog) == [
        "cuda ran out of memory with a batch of 8 images of 40x64 pixels; using smaller batches from now on."
    ]
    world.calls.clear()
    painter.paint_batch(batch())
    assert world.calls == [("whole", 2)] * 4  # Remembered.
    assert len(warnings(caplog)) == 1
    world.calls.clear()
    painter.paint_batch([(photo(height=16), Blending())] * 8)
    assert world.calls == [("whole", 8)]  # Small images still fit in full batches.


@pytest.mark.parametrize("brush_scale", [1, 2])
def test_then_strips_are_used_and_at_last_the_cpu(
    world: World, caplog: pytest.LogCaptureFixture, brush_scale: int
) -> None:
    caplog.set_level(logging.INFO)
    world.whole, world.strips["cuda"] = 0, 0
    painter = world.painter(brush_scale=brush_scale)
    painted = painter(photo())
    if brush_scale == 1:
        assert np.array_equal(painted, photo().colour)
        assert world.calls == [("whole", 1), ("cuda", 32), ("cuda", 16), ("cuda", 8), ("cpu", 32)]
    assert "strips of 8 rows, by PyTorch in float32 on cuda." in caplog.text
    assert "by PyTorch in float32 on cpu." in caplog.text
    assert len(warnings(caplog)) == 1
    world.calls.clear()
    assert np.array_equal(painter(photo()), painted)
    assert [device for device, _ in world.calls] == ["cpu"]
    assert len(warnings(caplog)) == 1


def test_strips_stay_on_the_device_if_they_fit(world: World) -> None:
    world.whole, world.strips["cuda"] = 0, 16 * WIDTH
    assert np.array_equal(world.painter()(photo()), photo().colour)
    assert world.calls == [("whole", 1), ("cuda", 32), ("cuda", 16)]


def test_an_image_that_never_fits_is_reported_and_the_next_is_stylized(world: World, tmp_path: Path) -> None:
    world.whole, world.strips = PIXELS // 2, {"cuda": 0, "cpu": 0}
    pairs = []
    for number, height in enumerate([HEIGHT, 16, HEIGHT, HEIGHT, 16]):
        Image.fromarray(photo(number, height).colour).save(tmp_path / f"{number}.png")
        pairs.append((tmp_path / f"{number}.png", tmp_path / "out" / f"{number}.png"))
    for settings in (FileSettings(), FileSettings(batch=3)):
        problems = {found.source.stem: found.problem for found in paint(world.painter(), pairs, settings)}
        assert {name for name, problem in problems.items() if problem is None} == {"1", "4"}
        assert problems["0"] == (
            f"{tmp_path}/0.png cannot be stylized: cpu ran out of memory at 40x64 pixels, even in strips; "
            "set a smaller size=."
        )
        assert len(world.calls) < 60
        for name in ("1", "4"):
            assert np.array_equal(read_arrays(tmp_path / "out" / f"{name}.png").colour, photo(int(name), 16).colour)


def test_with_tiles_off_the_message_names_tiles_auto(world: World) -> None:
    world.whole = 0
    painter = world.painter(tiles="off")
    for _ in range(2):
        with pytest.raises(
            ValueError, match="cuda ran out of memory at 40x64 pixels; set tiles=auto, or a smaller size="
        ):
            painter(photo())
    assert world.calls == [("whole", 1)] * 2


def test_the_cpu_uses_strips_too(world: World) -> None:
    world.whole, world.error = 0, MemoryError
    assert np.array_equal(world.painter(device="cpu", budget=MemoryBudget(10**15))(photo()), photo().colour)
    assert world.calls == [("whole", 1), ("cpu", 32)]


def test_another_error_is_not_tried_again(world: World) -> None:
    world.whole, world.error = 0, lambda: RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal"):
        world.painter()(photo())
    with pytest.raises(RuntimeError, match="illegal"):
        world.painter().paint_batch(batch())
    assert len(world.calls) == 2


def test_a_batch_is_as_large_as_the_gpu_allows(world: World) -> None:
    budget = MemoryBudget(10**15, 3 * PIXELS * 630)
    world.painter(budget=budget).paint_batch(batch())
    assert world.calls == [("whole", 2)] * 4


def test_a_gpu_without_room_for_strips_leaves_them_to_the_cpu(world: World) -> None:
    world.painter(budget=MemoryBudget(10**15, 1000))(photo())
    assert world.calls == [("cpu", 512)]


@pytest.mark.parametrize("device", [None, 10])
def test_an_image_too_large_for_the_host_is_refused_at_once(world: World, device: int | None) -> None:
    painter = world.painter(device="cuda" if device else "cpu", budget=MemoryBudget(PROCESS + PIXELS * PICTURE, device))
    with pytest.raises(
        ValueError, match=r"40x64 pixels needs [\d,]+ MiB even in strips, and .*; allow more, or set a smaller size="
    ):
        painter(photo())
    assert world.calls == []


def test_a_network_without_strips_is_reported_in_one_sentence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("A network with residual_padding=none is not tiled; take tiles=off.")

    monkeypatch.setattr(tiles, "Tiles", refuse)
    world.whole = 0
    sentence = "not enough memory for 40x64 pixels at once, and strips are impossible: A network with"
    with pytest.raises(ValueError, match=sentence):
        world.painter()(photo())
    with pytest.raises(ValueError, match=r"^A network with"):
        world.painter(tiles=16)(photo())


def test_if_torch_cannot_use_the_gpu_strips_run_on_the_cpu(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def unusable(name: str) -> torch.device:
        raise ValueError(f"The device {name!r} can't be used here.")

    monkeypatch.setattr(devices, "usable_device", unusable)
    world.whole = 0
    world.painter()(photo())
    assert world.calls == [("whole", 1), ("cpu", 32)]


@pytest.mark.parametrize("tiling", [12, 4, 100])
def test_the_requested_strip_height_is_tried_first(world: World, tiling: int) -> None:
    runner = NetworkRunner(world.painter().stylizer, tiles=tiling, statistics="exact", budget=MemoryBudget(0, 0))
    assert [a.rows for a in runner.attempts(HEIGHT, WIDTH, beside=0) if a.device == "cuda"] == {
        12: [12, 8],
        4: [8],
        100: [100, 48, 24, 8],
    }[tiling]


def test_images_for_a_gpu_need_host_memory_too(world: World) -> None:
    room = PROCESS + PIXELS * (PICTURE + MOVED)
    for host, calls in ((room, [("whole", 1)]), (room - 1, [("cuda", 512)])):
        world.calls.clear()
        world.painter(budget=MemoryBudget(host, 10**9 * STRIP))(photo())
        assert world.calls == calls


class Small(Torch):
    """A runtime with memory for half of the image."""

    def arrays(self, pictures: np.ndarray) -> np.ndarray:
        if pictures[:, 0].size > PIXELS // 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().arrays(pictures)


def test_the_result_is_the_same_after_memory_ran_out() -> None:
    network = TransformNet(width=4, blocks=1)
    expected = Painter(Stylizer(Torch(network), origin={}))(photo())
    [found] = Painter(Stylizer(Small(network), origin={})).paint_batch([(photo(), Blending())])
    assert np.abs(expected.astype(int) - found).max() <= 1


def test_a_real_network_without_strips_is_reported() -> None:
    network = TransformNet(width=2, blocks=1, residual_padding="none")
    small = Painter(Stylizer(Small(network), origin={}))
    with pytest.raises(ValueError, match=r"not enough memory for 40x64 pixels .* and strips are impossible: \w"):
        small(photo())
