"""Made pictures from before, for a discriminator (Shrivastava et al. 2017)."""

from collections.abc import Mapping

import torch
from torch import Tensor


class ImagePool:
    """Shows a discriminator old pictures among new ones, so that it does not forget what generators did before.

    As Zhu et al. (2017): until it is full, each new picture is kept and shown. From then on, half of the time an old
    one is shown, and the new one takes its place; else the new one is shown and not kept.

    Args:
        size: how many pictures are kept; 50 in the paper, 0 shows new ones alone.
        seed: of a generator of its own, so that nothing else that is left to chance changes with it.

    Raises:
        ValueError: a size below 0.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        if size < 0:
            raise ValueError(f"method.pool_size is how many pictures are kept, 0 or more; got {size}.")
        self.size = size
        self._kept: list[Tensor] = []
        # On the CPU: where a picture lies must be known there, without waiting for a GPU.
        self._random = torch.Generator().manual_seed(seed)

    def reseed(self, seed: int) -> None:
        """Begin chance anew."""
        self._random.manual_seed(seed)

    def __len__(self) -> int:
        """How many pictures are kept now."""
        return len(self._kept)

    @torch.no_grad()
    def exchange(self, pictures: Tensor) -> Tensor:
        """New pictures `(N, C, H, W)` for as many to show, without gradients."""
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
        """Kept pictures, `(n, C, H, W)`, empty if there are none, and the generator's state."""
        kept = torch.stack(self._kept) if self._kept else torch.empty(0)
        return {"pictures": kept, "random": self._random.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with these.

        Raises:
            ValueError: more pictures than the pool holds.
        """
        if len(state["pictures"]) > self.size:
            raise ValueError(f"{len(state['pictures'])} pictures were kept, and this pool holds {self.size}.")
        # Copies, which do not keep all processes' pictures in memory.
        self._kept = [picture.clone() for picture in state["pictures"]] if len(state["pictures"]) else []
        # A copy: given a row of a larger tensor, torch (2.15) ends the process.
        self._random.set_state(state["random"].cpu().clone())


def _to_keep(picture: Tensor) -> Tensor:
    # A step that is not finite is skipped (nonfinite.py); its NaNs, black here, must not end up in a later one.
    return picture.nan_to_num()  # A copy.
