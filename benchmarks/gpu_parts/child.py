"""The process of one part: python -m gpu_parts.child MODULE, with the request as JSON on standard input.

It imports first and then waits for the request, so that the imports of a part run while the part before it measures.
"""

import importlib
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from gpu_parts.figures import Figures, sentence
from gpu_parts.sizes import DRY, Sizes


def _end_with_the_parent(parent: int) -> None:
    """End this process and its children when the parent has died, even by kill -9."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if os.getpgid(0) == os.getpid():  # Not the group of a shell in which somebody tries a part.
        os.killpg(0, 9)
    os._exit(1)


def _trace_only() -> None:
    """Let torch.compile trace networks and their gradients, but generate no code, which takes a minute on a CPU."""
    import torch._inductor.compile_fx
    from torch._dynamo.backends.debugging import aot_eager

    def traced(graph: Any, inputs: Any, **_options: Any) -> Any:
        return aot_eager(graph, inputs)

    torch._inductor.compile_fx.compile_fx = traced


def main(name: str) -> int:
    """Import and measure one part; return the exit code."""
    threading.Thread(target=_end_with_the_parent, args=(os.getppid(),), daemon=True).start()
    began, problem = time.monotonic(), None
    try:
        module = importlib.import_module(name)
    except Exception as error:
        problem = error
    imported = time.monotonic() - began
    line = sys.stdin.readline()
    if not line:
        return 0  # The parent has no time left for this part.
    asked = json.loads(line)
    figures = Figures(
        file=Path(asked["file"]),
        sizes=DRY if asked["dry"] else Sizes(),
        folder=Path(asked["folder"]),
        earlier=asked["earlier"],
        limit=asked["limit"],
        imported=imported,
    )
    figures.write()
    try:
        if problem:
            raise problem
        if figures.sizes.dry and "torch" in sys.modules:
            _trace_only()
        module.measure(figures)
    except Exception as error:
        traceback.print_exc()
        figures.write(error=sentence(error))
        return 1
    figures.write()
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of a profiler or a compiler must not keep a finished part alive.
    os._exit(code)
