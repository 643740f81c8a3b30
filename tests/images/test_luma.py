"""Luma follows Rec. 601 for arrays and tensors, and the weights are defined once."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fast_style
from fast_style.images.color_transfer import luminance
from fast_style.images.luma import LUMA_WEIGHTS, luma_of


def test_arrays_tensors_and_pillow_agree() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    pixels = levels.astype(np.float32) / 255
    luma = luma_of(pixels)
    assert luma.shape == (5, 7)
    assert luma.dtype == np.float32
    tensor = luminance(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    np.testing.assert_allclose(tensor[0, 0].numpy(), luma, rtol=0, atol=1e-6)
    np.testing.assert_allclose(luma * 255, np.asarray(Image.fromarray(levels).convert("L")), rtol=0, atol=1)
    assert sum(LUMA_WEIGHTS) == pytest.approx(1)


def test_the_weights_are_defined_once() -> None:
    package = Path(fast_style.__file__).parent
    code = {path: re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL) for path in package.rglob("*.py")}
    assert [path.name for path, text in code.items() if re.search(r"\b0\.587\b", text)] == ["luma.py"]
