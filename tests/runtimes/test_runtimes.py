"""Every runtime gives the results of PyTorch, keeps its prepared files, and then starts without PyTorch."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_networks import ORIGIN, small_network
from PIL import Image

from fast_style import load_stylizer
from fast_style.networks.serialization import save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes import export, openvino, select
from fast_style.runtimes.cache import RuntimeUnavailable, default_cache, read_network_file
from fast_style.runtimes.runtime import allowed_threads
from fast_style.runtimes.select import ON_CPU, choose

PREPARING = ["onnxruntime", "openvino"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, exports) -> Iterator[Path]:
    """A network file, and a cache that holds it prepared for both runtimes."""
    folder = tmp_path_factory.mktemp("runtimes")
    save_network(folder / "wave.safetensors", small_network(), origin=ORIGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "export", exports.copy)
        for runtime in PREPARING:
            load_stylizer(folder / "wave.safetensors", runtime=runtime, precision="fp32", cache=folder / "cache")
        yield folder


def load(folder: Path, runtime: str, precision: str = "fp32"):
    return load_stylizer(folder / "wave.safetensors", runtime=runtime, precision=precision, cache=folder / "cache")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ON_CPU)
@pytest.mark.parametrize("shape", [(1, 3, 64, 48), (2, 3, 17, 33)])
def test_every_runtime_paints_as_the_network_does(folder: Path, runtime, shape) -> None:
    wanted, stylizer = load(folder, "torch"), load(folder, runtime)
    assert (stylizer.runtime.name, stylizer.runtime.precision, stylizer.runtime.device) == (runtime, "fp32", "cpu")
    assert stylizer.style == "wave"
    pictures = torch.rand(shape)
    kept = pictures.clone()
    painted = stylizer(pictures)
    torch.testing.assert_close(painted, wanted(pictures), rtol=0, atol=1e-5)
    assert torch.equal(pictures, kept)
    array = stylizer(pictures.numpy())
    assert isinstance(array, np.ndarray)
    assert np.array_equal(array, painted.numpy())
    again = stylizer(1 - pictures)
    assert not torch.equal(again, painted)
    assert np.array_equal(array, painted.numpy()), "the next image changed an earlier result"


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_half_precision_is_near(folder: Path, runtime) -> None:
    pictures = torch.rand(1, 3, 64, 64)
    try:
        stylizer = load(folder, runtime, "bf16")
    except ValueError as error:
        assert "does not support bf16" in str(error)  # noqa: PT017 - the CPU may lack bf16
        return
    assert stylizer.runtime.precision == "bf16"
    torch.testing.assert_close(stylizer(pictures), load(folder, "torch")(pictures), rtol=0, atol=0.05)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder with photos for the calibration."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(3):
        levels = np.random.default_rng(seed).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{seed}.png")
    return folder


@pytest.mark.slow
def test_8_bit_integers_are_near_float32_and_prepared_once(folder: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    settings = {"runtime": "openvino", "precision": "int8", "cache": tmp_path, "calibration": photos}
    stylizer = load_stylizer(folder / "wave.safetensors", **settings)
    assert stylizer.runtime.precision == "int8"
    pictures = torch.rand(1, 3, 64, 48)
    difference = (stylizer(pictures) - load(folder, "torch")(pictures)).abs()
    assert 1e-4 < difference.mean() < 0.03
    prepared = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    assert torch.equal(load_stylizer(folder / "wave.safetensors", **settings)(pictures), stylizer(pictures))
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == prepared


@pytest.mark.slow
def test_other_photos_for_the_calibration_are_measured_again(folder: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
        for file in sorted(photos.iterdir())[:count]:
            shutil.copy(file, tmp_path / str(count))
        settings = {"precision": "int8", "cache": tmp_path / "cache", "calibration": tmp_path / str(count)}
        load_stylizer(folder / "wave.safetensors", runtime="openvino", **settings)
    assert len(list((tmp_path / "cache").rglob("int8-*.xml"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("runtime", PREPARING)
def test_a_prepared_network_runs_without_torch(folder: Path, runtime) -> None:
    code = f"""
import sys, numpy
from fast_style.stylize.stylizer import load_stylizer
stylizer = load_stylizer({str(folder / "wave.safetensors")!r}, runtime={runtime!r}, cache={str(folder / "cache")!r})
assert stylizer(numpy.full((1, 3, 20, 20), 0.5, numpy.float32)).shape == (1, 3, 20, 20)
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("capabilities", "fast", "chosen"),
    [(["FP32", "BF16"], True, "bf16"), (["FP32", "BF16"], False, "fp32"), (["FP32"], True, "fp32")],
)
def test_auto_takes_bf16_only_where_it_is_fast(capabilities, fast, chosen) -> None:
    assert openvino._openvino_precision("auto", capabilities, fast_bf16=fast) == chosen
    assert openvino._openvino_precision("fp32", capabilities, fast_bf16=fast) == "fp32"


@pytest.mark.slow
def test_a_size_that_comes_again_gets_a_model_of_its_own(folder: Path, monkeypatch) -> None:
    stylizer, wanted = load(folder, "openvino"), load(folder, "torch")
    compiled, compile_for = [], stylizer.runtime._compile
    monkeypatch.setattr(stylizer.runtime, "_compile", lambda shape: compiled.append(shape) or compile_for(shape))
    small, large = torch.rand(1, 3, 20, 24), torch.rand(1, 3, 33, 50)
    for pictures in [small, large] * 3 + [large] * 5 + [small, large] + [small] * 5:
        torch.testing.assert_close(stylizer(pictures), wanted(pictures), rtol=0, atol=1e-5)
    assert compiled == [(1, 3, 33, 50), (1, 3, 20, 24)]
    of_any_size, own = stylizer.runtime._request, stylizer.runtime._request_for(small.shape)
    assert own is not of_any_size
    assert str(own.get_compiled_model().input(0).partial_shape) == "[1,3,20,24]"


@pytest.mark.slow
def test_the_model_for_any_size_is_taken_if_that_of_one_size_cannot_be_made(folder: Path, monkeypatch) -> None:
    """A user may delete the cache at any time."""
    stylizer, pictures, tried = load(folder, "openvino"), torch.rand(1, 3, 20, 24), []

    def fail(shape):
        tried.append(shape)
        raise RuntimeUnavailable("The network for openvino cannot be written.")

    monkeypatch.setattr(stylizer.runtime, "_compile", fail)
    for _ in range(8):
        torch.testing.assert_close(stylizer(pictures), load(folder, "torch")(pictures), rtol=0, atol=1e-5)
    assert tried == [(1, 3, 20, 24)]


@pytest.mark.parametrize(
    ("cpu", "flags", "fast"),
    [
        ("Intel(R) Xeon(R)", "avx512f amx_bf16", True),
        ("Intel(R) Xeon(R)", "avx512f avx512_bf16", False),
        ("Intel(R) Core", None, False),
        ("AMD EPYC", "avx512f", True),
        ("AMD EPYC", None, True),
    ],
)
def test_an_intel_cpu_is_fast_in_bf16_with_amx_only(monkeypatch, cpu, flags, fast) -> None:
    def read_text(path):
        if flags is None:
            raise FileNotFoundError
        return f"flags: {flags}"

    monkeypatch.setattr(openvino.Path, "read_text", read_text)
    assert openvino._has_fast_bf16(cpu) is fast


@pytest.mark.slow
def test_int8_without_its_package_names_the_package_and_another_precision(
    folder: Path, photos: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda package: None if package == "nncf" else True)
    settings = {"precision": "int8", "cache": tmp_path, "calibration": photos}
    with pytest.raises(ValueError, match=r"needs nncf.* 'fast_style\[int8\]'\. Or use precision=auto"):
        load_stylizer(folder / "wave.safetensors", **settings)


@pytest.mark.slow
def test_int8_takes_openvino_if_the_runtime_is_auto(folder: Path) -> None:
    with pytest.raises(ValueError, match="int8 needs photos for the calibration"):
        load(folder, "auto", "int8")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "emptied", "weights"])
def test_a_damaged_blob_is_made_again(folder: Path, damage: str) -> None:
    """OpenVINO itself loads a blob with changed weights and computes wrong results."""
    pictures = torch.rand(1, 3, 20, 20)
    wanted = load(folder, "openvino")(pictures)
    (blob,) = (folder / "cache").glob("*/openvino-fp32-*.blob")
    whole = blob.read_bytes()
    weights = blob.with_name("network.bin").read_bytes()[-1000:-200]
    assert weights in whole
    damaged = {
        "truncated": whole[: len(whole) // 2],
        "emptied": b"",
        "weights": whole.replace(weights, bytes(len(weights))),
    }
    blob.write_bytes(damaged[damage])
    assert torch.equal(load(folder, "openvino")(pictures), wanted)
    again = blob.read_bytes()
    assert again != damaged[damage]
    assert len(again) == pytest.approx(len(whole), rel=0.01)  # OpenVINO's exports differ by a few bytes.
    assert torch.equal(load(folder, "openvino")(pictures), wanted)
    assert blob.read_bytes() == again, "an intact blob was made again"


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "file"), [("openvino", "network.xml"), ("onnxruntime", "network.onnx")])
def test_a_damaged_model_is_made_again(folder: Path, runtime, file) -> None:
    pictures = torch.rand(1, 3, 20, 20)
    wanted = load(folder, runtime)(pictures)
    (model,) = (folder / "cache").glob(f"*/{file}")
    model.write_bytes(model.read_bytes()[:500])
    for blob in (folder / "cache").glob("*/*.blob"):
        blob.unlink()
    torch.testing.assert_close(load(folder, runtime)(pictures), wanted, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ON_CPU)
def test_threads_get_their_own_results(folder: Path, runtime) -> None:
    stylizer = load(folder, runtime)
    pictures = [
        np.full((1, 3, 24, 24), share, np.float32) * np.linspace(0, 1, 24, dtype=np.float32)
        for share in np.linspace(0.2, 1, 8, dtype=np.float32)
    ]
    wanted = [stylizer(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(stylizer, pictures * 5))
    assert all(np.array_equal(one, wanted[i % 8]) for i, one in enumerate(found))


@pytest.mark.slow
def test_without_a_writable_cache_auto_uses_torch(folder: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(select, "_best_device", lambda: "cpu")
    (tmp_path / "file").touch()
    stylizer = load_stylizer(folder / "wave.safetensors", cache=tmp_path / "file")
    assert stylizer.runtime.name == "torch"
    assert "cannot be written" in caplog.text
    with pytest.raises(ValueError, match=r"cannot be written to .*file .*cache=.*runtime=torch"):
        load_stylizer(folder / "wave.safetensors", runtime="openvino", cache=tmp_path / "file")


@pytest.mark.slow
def test_another_network_of_the_same_name_is_another(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_network(tmp_path / "wave.safetensors", TransformNet(width=4, blocks=1), origin={"style": "wave"})
    assert (
        read_network_file(tmp_path / "wave.safetensors").digest != read_network_file(folder / "wave.safetensors").digest
    )


def test_auto_takes_the_fastest_that_is_installed(monkeypatch) -> None:
    monkeypatch.setattr(select, "_best_device", lambda: "cpu")
    installed = {"openvino", "onnxruntime", "torch"}
    monkeypatch.setattr(select, "find_spec", lambda name: True if name in installed else None)
    assert choose("auto", "auto") == ("openvino", "cpu")
    installed.remove("openvino")
    assert choose("auto", "cpu") == ("onnxruntime", "cpu")
    installed.remove("onnxruntime")
    assert choose("auto", "auto") == ("torch", "cpu")
    assert choose("compile", "auto") == ("compile", "cpu")


def test_auto_takes_torch_where_there_is_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(select, "_best_device", lambda: "cuda")
    assert choose("auto", "auto") == ("torch", "cuda")
    assert choose("openvino", "auto") == ("openvino", "cpu")


@pytest.mark.parametrize("runtime", PREPARING)
def test_a_runtime_that_is_not_installed_says_what_to_do(monkeypatch, runtime) -> None:
    monkeypatch.setattr(select, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"runtime={runtime} is not installed: pip install 'fast_style\[{runtime}\]'"):
        choose(runtime, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"runtime": "tensorrt"}, "runtime is auto or one of torch, compile, onnxruntime, openvino; got 'tensorrt'"),
        ({"runtime": "openvino", "device": "cuda"}, "runs on the CPU only; got device=cuda"),
        ({"runtime": "onnxruntime", "device": "mps"}, "does not support device=mps"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "computes in fp32; got bf16"),
        (
            {"runtime": "torch", "precision": "int8"},
            "of runtime=torch is auto, fp32, bf16 or fp16; got 'int8'",
        ),
        ({"runtime": "onnxruntime", "precision": "int8"}, "runtime=onnxruntime computes in fp32; got int8"),
        (
            {"runtime": "openvino", "precision": "int8"},
            "needs photos for the calibration; name a folder of photos",
        ),
        (
            {"runtime": "openvino", "precision": "int4"},
            "runtime=openvino is auto, fp32, bf16, fp16, int8; got 'int4'",
        ),
    ],
    ids=str,
)
def test_invalid_settings_are_refused(folder: Path, settings, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_stylizer(folder / "wave.safetensors", cache=folder / "cache", **settings)


def test_the_cache_is_where_the_system_wants_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "fast_style" or sys.platform != "linux"


@pytest.mark.parametrize(
    ("said", "allowed"), [(None, None), ("", None), ("0", None), ("many", None), ("3", 3), ("4,2", 4)]
)
def test_threads_are_what_the_environment_allows(monkeypatch, said, allowed) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert allowed_threads() == allowed


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_runtimes_take_no_more_threads_than_allowed(folder: Path, monkeypatch, threads: int) -> None:
    """Also for a cache that was filled with another number of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    compiled = load(folder, "openvino").runtime._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert load(folder, "onnxruntime").runtime._session.get_session_options().intra_op_num_threads == threads
