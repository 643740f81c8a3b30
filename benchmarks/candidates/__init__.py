"""Generators that were tried for generator=fast; `benchmarks/generator_search.py` measures them."""
