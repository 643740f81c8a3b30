"""An endless, seeded order of pictures: what comes next depends on the seed and the position, nothing else.

So a run can stop anywhere and go on with the very next picture, with any number of workers or processes.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch.utils.data import Sampler

SampleIndex = tuple[int, int]  # (position in the whole run, index of the picture)


class EpochOrder(Protocol):
    """In what order each pass shows the pictures; the same one whoever asks, and when."""

    def __len__(self) -> int:
        """Number of pictures; at least 1."""

    def order_of(self, epoch: int) -> Sequence[int]:
        """As many indices as there are pictures."""


class ShuffledOrder:
    """Every pass is a new permutation of `length` pictures.

    Args:
        length: at least 1.
        seed: of the shuffling.
    """

    def __init__(self, length: int, *, seed: int) -> None:
        if length < 1:
            raise ValueError(f"An order needs pictures; got {length}.")
        self.length, self.seed = length, seed

    def __len__(self) -> int:
        """Number of pictures."""
        return self.length

    def order_of(self, epoch: int) -> Sequence[int]:
        """The permutation of a pass."""
        return permutation(self.length, seed_of(self.seed, epoch))


class InfiniteSampler(Sampler[SampleIndex]):
    """Epochs over the pictures without end.

    Args:
        epoch_order: the order of each pass.
        start: position of the first picture, counted over all processes.
        rank, world_size: this process takes every `world_size`-th position, so that together the processes see what
            one would see alone.
    """

    def __init__(self, epoch_order: EpochOrder, *, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if start < 0 or not 0 <= rank < world_size:
            raise ValueError(
                f"An order needs a start from 0 and a rank below the world size; got "
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
    """A seed of its own for every position of a run; the same one each time."""
    # torch's generator keeps the low 32 bits of a seed alone, so all numbers must reach them.
    return random.Random("/".join(map(str, (seed, *position)))).getrandbits(32)
