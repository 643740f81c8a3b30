"""Image input and output: files, arrays and tensors. This module imports nothing, so it loads without torch."""
