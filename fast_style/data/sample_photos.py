"""Batches of content photos without a download: the bundled sample photos, and synthetic images."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2

from fast_style.data.bundled_files import find_bundled
from fast_style.data.datamodule import PhotoDataModule, PhotoSplit
from fast_style.data.dataset import Pictures, Transform
from fast_style.data.image_folder import PictureFiles
from fast_style.data.sampler import SampleIndex, ShuffledOrder
from fast_style.data.synthetic import SyntheticPictures, dead_leaves, flat, gradient
from fast_style.images.tensors import load_pixels

#: Number of times that an epoch shows each photo: enough for the shares of synthetic images to be met closely.
ROUNDS = 20


#: Folder of the sample photos; `README.md` there states the terms of each.
FOLDER = Path("data/samples")
#: The first `held_out` photos are for validation, the others for training.
SAMPLE_PHOTOS = (
    "rocket.jpg",
    "coffee.png",
    "chelsea.png",
    "astronaut.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
    "camera.png",
    "grass.png",
    "gravel.png",
    "brick.png",
    "coins.png",
)


class SamplePhotos(PhotoDataModule):
    """The 12 bundled photos with strong crops and colour changes, and synthetic images.

    The first `held_out` of `SAMPLE_PHOTOS` are the validation photos. They are few: their losses compare one run with
    another, and say little about photos in general.

    Args:
        synthetic: share of synthetic images among the training images, from 0 to less than 1.
        gradients, flat: shares of gradients and flat colours among the synthetic images; the rest are dead leaves.
        permute: share of the crops with permuted colour channels.
        brightness, contrast, saturation: largest relative change, up or down, from 0 to 1.
        hue: largest shift in either direction, as a fraction of the colour circle, at most 0.5.
        tint: each channel is raised to a power from `1 / (1 + tint)` to `1 + tint`; this gives grey photos colour.
    """

    def __init__(
        self,
        *,
        held_out: int = 2,
        size: int = 256,
        batch_size: int = 4,
        crop_scale: Sequence[float] = (0.2, 1.0),
        flip: float = 0.5,
        workers: int = 2,
        seed: int = 0,
        synthetic: float = 0.0,
        gradients: float = 0.0,
        flat: float = 0.0,
        permute: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        tint: float = 0.0,
    ) -> None:
        super().__init__(
            held_out=held_out,
            size=size,
            batch_size=batch_size,
            crop_scale=crop_scale,
            flip=flip,
            workers=workers,
            seed=seed,
        )
        _check_shares(gradients=gradients, flat=flat, permute=permute)
        _check_shares(brightness=brightness, contrast=contrast, saturation=saturation)
        if held_out >= len(SAMPLE_PHOTOS):
            raise ValueError(
                f"data.held_out={held_out} leaves none of the {len(SAMPLE_PHOTOS)} photos for training; lower it."
            )
        if not 0 <= synthetic < 1 or gradients + flat > 1:
            raise ValueError(
                "data.synthetic must be a share from 0 to less than 1, and data.gradients and data.flat must add up to "
                f"1 at most; got data.synthetic={synthetic}, data.gradients={gradients}, data.flat={flat}."
            )
        if not 0 <= hue <= 0.5 or tint < 0:
            raise ValueError(f"data.hue must be from 0 to 0.5 and data.tint at least 0; got {hue} and {tint}.")
        self.synthetic, self.gradients, self.flat, self.permute = synthetic, gradients, flat, permute
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.hue, self.tint = hue, tint

    def photo_split(self) -> PhotoSplit:
        """Read the photos; they stay in memory, 15 MB in total."""
        files = sample_files()
        photos = RepeatedPhotos(files[self.held_out :], synthetic=self._synthetic_beside(len(files) - self.held_out))
        kept = PictureFiles(files[: self.held_out])
        return PhotoSplit(photos, kept, ShuffledOrder(len(photos), seed=self.seed))

    def augmentation(self) -> Transform:
        """Crops and flips as for all photos, then colour changes."""
        permuted = v2.RandomApply([v2.RandomChannelPermutation()], p=self.permute)
        jitter = v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue)
        # Tint first, so that the other changes also act on grey photos.
        return v2.Compose([super().augmentation(), Tint(self.tint), permuted, jitter])  # type: ignore[no-any-return]

    def _synthetic_beside(self, photos: int) -> SyntheticPictures:
        count = round(ROUNDS * photos * self.synthetic / (1 - self.synthetic))
        calm = [(gradient, round(count * self.gradients)), (flat, round(count * self.flat))]
        leaves = count - sum(number for _, number in calm)
        # 1.5 times the size of a training crop, so that a crop of average area is hardly resized.
        return SyntheticPictures([(dead_leaves, leaves), *calm], size=self.size * 3 // 2, seed=self.seed)


class RepeatedPhotos:
    """Each photo `ROUNDS` times, followed by synthetic images.

    Args:
        files: the photos; decoded once, because decoding a PNG takes as long as everything else together.
        synthetic: the synthetic images.
    """

    def __init__(self, files: Sequence[str], *, synthetic: Pictures) -> None:
        self.files, self.synthetic = files, synthetic
        self.photos = [load_pixels(file) for file in files]

    def __len__(self) -> int:
        """Number of images in an epoch."""
        return ROUNDS * len(self.files) + len(self.synthetic)

    def name_of(self, index: int) -> str:
        """The path of a photo, or the kind of a synthetic image."""
        beyond = index - ROUNDS * len(self.files)
        return self.files[index % len(self.files)] if beyond < 0 else self.synthetic.name_of(beyond)

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """The pixels of a photo, shared by all callers, or a newly drawn synthetic image."""
        position, index = place
        beyond = index - ROUNDS * len(self.files)
        if beyond < 0:
            return self.photos[index % len(self.files)]
        return self.synthetic.load((position, beyond), at_least=at_least)


class Tint(torch.nn.Module):
    """Raise each channel of uint8 `(3, H, W)` to a random power of its own, as different light or film would.

    Args:
        strength: the power is from `1 / (1 + strength)` to `1 + strength`, uniform in its logarithm.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the recoloured image; black and white are unchanged."""
        powers = (1 + self.strength) ** (2 * torch.rand(3, 1) - 1)
        levels = torch.linspace(0, 1, 256) ** powers  # 256 powers per channel instead of one per pixel.
        table = levels.mul(255).round().to(torch.uint8)
        return torch.stack([row[plane.int()] for row, plane in zip(table, pixels, strict=True)])


def sample_files() -> list[str]:
    """Paths of `SAMPLE_PHOTOS`.

    Raises:
        ValueError: photos are missing.
    """
    folder = find_bundled(FOLDER)
    missing = [name for name in SAMPLE_PHOTOS if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"data=samples needs {', '.join(missing)} in {folder}, found nothing; run the command in the checkout, or "
            "train on your own photos: data=folder data.root=my/photos."
        )
    return [str(folder / name) for name in SAMPLE_PHOTOS]


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"data.{name} must be a share from 0 to 1; got {share}.")
