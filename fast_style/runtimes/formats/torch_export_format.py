"""PyTorch's own format (`format=torch_export`), for `torch.export.load`."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from fast_style.runtimes.formats.file_format import Export, ExportPrecision, Run, exported

SUFFIX = ".pt2"
NEEDED: tuple[str, ...] = ()
EXTRA = ""
PRECISIONS: tuple[ExportPrecision, ...] = ("fp32", "fp16")
SIZES = "any"


def write(export: Export, file: Path) -> None:
    """See `FileFormat`."""
    program = exported(export.network if export.precision == "fp32" else _Halved(export.network))
    torch.export.save(program, file, extra_files={"fast_style.json": json.dumps(dict(export.about))})


def read(file: Path) -> Run:
    """See `FileFormat`."""
    network = torch.export.load(file).module()
    return lambda pictures: network(torch.from_numpy(pictures)).detach().numpy()


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
