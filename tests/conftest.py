"""Shared fixtures."""

import os
import sys

import absl.logging
import pytest
import torch
from exported_networks import Exports
from torch import nn

from fast_style import save_image
from fast_style.networks.loss_network import LossNetwork

# TensorBoard imports absl. The log handler of absl closes its stream when Hydra configures logging. Without this line,
# that stream would be the one of pytest.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _one_cache_of_our_own(tmp_path_factory: pytest.TempPathFactory):
    """Share one cache of prepared runtimes between all tests, and keep the user's cache untouched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    base = tmp_path_factory.getbasetemp()
    # pytest-xdist gives each worker a folder of its own below the one of the run.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exports"
    folder.mkdir(exist_ok=True)
    return Exports(folder)


@pytest.fixture
def tiny_loss_network():
    """A loss network with random layers before and after a pooling: `conv1`, `relu1`, `pool1`, `conv2`, `relu2`."""
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
    """Ten small photos in a folder tree, each with its own size and colour."""
    root = tmp_path / "photos"
    for i in range(10):
        pixels = torch.rand(1, 3, 20 + i, 30 - i) * 0.2 + torch.tensor([i / 15, 0.3, 0.7 - i / 15]).view(1, 3, 1, 1)
        save_image(pixels, root / ("flat" if i % 2 else "nested/deep") / f"{i}{'.png' if i % 3 else '.jpg'}")
    return root
