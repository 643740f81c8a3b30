"""Export a trained network for another runtime, and check the file against PyTorch before it gets its name."""

import copy
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_style.networks.generator import Generator
from fast_style.runtimes.openvino_import import import_openvino

Format = Literal["onnx", "openvino", "torch_export"]
WeightPrecision = Literal["fp32", "fp16"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch_export": ".pt2"}
NEEDED: dict[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "torch_export": (),
}
#: Batch size, height and width of the two checks: one image and two, even and odd sides.
SIZES = ((1, 96, 128), (2, 131, 77))
#: Largest allowed difference, of 1.0. Its causes: another order of summation, and weights rounded to fp16.
TOLERANCES: dict[WeightPrecision, float] = {"fp32": 1e-4, "fp16": 2e-3}
#: Approximate side in pixels of the image that the graph is traced with.
_EXAMPLE = 64
OPSET = 18  # The lowest opset with all needed operators: older opsets run in more programs.


class ParityError(ValueError):
    """The exported network differs from PyTorch by more than the tolerance."""


@dataclass(frozen=True)
class Parity:
    """Largest absolute difference, of 1.0, from PyTorch in float32, for an input of `shape` `(N, 3, H, W)`."""

    shape: tuple[int, ...]
    difference: float


def export(
    network: Generator,
    target: str | os.PathLike[str],
    *,
    origin: Mapping[str, str],
    format: Format = "onnx",
    precision: WeightPrecision = "fp32",
) -> list[Parity]:
    """Export a network for any batch size and any image size from its smallest size up, including odd sizes.

    Args:
        network: maps `(N, 3, H, W)` in 0..1 to the same shape and range.
        target: the file; its folder is created if missing. OpenVINO writes a second file next to it, `.bin`.
        origin: metadata for the file; a description of input and output is added.
        format: `onnx` runs in most programs, and in browsers; `openvino`; `torch_export` is for torch.export.load.
        precision: of the stored weights; `fp16` needs half the bytes. The runtime chooses the precision of computing.

    Returns:
        The differences of the written file from PyTorch.

    Raises:
        ValueError: an unknown format, or a missing package; ParityError above the tolerance. Then nothing is written.
    """
    check_installed(format)
    if precision not in get_args(WeightPrecision):
        raise ValueError(f"precision is one of {', '.join(get_args(WeightPrecision))}; got {precision!r}.")
    target = Path(target)
    if target.suffix != SUFFIXES[format]:
        raise ValueError(f"A file of format={format} ends in {SUFFIXES[format]}; got {target.name}.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ValueError(
            f"Expected a folder for {target.name} at {error.filename}, found a file; name another output."
        ) from error
    network = copy.deepcopy(network).eval().cpu()
    about = describe(origin, precision, smallest=network.smallest)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}-", dir=target.parent) as folder:
        file = Path(folder) / target.name
        WRITERS[format](network, file, about, precision)
        parities = parity(network, READERS[format](file))
        worst = max(p.difference for p in parities)
        if not worst <= TOLERANCES[precision]:
            raise ParityError(
                f"The {format} file differs from PyTorch by {worst:.2g}, and {TOLERANCES[precision]:g} is allowed; "
                "nothing was written. Try another version of the exporting package, or another format."
            )
        # The main file last: when it appears, its .bin file is already there.
        for part in sorted(Path(folder).iterdir(), key=lambda part: part == file):
            part.replace(target.parent / part.name)
    return parities


def check_installed(format: Format) -> None:
    """Raise a ValueError for an unknown format, or if its packages are not installed."""
    if format not in get_args(Format):
        raise ValueError(f"format is one of {', '.join(get_args(Format))}; got {format!r}.")
    missing = [package for package in NEEDED[format] if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"format={format} needs {' and '.join(missing)}, not installed here: pip install 'fast_style[{format}]'."
        )


def describe(origin: Mapping[str, str], precision: WeightPrecision, *, smallest: int) -> dict[str, str]:
    """Metadata of the file: origin of the network, input and output."""
    return {
        **{name: origin[name] for name in ("style", "direction", "recipe", "version") if name in origin},
        "input": f"pictures: float32 (N, 3, H, W), RGB (sRGB), 0 to 1, H and W at least {smallest}",
        "output": "painted: the same shape and range",
        "weights": precision,
    }


def parity(network: nn.Module, run: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> list[Parity]:
    """Differences of `run` from `network` at `SIZES`, on gradients with noise, which cover the range 0..1."""
    result = []
    for count, height, width in SIZES:
        generator = np.random.default_rng(height)
        slopes = np.add.outer(np.linspace(0, 0.5, height), np.linspace(0, 0.5, width))
        pictures = (0.7 * slopes + 0.3 * generator.random((count, 3, height, width))).astype(np.float32)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(pictures)).numpy()
        result.append(Parity(pictures.shape, float(np.abs(run(pictures) - wanted).max())))
    return result


def exported(network: nn.Module) -> torch.export.ExportedProgram:
    """The network as one graph of torch operations with dynamic batch, height and width."""
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    # Batch 2 and two different sizes, so that torch.export does not treat a dimension as constant.
    example = torch.rand(2, 3, _EXAMPLE + 1, _EXAMPLE + 6)
    with _quiet():
        return torch.export.export(
            network, (example,), dynamic_shapes=(sizes,), prefer_deferred_runtime_asserts_over_guards=True
        )


def onnx_bytes(network: nn.Module, about: Mapping[str, str], precision: WeightPrecision) -> bytes:
    """The ONNX model: standard operators only, with computed weights folded into constants."""
    import onnxscript.optimizer

    with _quiet():
        program = torch.onnx.export(
            exported(network), opset_version=OPSET, input_names=["pictures"], output_names=["painted"], verbose=False
        )
        assert program is not None
        # The default limits skip large weights. The upsampling kernels would then be recomputed in every call.
        onnxscript.optimizer.optimize(program.model, input_size_limit=2**30, output_size_limit=2**30)
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True):
            if name:
                dim.dim_param = name
    if precision == "fp16":
        _halve(model.graph)
    for name, text in about.items():
        model.metadata_props.add(key=name, value=text)
    content: bytes = model.SerializeToString()
    return content


def _halve(graph: Any) -> None:
    """Store large weights in float16, with a cast to float32 that every runtime computes once."""
    from onnx import TensorProto, helper, numpy_helper

    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 256:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.fp16"))
            graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))


class _Halved(nn.Module):
    """A network with weights stored in float16 and cast to float32 in every call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.names = list(network.state_dict())
        self.weights = nn.ParameterList(
            nn.Parameter(tensor.half(), requires_grad=False) for tensor in network.state_dict().values()
        )
        self.run = [network]  # In a list, so that its float32 weights are not registered and stored.

    def forward(self, pictures: Tensor) -> Tensor:
        weights = {name: weight.float() for name, weight in zip(self.names, self.weights, strict=True)}
        painted: Tensor = torch.func.functional_call(self.run[0], weights, (pictures,))
        return painted


def _write_onnx(network: nn.Module, file: Path, about: Mapping[str, str], precision: WeightPrecision) -> None:
    file.write_bytes(onnx_bytes(network, about, precision))


def _write_openvino(network: nn.Module, file: Path, about: Mapping[str, str], precision: WeightPrecision) -> None:
    openvino = import_openvino()
    model = openvino.Core().read_model(onnx_bytes(network, {}, "fp32"))
    for name, text in about.items():
        model.set_rt_info(text, ["fast_style", name])
    openvino.save_model(model, file, compress_to_fp16=precision == "fp16")


def _write_torch(network: nn.Module, file: Path, about: Mapping[str, str], precision: WeightPrecision) -> None:
    program = exported(network if precision == "fp32" else _Halved(network))
    torch.export.save(program, file, extra_files={"fast_style.json": json.dumps(about)})


def _run_onnx(file: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda pictures: session.run(None, {"pictures": pictures})[0]


def _run_openvino(file: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    openvino = import_openvino()
    model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pictures: model([pictures])[0]


def _run_torch(file: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    network = torch.export.load(file).module()
    return lambda pictures: network(torch.from_numpy(pictures)).detach().numpy()


WRITERS = {"onnx": _write_onnx, "openvino": _write_openvino, "torch_export": _write_torch}
READERS = {"onnx": _run_onnx, "openvino": _run_openvino, "torch_export": _run_torch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and log messages of the exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
