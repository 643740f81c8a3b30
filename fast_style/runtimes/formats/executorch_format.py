"""ExecuTorch (`format=executorch`): PyTorch programs for phones, computed by XNNPACK on their CPUs."""

from pathlib import Path

import torch
from torch.export import Dim

from fast_style.runtimes.formats.file_format import EXAMPLE_SIDE, MULTIPLE, Export, ExportPrecision, Run, quiet

SUFFIX = ".pte"
NEEDED: tuple[str, ...] = ("executorch",)
EXTRA = "executorch"
PRECISIONS: tuple[ExportPrecision, ...] = ("fp32",)
SIZES = "up_to"


def write(export: Export, file: Path) -> None:
    """See `FileFormat`. The memory for the largest size is planned in the file, so a larger size needs more memory."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    assert export.size is not None
    smallest = -(-export.network.smallest // MULTIPLE)
    height, width = (
        MULTIPLE * Dim(name, min=smallest, max=side // MULTIPLE)
        for name, side in zip(("height", "width"), export.size, strict=True)
    )
    example = torch.rand(1, 3, EXAMPLE_SIDE, EXAMPLE_SIDE + MULTIPLE)
    with quiet():
        program = torch.export.export(export.network, (example,), dynamic_shapes=({2: height, 3: width},))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        file.write_bytes(lowered.to_executorch().buffer)


def read(file: Path) -> Run:
    """See `FileFormat`."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(file).load_method("forward")
    return lambda pictures: method.execute([torch.from_numpy(pictures)])[0].numpy()
