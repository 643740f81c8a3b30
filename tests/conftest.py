"""What several tests share."""

import os
import sys
from pathlib import Path

import absl.logging
import pytest
import torch
from torch import nn

from fast_style import save_image
from fast_style.networks.loss_network import LossNetwork

# TensorBoard brings absl, whose log handler closes the stream that it was made under when Hydra sets logging up: that
# is pytest's own, unless it is the system's.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

SHARED = Path(os.environ.get("FAST_STYLE_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _one_cache_of_our_own(tmp_path_factory: pytest.TempPathFactory):
    """What runtimes prepare of the same network is prepared once, and nothing goes into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def tiny_loss_network():
    """Random layers of both kinds of depth: `conv1`, `relu1`, `pool1`, `conv2`, `relu2`."""
    return LossNetwork(
        [
            ("conv1", nn.Conv2d(3, 4, 3, padding=1)),
            ("relu1", nn.ReLU()),
            ("pool1", nn.MaxPool2d(2)),
            ("conv2", nn.Conv2d(4, 6, 3, padding=1)),
            ("relu2", nn.ReLU()),
        ],
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.25),
    )


@pytest.fixture
def photo_folder(tmp_path):
    """Ten small photos of different sizes in a tree; every one has a colour of its own."""
    root = tmp_path / "photos"
    for i in range(10):
        pixels = torch.rand(1, 3, 20 + i, 30 - i) * 0.2 + torch.tensor([i / 15, 0.3, 0.7 - i / 15]).view(1, 3, 1, 1)
        save_image(pixels, root / ("flat" if i % 2 else "nested/deep") / f"{i}{'.png' if i % 3 else '.jpg'}")
    return root
