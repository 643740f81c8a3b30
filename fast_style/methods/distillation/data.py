"""Training images for a loss network: photos, paintings and stylized images, with strong augmentation."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from fast_style.data.datamodule import PhotoDataModule, PhotoSplit
from fast_style.data.dataset import Transform
from fast_style.data.image_folder import PictureFiles
from fast_style.data.sampler import seed_of
from fast_style.images.listing import find_pictures


class DistillationData(PhotoDataModule):
    """Augmented crops from several folders; each folder has its own sampling share.

    The output of a generator in training looks like no photo. A student trained on photos alone misjudges that output.

    Args:
        roots: folder trees with images.
        shares: relative sampling weight of each folder. None: proportional to the number of images.
        held_out_root: folder with validation images.
        jitter: maximum change of brightness, contrast and saturation, 0 to 1; hue changes by up to half of it.
        permute, blur, noise: share of crops, 0 to 1, that get permuted colour channels, blur, or noise.
    """

    def __init__(
        self,
        *,
        roots: Sequence[str],
        held_out_root: str,
        shares: Sequence[float] | None = None,
        held_out: int = 16,
        size: int = 128,
        batch_size: int = 8,
        crop_scale: Sequence[float] = (0.1, 1.0),
        flip: float = 0.5,
        jitter: float = 0.0,
        permute: float = 0.0,
        blur: float = 0.0,
        noise: float = 0.0,
        workers: int = 2,
        seed: int = 0,
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
        if not roots or (shares is not None and (len(shares) != len(roots) or min(shares) <= 0)):
            raise ValueError(
                "data.roots needs at least one folder, and data.shares one number above 0 per folder, or null (shares "
                f"by number of images); got {roots}, {shares}."
            )
        if not all(0 <= share <= 1 for share in (jitter, permute, blur, noise)):
            raise ValueError(
                "data.jitter, data.permute, data.blur and data.noise must be from 0 to 1; got "
                f"{jitter}, {permute}, {blur}, {noise}."
            )
        self.roots, self.shares, self.held_out_root = roots, shares, held_out_root
        self.jitter, self.permute, self.blur, self.noise = jitter, permute, blur, noise

    def photo_split(self) -> PhotoSplit:
        """List the files of all folders."""
        folders = [find_pictures(root) for root in self.roots]
        counts = [len(folder) for folder in folders]
        epoch_order = WeightedOrder(counts, self.shares or counts, seed=self.seed)
        kept = find_pictures(self.held_out_root)[: self.held_out]
        return PhotoSplit(
            PictureFiles([file for folder in folders for file in folder]), PictureFiles(kept), epoch_order
        )

    def augmentation(self) -> Transform:
        """Return crop and flip, then colour changes, then blur and noise."""
        j = self.jitter
        steps = [
            super().augmentation(),
            v2.RandomApply([v2.ColorJitter(j, j, j, j / 2)], p=0.5),
            v2.RandomApply([v2.RandomChannelPermutation()], p=self.permute),
            v2.RandomApply([v2.GaussianBlur(7, (0.3, 2.0))], p=self.blur),
            v2.RandomApply([v2.Lambda(_noisy)], p=self.noise),
        ]
        return v2.Compose(steps)  # type: ignore[no-any-return]


class WeightedOrder:
    """Random indices into concatenated lists: first draw a list by its share, then an item of it uniformly.

    Args:
        lengths: number of items in each list.
        shares: relative weight of each list; the weights need not sum to 1.
        seed: seed of the random draws.
    """

    def __init__(self, lengths: Sequence[int], shares: Sequence[float], *, seed: int) -> None:
        self.lengths, self.seed = torch.tensor(lengths), seed
        self.shares = torch.tensor(shares, dtype=torch.float64)

    def __len__(self) -> int:
        """Return the number of images."""
        return int(self.lengths.sum())

    def order_of(self, epoch: int) -> Sequence[int]:
        """Return one index per image. Sampling is with replacement, so images can repeat or be missing."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
        lists = torch.multinomial(self.shares, len(self), replacement=True, generator=generator)
        within = torch.rand(len(self), generator=generator, dtype=torch.float64) * self.lengths[lists]
        starts = self.lengths.cumsum(0) - self.lengths
        order: list[int] = (starts[lists] + within.long()).tolist()
        return order


def _noisy(pixels: Tensor) -> Tensor:
    """Add white noise to a uint8 image; its standard deviation is random, up to 0.12 (of 255)."""
    noise = torch.randn(pixels.shape) * (0.12 * 255 * torch.rand(()))
    return (pixels + noise).round().clamp(0, 255).to(torch.uint8)
