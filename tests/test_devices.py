"""Usable devices, their precision and their memory are detected; an unusable device gives one clear sentence."""

import psutil
import pytest
import torch

from fast_style.devices import best_precision, free_memory, usable_device

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def machine(monkeypatch):
    """Pretend that this machine has other hardware."""

    def pretend(*, cuda, cuda_bf16=False, cpu_bf16=False, capabilities=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: cuda_bf16)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu_bf16, raising=False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities or {}, raising=False)

    return pretend


def test_the_cpu_can_be_used():
    assert usable_device("cpu") == CPU


@pytest.mark.parametrize("name", [None, ""])
def test_without_a_name_and_without_cuda_it_is_the_cpu(machine, name):
    machine(cuda=False)
    assert usable_device(name) == CPU


def test_without_a_name_and_with_cuda_it_is_cuda(machine, monkeypatch):
    machine(cuda=True)
    asked = []
    monkeypatch.setattr(torch, "zeros", lambda *_, device: asked.append(device) or torch.ones(1))
    assert usable_device(None) == CUDA
    assert asked == ["cuda"]


@pytest.mark.parametrize("name", ["quantum", "cpu:banana", "cuda:4711", "meta", "mps:9"])
def test_an_unusable_device_is_refused_in_one_sentence(name):
    with pytest.raises(
        ValueError, match=rf"^The device '{name}' cannot be used on this machine \([^\n]+\); use device=cpu\.$"
    ):
        usable_device(name)


@pytest.mark.parametrize(
    ("device", "there", "precision"),
    [
        (CPU, {"cuda": False, "cpu_bf16": True}, "bf16-mixed"),
        (CPU, {"cuda": False, "cpu_bf16": False}, "32-true"),
        (CPU, {"cuda": True, "cuda_bf16": True, "cpu_bf16": False}, "32-true"),
        (CUDA, {"cuda": True, "cuda_bf16": True}, "bf16-mixed"),
        (CUDA, {"cuda": True, "cuda_bf16": False, "cpu_bf16": True}, "32-true"),
        (torch.device("mps"), {"cuda": False, "cpu_bf16": True}, "32-true"),
        (None, {"cuda": True, "cuda_bf16": True, "cpu_bf16": False}, "bf16-mixed"),
        (None, {"cuda": True, "cuda_bf16": False, "cpu_bf16": True}, "32-true"),
        (None, {"cuda": False, "cpu_bf16": True}, "bf16-mixed"),
        (None, {"cuda": False, "cpu_bf16": False}, "32-true"),
    ],
)
def test_bf16_is_best_where_the_device_computes_in_it(machine, device, there, precision):
    machine(**there)
    assert best_precision(device) == precision


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"cpu_name": "Intel Xeon", "amx_bf16": False}, "32-true"),
        ({"cpu_name": "Intel Xeon", "amx_bf16": True}, "bf16-mixed"),
        ({"cpu_name": "Intel Xeon"}, "bf16-mixed"),
        ({"cpu_name": "AMD EPYC", "amx_bf16": False}, "bf16-mixed"),
        ({}, "bf16-mixed"),
    ],
)
def test_an_intel_cpu_without_amx_is_faster_in_float32(machine, capabilities, precision):
    machine(cuda=False, cpu_bf16=True, capabilities=capabilities)
    assert best_precision(CPU) == precision


def test_without_cpu_detection_in_torch_the_precision_is_32_bits(machine, monkeypatch):
    machine(cuda=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert best_precision(CPU) == "32-true"


def test_free_cpu_memory_is_less_than_all_memory():
    free = free_memory(CPU)
    assert isinstance(free, int)
    assert 0 < free < psutil.virtual_memory().total


def test_reserved_but_unused_gpu_memory_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert free_memory(CUDA) == 1300


@pytest.mark.parametrize(("available", "free"), [(10_000, 700), (300, 500), (0, 200)])
def test_mps_may_use_its_share_of_the_ram(monkeypatch, available, free):
    class Memory:
        pass

    Memory.available = available
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 1000)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 300)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 500)
    assert free_memory(torch.device("mps")) == free
