"""The parts of benchmarks/gpu.py. Each runs in its own process; only `running` and `report` belong to the parent."""
