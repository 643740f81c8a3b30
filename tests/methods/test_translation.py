"""A translation that can be checked by number: two drawn collections that differ by a known change."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from translation_runs import translate

from fast_style import load_stylizer, save_image

SIZE = 48
STRIPES = 0.12


def plain(seed: int) -> Tensor:
    """A few soft patches on a ground, `(1, 3, SIZE, SIZE)`: bright in red, dim in blue."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 4, generator=generator)
    patches = F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)
    low, high = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.55, 0.3, 0.05), (0.95, 0.7, 0.35)))
    return low + (high - low) * patches


def changed(picture: Tensor) -> Tensor:
    """The known change: red and blue change places, and dark stripes of four pixels run down."""
    stripes = (torch.arange(picture.shape[-1]) % 4 < 2).float() * STRIPES
    return (picture.flip(1) - stripes).clamp(0, 1)


def collections(root: Path) -> Path:
    for number in range(40):
        save_image(plain(number), root / "trainA" / f"{number}.png")
        save_image(changed(plain(1000 + number)), root / "trainB" / f"{number}.png")
    for number in range(4):
        save_image(plain(2000 + number), root / "testA" / f"{number}.png")
        save_image(changed(plain(3000 + number)), root / "testB" / f"{number}.png")
    return root


def error(found: Tensor, wanted: Tensor) -> float:
    return (found - wanted).abs().mean().item()


@pytest.mark.slow
def test_held_out_pictures_are_translated_as_the_known_change_would(tmp_path: Path) -> None:
    root = collections(tmp_path / "plain2striped")
    outcome = translate(
        tmp_path,
        steps=600,
        val_every=600,
        checkpoint_every=600,
        **{
            "data.root": root,
            "data.size": SIZE,
            "data.load_size": SIZE,
            "data.batch_size": 2,
            "generator.width": 8,
            "generator.blocks": 1,
            "generator.output_gain": 1.0,
            "discriminator.width": 12,
            "discriminator.layers": 2,
            "method.identity_weight": 0,  # It would keep the colours that are to change.
            "method.pool": 50,
            "method.optimizer.lr": 2e-3,
        },
    )
    a2b, b2a = (load_stylizer(file, runtime="torch", precision="fp32") for file in outcome.network_files)
    pictures = torch.cat([plain(4000 + number) for number in range(16)])
    targets = changed(pictures)
    there = a2b(pictures)
    untranslated = error(pictures, targets)
    report = error(there, targets), untranslated, error(b2a(there), pictures), error(b2a(targets), pictures)
    print("translated, untranslated, cycle, back:", report)
    assert error(b2a(there), pictures) < 0.05
    assert error(there, targets) < 0.3 * untranslated
    assert error(b2a(targets), pictures) < 0.3 * untranslated
    assert error(b2a(there), pictures) < 0.2 * untranslated
