"""The memory budget counts host memory and GPU memory separately."""

import pickle
from types import SimpleNamespace

import psutil
import pytest
import torch

from fast_style import devices
from fast_style.stylize import memory_budget
from fast_style.stylize.dataset import ray_pool
from fast_style.stylize.dataset.ray_pool import UnitPainter, shares
from fast_style.stylize.dataset.worker import Result
from fast_style.stylize.memory_budget import BYTES_PER_PIXEL, MOVED, PICTURE, PROCESS, STRIP, MemoryBudget

MIB, GIB = 2**20, 2**30
PHOTO = 4000 * 3000


class Host:
    """A host with 125 GiB of free memory."""

    available = 125 * GIB


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with much memory and a GPU with 8 GiB free."""
    monkeypatch.setattr(psutil, "virtual_memory", Host)
    monkeypatch.setattr(devices, "free_memory", lambda device: {"cuda": 8 * GIB}[device.type])


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("device", "settings", "expected"),
    [
        ("cpu", {}, MemoryBudget(PROCESS + Host.available // 2)),
        ("cpu", {"painters": 4}, MemoryBudget(PROCESS + Host.available // 8)),
        ("cpu", {"max_memory": 3 * GIB}, MemoryBudget(3 * GIB)),
        ("cuda", {}, MemoryBudget(PROCESS + Host.available // 2, 4 * GIB)),
        ("cuda", {"max_memory": 3 * GIB}, MemoryBudget(PROCESS + Host.available // 2, 3 * GIB)),
        ("cuda:1", {"painters": 4, "painters_on_device": 2}, MemoryBudget(PROCESS + Host.available // 8, 2 * GIB)),
    ],
    ids=str,
)
def test_a_gpu_has_a_budget_of_its_own(device: str, settings: dict[str, int], expected: MemoryBudget) -> None:
    assert MemoryBudget.of(device, **settings) == expected


@pytest.mark.parametrize("error", [RuntimeError, AssertionError])
def test_a_gpu_that_can_not_be_asked_is_counted_as_the_host(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def no_cuda(device: torch.device) -> int:
        raise error("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(psutil, "virtual_memory", Host)
    monkeypatch.setattr(devices, "free_memory", no_cuda)
    assert MemoryBudget.of("cuda") == MemoryBudget(PROCESS + Host.available // 2)
    assert MemoryBudget.of("cuda", max_memory=GIB).device == GIB


@pytest.mark.usefixtures("machine")
def test_eight_large_photos_do_not_fit_a_small_gpu_beside_a_large_host() -> None:
    budget, need = MemoryBudget.of("cuda"), BYTES_PER_PIXEL["torch"]
    assert budget.fits_whole(PHOTO // 2, need, beside=PHOTO * PICTURE)
    assert not budget.fits_whole(8 * PHOTO, need, beside=8 * PHOTO * PICTURE)
    assert MemoryBudget.of("cpu").fits_whole(8 * PHOTO, need, beside=8 * PHOTO * PICTURE)


def test_host_memory_counts_although_a_gpu_computes() -> None:
    beside = PHOTO * PICTURE
    for spare, fits in ((1, True), (0, False)):
        budget = MemoryBudget(PROCESS + beside + PHOTO * MOVED - 1 + spare, 10**15)
        assert budget.fits_whole(PHOTO, 630, beside=beside) == fits
    assert MemoryBudget(PROCESS + beside, 10**15).rows_of_strips(4000, STRIP, beside=beside) == 512
    assert MemoryBudget(PROCESS + beside - 1, 10**15).rows_of_strips(4000, STRIP, beside=beside) == 0


@pytest.mark.parametrize("need", [80, 630, 1260])
def test_on_the_cpu_an_image_is_whole_if_it_fits(need: float) -> None:
    pixels = 1000 * 1000
    for spare, whole in ((1.01, True), (0.99, False)):
        budget = MemoryBudget(int(PROCESS + pixels * (need * spare + PICTURE)))
        assert budget.fits_whole(pixels, need, beside=pixels * PICTURE) == whole


@pytest.mark.parametrize("limit", [700, 800, 1000, 2000])
@pytest.mark.parametrize("size", [(4000, 6000), (4096, 8192)])
def test_strips_take_no_more_than_there_is(limit: int, size: tuple[int, int]) -> None:
    height, width = size
    beside = height * width * PICTURE
    rows = MemoryBudget(limit * MIB).rows_of_strips(width, STRIP, beside=beside)
    assert rows % 8 == 0
    fits = PROCESS + beside + 24 * STRIP * width <= limit * MIB
    assert (rows > 0) == fits
    if fits:
        assert PROCESS + beside + (rows + 16) * width * STRIP <= limit * MIB


def test_strips_are_counted_where_they_are_computed() -> None:
    budget = MemoryBudget(PROCESS + 100 * 1000 * STRIP, 60 * 1000 * STRIP)
    assert budget.rows_of_strips(1000, STRIP, beside=0) == 40
    assert budget.rows_of_strips(1000, STRIP, beside=0, on_host=True) == 80
    assert memory_budget.LOWEST_STRIP == 8


@pytest.mark.parametrize(
    ("workers", "gpus", "on_a_gpu"), [(1, 0, 1), (4, 0, 1), (2, 2, 1), (4, 8, 1), (3, 1, 3), (5, 2, 2)]
)
def test_workers_divide_the_memory_of_the_gpu_that_they_share(
    monkeypatch: pytest.MonkeyPatch, workers: int, gpus: int, on_a_gpu: int
) -> None:
    stylizer = SimpleNamespace(runtime=SimpleNamespace(device="cuda", name="torch"))
    monkeypatch.setattr(ray_pool, "load_stylizer", lambda **_: stylizer)
    monkeypatch.setattr(ray_pool, "paint_unit", lambda unit, painter, recipe: Result("a", problem=str(painter.budget)))
    monkeypatch.setattr(psutil, "virtual_memory", Host)
    monkeypatch.setattr(devices, "free_memory", lambda device: 8 * GIB)
    machine = {"CPU": 8.0, "GPU": float(gpus)}
    monkeypatch.setattr(ray_pool, "_this_machine", lambda: machine)
    share = shares([machine], 100, {"runtime": "torch", "device": "auto"}, workers)
    worker = UnitPainter(None, {"path": "wave.safetensors"}, share=share)  # type: ignore[arg-type]
    told = worker({"unit": pickle.dumps(None)})["problem"]
    assert told == str(MemoryBudget(PROCESS + Host.available // (2 * workers), 4 * GIB // on_a_gpu))
