"""benchmarks/generator_search.py builds every candidate, and compares the figures of judges only."""

import pytest
import torch
from checkout import CHECKOUT, CONF
from generator_search import _is_compared, built, operations

from fast_style.networks.serialization import GENERATORS, load_network, save_network

CANDIDATES = sorted((CHECKOUT / "benchmarks/candidates").glob("*.yaml"))


@pytest.fixture(autouse=True)
def own_generators(monkeypatch):
    monkeypatch.setattr("generator_search.GENERATORS", dict(GENERATORS))


@pytest.mark.parametrize("file", CANDIDATES, ids=[file.stem for file in CANDIDATES])
def test_every_candidate_paints_any_size_and_can_be_trained(file) -> None:
    generator = built(file)
    painted = generator(torch.rand(2, 3, 37, 50))
    assert painted.shape == (2, 3, 37, 50)
    painted.square().sum().backward()
    assert all(value.grad is not None for value in generator.parameters())
    again = type(generator)(**generator.architecture)
    again.load_state_dict(generator.state_dict())


def test_operations_are_multiplications_with_an_addition() -> None:
    assert operations(built(CONF / "generator/fast.yaml")) == pytest.approx(2.86e9, rel=0.01)


def test_a_candidate_can_be_saved_and_loaded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("generator_search.GENERATORS", GENERATORS)
    monkeypatch.setitem(GENERATORS, "Candidate", GENERATORS["FastNet"])  # Undone after the test.
    generator = built(CANDIDATES[0])
    save_network(tmp_path / "network.safetensors", generator, origin={"style": "wave"})
    loaded, _ = load_network(tmp_path / "network.safetensors")
    assert type(loaded) is type(generator)


@pytest.mark.parametrize(
    ("figure", "compared"),
    [
        ("vgg16_hed/style/scale2", True),
        ("vgg16_hed/content", True),
        ("vgg16_hed/content/relu3_3", False),
        ("vgg16_hed/style/scale1/relu1_2", False),
        ("artefacts/dots", False),
        ("network/seconds", False),
    ],
)
def test_style_by_scale_and_content_of_judges_are_compared(figure, compared) -> None:
    assert _is_compared(figure) is compared
