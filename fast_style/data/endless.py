"""An endless, seeded order of pictures: what comes next depends on the seed and the position, nothing else.

So a run can stop anywhere and go on with the very next picture, with any number of workers or processes.
"""

import random
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

Place = tuple[int, int]  # (position in the whole run, index of the picture)


class EndlessOrder(Sampler[Place]):
    """Shuffled passes over `length` pictures without end.

    Args:
        length: number of pictures; at least 1.
        seed: of the shuffling.
        start: position of the first picture, counted over all processes.
        rank, world_size: this process takes every `world_size`-th position, so that together the processes see what
            one would see alone.
    """

    def __init__(self, length: int, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if length < 1 or start < 0 or not 0 <= rank < world_size:
            raise ValueError(
                f"An order needs pictures, a start from 0 and a rank below the world size; got "
                f"length={length}, start={start}, rank={rank}, world_size={world_size}."
            )
        self.length, self.seed, self.start = length, seed, start
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[Place]:
        """Yield `(position, index)`."""
        position, pass_shown = self.start + self.rank, -1
        order: list[int] = []
        while True:
            pass_number, offset = divmod(position, self.length)
            if pass_number != pass_shown:
                order, pass_shown = self._order_of(pass_number), pass_number
            yield position, order[offset]
            position += self.world_size

    def _order_of(self, pass_number: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, pass_number))
        order: list[int] = torch.randperm(self.length, generator=generator).tolist()
        return order


def seed_of(seed: int, position: int) -> int:
    """A seed of its own for every position of a run; the same one each time."""
    # torch's generator keeps the low 32 bits of a seed alone, so both numbers must reach them.
    return random.Random(f"{seed}/{position}").getrandbits(32)
