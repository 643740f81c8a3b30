"""OpenVINO as it is imported here."""

import sys
from types import ModuleType


def import_openvino() -> ModuleType:
    """OpenVINO, without the package that tells its maker of every import and keeps an identity in the home folder.

    Without that package OpenVINO takes a stub of its own; painting is nobody else's business, and works offline.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # An ImportError, to whoever asks.
    import openvino

    return openvino  # type: ignore[no-any-return]
