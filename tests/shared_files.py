"""The folder of photos, paintings and weights that tests marked `shared` need."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("FAST_STYLE_SHARED", Path(__file__).parents[2] / "shared"))
