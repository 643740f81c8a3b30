"""An endless, seeded order of images: the next image depends only on the seed and the position.

So a run can stop anywhere and resume with the next image, with any number of workers or processes. torch's
`DistributedSampler` repeats images in the last batch of an epoch and has no position within one; torchdata's
`StatefulDataLoader` keeps one, but for each process by itself.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch.utils.data import Sampler

SampleIndex = tuple[int, int]  # (position in the whole run, index of the image)


class EpochOrder(Protocol):
    """The order of the images in each epoch; every call for the same epoch returns the same order."""

    def __len__(self) -> int:
        """Number of images; at least 1."""

    def order_of(self, epoch: int) -> Sequence[int]:
        """The indices of an epoch, one per image."""


class ShuffledOrder:
    """Every epoch is a new permutation of `length` images.

    Args:
        length: at least 1.
        seed: of the shuffling.
    """

    def __init__(self, length: int, *, seed: int) -> None:
        if length < 1:
            raise ValueError(f"An epoch order needs at least 1 image; got {length}.")
        self.length, self.seed = length, seed

    def __len__(self) -> int:
        """Number of images."""
        return self.length

    def order_of(self, epoch: int) -> Sequence[int]:
        """The permutation of an epoch."""
        return permutation(self.length, seed_of(self.seed, epoch))


class InfiniteSampler(Sampler[SampleIndex]):
    """Endless epochs over the images.

    Args:
        epoch_order: the order of each epoch.
        start: position of the first image, counted over all processes.
        rank, world_size: this process takes every `world_size`-th position, so that all processes together see what
            one process alone would see.
    """

    def __init__(self, epoch_order: EpochOrder, *, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if start < 0 or not 0 <= rank < world_size:
            raise ValueError(
                f"The sampler needs a start of at least 0 and a rank from 0 to world_size - 1; got "
                f"start={start}, rank={rank}, world_size={world_size}."
            )
        self.epoch_order, self.start = epoch_order, start
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[SampleIndex]:
        """Yield `(position, index)`."""
        position, epoch_shown = self.start + self.rank, -1
        order: Sequence[int] = ()
        while True:
            epoch, offset = divmod(position, len(self.epoch_order))
            if epoch != epoch_shown:
                order, epoch_shown = self.epoch_order.order_of(epoch), epoch
            yield position, order[offset]
            position += self.world_size


def permutation(length: int, seed: int) -> Sequence[int]:
    """The numbers below `length`, shuffled."""
    shuffled: list[int] = torch.randperm(length, generator=torch.Generator().manual_seed(seed)).tolist()
    return shuffled


def seed_of(seed: int, *position: int) -> int:
    """A seed for every position of a run; the same arguments always give the same seed."""
    # torch's generator uses only the low 32 bits of a seed, so all numbers must influence these bits.
    return random.Random("/".join(map(str, (seed, *position)))).getrandbits(32)
