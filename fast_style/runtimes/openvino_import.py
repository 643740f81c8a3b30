"""Import OpenVINO without its telemetry package."""

import sys
from types import ModuleType


def import_openvino() -> ModuleType:
    """Import OpenVINO without `openvino_telemetry`, which reports every import and stores an ID in the home folder.

    OpenVINO uses its own stub if that package is missing. Stylizing thus makes no network connection.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # Importing it raises ImportError.
    import openvino

    return openvino  # type: ignore[no-any-return]
