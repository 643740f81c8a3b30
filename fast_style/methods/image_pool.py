"""Pool of earlier fake images for a discriminator (Shrivastava et al. 2017)."""

from collections.abc import Mapping

import torch
from torch import Tensor


class ImagePool:
    """Mix old fake images into the batches of a discriminator, so that it does not forget earlier generators.

    As in Zhu et al. (2017): until the pool is full, it keeps and returns each new image. After that, with probability
    0.5, it returns a random old image and keeps the new image in its place. Otherwise it returns the new image and does
    not keep it.

    Args:
        size: images in the pool; 50 in the paper. 0 returns only new images.
        seed: seed of the pool's own random generator, so that the pool does not change other random numbers.

    Raises:
        ValueError: a size below 0.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        if size < 0:
            raise ValueError(f"method.pool_size (images kept per side) must be 0 or more; got {size}.")
        self.size = size
        self._kept: list[Tensor] = []
        # On the CPU: the CPU needs the random index, and must not wait for a GPU.
        self._random = torch.Generator().manual_seed(seed)

    def reseed(self, seed: int) -> None:
        """Restart the random generator from this seed."""
        self._random.manual_seed(seed)

    def __len__(self) -> int:
        """Return the number of images in the pool now."""
        return len(self._kept)

    @torch.no_grad()
    def exchange(self, pictures: Tensor) -> Tensor:
        """Take new images `(N, C, H, W)` and return the same number of images to show, without gradients."""
        return (
            torch.stack([self._exchanged(picture) for picture in pictures.detach()]) if self.size else pictures.detach()
        )

    def _exchanged(self, picture: Tensor) -> Tensor:
        if len(self._kept) < self.size:
            self._kept.append(_to_keep(picture))
            return picture
        if torch.rand(1, generator=self._random, dtype=torch.float32) <= 0.5:
            return picture
        place = int(torch.randint(self.size, (1,), generator=self._random))
        old, self._kept[place] = self._kept[place], _to_keep(picture)
        return old.to(picture)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the images `(n, C, H, W)`, or an empty tensor, and the state of the random generator."""
        kept = torch.stack(self._kept) if self._kept else torch.empty(0)
        return {"pictures": kept, "random": self._random.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the images and the random generator.

        Raises:
            ValueError: more images than the pool holds.
        """
        if len(state["pictures"]) > self.size:
            raise ValueError(
                f"The saved pool has {len(state['pictures'])} images, but this pool holds only {self.size}: use the "
                "method.pool_size of the saved run."
            )
        # Copies: views would keep the images of all ranks in memory.
        self._kept = [picture.clone() for picture in state["pictures"]] if len(state["pictures"]) else []
        # A copy: torch 2.15 crashes the process if the state is a row of a larger tensor.
        self._random.set_state(state["random"].cpu().clone())


def _to_keep(picture: Tensor) -> Tensor:
    # The training skips a step that is not finite (nonfinite.py). Its NaNs become 0, so that later steps stay finite.
    return picture.nan_to_num()  # A copy.
