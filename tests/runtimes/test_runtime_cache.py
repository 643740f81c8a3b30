"""Exports in the cache are made once, and again only if they are damaged or the code has changed."""

import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from exported_networks import ORIGIN, Exports, small_network

from fast_style.networks.serialization import save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes import cache, export
from fast_style.runtimes.cache import NetworkFile, code_fingerprint, model_path, read_network_file
from fast_style.runtimes.onnx import OnnxRuntime
from fast_style.runtimes.openvino import OpenVino

FILES = {"onnx": ["network.onnx"], "openvino": ["network.bin", "network.xml"]}


@pytest.fixture
def network_file(tmp_path: Path) -> NetworkFile:
    save_network(tmp_path / "wave.safetensors", TransformNet(width=2, blocks=0), origin={"style": "wave"})
    return read_network_file(tmp_path / "wave.safetensors")


@pytest.fixture
def fake_exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths exported so far, with a fake exporter that takes no time."""
    made: list[Path] = []

    def quick(network: object, target: Path, **_: object) -> None:
        made.append(target)
        target.write_bytes(b"a model" * 100)
        if target.suffix == ".xml":
            target.with_suffix(".bin").write_bytes(b"weights" * 100)

    monkeypatch.setattr(export, "export", quick)
    monkeypatch.setattr(export, "find_spec", lambda package: True)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".lock"}


@pytest.mark.parametrize("format", FILES)
def test_a_network_is_exported_once(tmp_path: Path, network_file: NetworkFile, fake_exports, format) -> None:
    path = model_path(network_file, tmp_path / "cache", format)
    made = contents(path.parent)
    assert set(FILES[format]) < made.keys()
    assert model_path(network_file, tmp_path / "cache", format) == path
    assert contents(path.parent) == made
    assert fake_exports == [path]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "one byte", "removed"])
@pytest.mark.parametrize(("format", "name"), [(format, name) for format, names in FILES.items() for name in names])
def test_damage_is_found_before_a_runtime_loads_the_file(
    tmp_path: Path, network_file: NetworkFile, fake_exports, format, name, damage
) -> None:
    path = model_path(network_file, tmp_path / "cache", format)
    whole = contents(path.parent)
    damaged, content = path.with_name(name), whole[name]
    if damage == "removed":
        damaged.unlink()
    else:
        changed = {"truncated": content[:300], "emptied": b"", "one byte": b"?" + content[1:]}
        damaged.write_bytes(changed[damage])
    assert model_path(network_file, tmp_path / "cache", format) == path
    assert contents(path.parent) == whole
    assert fake_exports == [path, path]


def test_an_export_that_was_killed_before_its_checksum_is_made_again(
    tmp_path: Path, network_file: NetworkFile, fake_exports
) -> None:
    path = model_path(network_file, tmp_path / "cache", "onnx")
    path.with_name("network.onnx.sha256").unlink()
    model_path(network_file, tmp_path / "cache", "onnx")
    assert fake_exports == [path, path]


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("the device is busy")], ids=str)
def test_an_error_unrelated_to_the_file_keeps_the_file(
    tmp_path: Path, network_file: NetworkFile, fake_exports, monkeypatch, error
) -> None:
    calls = []

    def fail(*_: object, **__: object) -> None:
        calls.append(1)
        raise error

    class Core:
        compile_model = staticmethod(fail)

        def get_property(self, _: str, name: str) -> object:
            return ["FP32"] if name == "OPTIMIZATION_CAPABILITIES" else "a CPU"

    fake = ModuleType("onnxruntime")
    fake.InferenceSession, fake.SessionOptions = fail, SimpleNamespace
    fake.get_available_providers = lambda: ["CPUExecutionProvider"]
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setattr("fast_style.runtimes.openvino.import_openvino", lambda: SimpleNamespace(Core=Core))
    monkeypatch.setattr("fast_style.runtimes.openvino.version", lambda _: "1")
    for runtime in (OnnxRuntime, OpenVino):
        with pytest.raises(type(error), match=str(error)):
            runtime(network_file, cache=tmp_path / "cache")
    assert len(calls) == len(fake_exports) == 2, "loaded or exported a second time"
    assert all(path.is_file() for path in fake_exports)


def test_changed_code_exports_the_network_again(
    tmp_path: Path, network_file: NetworkFile, fake_exports, monkeypatch
) -> None:
    package = tmp_path / "package"
    names = ("networks/generator.py", "networks/deep/blocks.py", "runtimes/export.py", "runtimes/calibration.py")
    for name in names:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("GAIN = 1")
    monkeypatch.setattr(cache, "_PACKAGE", package)
    paths = [model_path(network_file, tmp_path / "cache", "onnx")]
    for name in names:
        (package / name).write_text("GAIN = 2")
        paths.append(model_path(network_file, tmp_path / "cache", "onnx"))
    assert fake_exports == paths
    assert len(set(paths)) == 1 + len(names)
    (package / "networks" / "notes.txt").touch()
    assert model_path(network_file, tmp_path / "cache", "onnx") == paths[-1]


def test_the_code_fingerprint_is_stable_and_fast() -> None:
    began = time.perf_counter()
    found = [code_fingerprint() for _ in range(20)]
    assert (time.perf_counter() - began) / 20 < 0.02
    assert len(set(found)) == 1
    assert found[0] != cache.hashlib.sha256().hexdigest()[:12], "it has read no file"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_changed_weights_are_not_used(tmp_path: Path, exports: Exports, monkeypatch, kind) -> None:
    """Both runtimes load changed weights without an error."""
    runtime = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}[kind]
    monkeypatch.setattr(export, "export", exports.copy)
    save_network(tmp_path / "wave.safetensors", small_network(), origin=ORIGIN)
    network_file = read_network_file(tmp_path / "wave.safetensors")
    pictures = torch.rand(1, 3, 32, 32).numpy()
    wanted = runtime(network_file, precision="fp32", cache=tmp_path / "cache").arrays(pictures)
    (model,) = (tmp_path / "cache").glob(f"*/network.{'onnx' if kind == 'onnxruntime' else 'bin'}")
    content = model.read_bytes()
    model.write_bytes(content[: len(content) // 2] + bytes(64) + content[len(content) // 2 + 64 :])
    for blob in (tmp_path / "cache").glob("*/*.blob"):
        blob.unlink()
    painted = runtime(network_file, precision="fp32", cache=tmp_path / "cache").arrays(pictures)
    assert abs(painted - wanted).max() < 1e-6
    assert model.read_bytes() == content
