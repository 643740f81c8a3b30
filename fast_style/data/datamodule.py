"""Batches without end for the methods that learn, and of photos for those that learn a style, wherever they lie."""

import logging
import os
import signal
import sys
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from fast_style.data.dataset import PhotoDataset, Photos, Pictures, Transform, collate, shortest_side_needed
from fast_style.data.sampler import EpochOrder, InfiniteSampler, SampleIndex

log = logging.getLogger(__name__)

#: How workers start, said outright: within joblib's processes the default is joblib's own, which fails here.
_START = "fork" if sys.platform == "linux" else "spawn"


class PhotoSplit(NamedTuple):
    """Pictures to train on, in the order of `epoch_order`, and others to validate with."""

    training: Pictures
    validation: Pictures
    epoch_order: EpochOrder


class Samples(Protocol):
    """Pictures ready to be trained on, by `(position, index)`; equal sizes, so that they can be batched."""

    def __len__(self) -> int:
        """How many a pass shows."""

    def __getitem__(self, place: SampleIndex) -> Photos:
        """The one at a place."""


class Split(NamedTuple):
    """What to train on, in the order of `epoch_order`, and what to validate with."""

    training: Samples
    validation: Samples
    epoch_order: EpochOrder


class InfiniteDataModule(pl.LightningDataModule):
    """Batches to train on without end, and the same held-out pictures each time to look at.

    Batches reach the method as float32 in 0..1. The checkpoint carries the position in the data. What is in a batch is
    each subclass' matter.

    Args:
        held_out: how many pictures to validate with.
        size: pixels a side of what is trained on.
        batch_size: pictures a step and process.
        workers: loading processes; 0 loads in the training process.
        seed: of the order, and of all else that is left to chance.
    """

    def __init__(self, *, held_out: int, size: int, batch_size: int, workers: int, seed: int) -> None:
        super().__init__()
        if min(size, batch_size, held_out) < 1 or workers < 0:
            raise ValueError(
                "data.size, data.batch_size and data.held_out are at least 1 and data.workers at least 0; got "
                f"{size}, {batch_size}, {held_out}, {workers}."
            )
        self.held_out, self.size, self.batch_size, self.workers, self.seed = held_out, size, batch_size, workers, seed
        self._opened = False
        self.batches_seen = 0
        #: Files that could not be read, in the order they were met.
        self.unreadable: dict[str, None] = {}
        self._files: deque[tuple[str, ...]] = deque(maxlen=256)

    @abstractmethod
    def build_split(self) -> Split:
        """Find the pictures; ValueError where there are none."""

    def setup(self, stage: str = "fit") -> None:
        """Find the pictures, once: listing 120,000 takes a second."""
        if self._opened:
            return
        self.training, self.validation, self.epoch_order = self.build_split()
        # Here, where the sentence reaches a person, and not from within a worker.
        self.training[next(iter(InfiniteSampler(self.epoch_order)))], self.validation[0, 0]
        self._opened = True

    def train_dataloader(self) -> DataLoader[Photos]:
        """Batches without end, from where a resumed run stopped."""
        world = self.trainer.world_size if self.trainer else 1
        order = InfiniteSampler(
            self.epoch_order,
            start=self.batches_seen * self.batch_size * world,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=world,
        )
        return self._loader(self.training, sampler=order, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[Photos]:
        """The held-out pictures, always the same and in the same order."""
        places = [(index, index) for index in range(len(self.validation))]
        # One worker is enough for so few, and keeps the decoding out of the training process here too.
        return self._loader(self.validation, sampler=places, num_workers=min(self.workers, 1))

    def _loader(self, pictures: Samples, **options: Any) -> DataLoader[Photos]:
        return DataLoader(
            pictures,  # type: ignore[arg-type] # Any with a length and items.
            batch_size=self.batch_size,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=options["num_workers"] > 0,
            multiprocessing_context=_START if options["num_workers"] else None,
            worker_init_fn=_leave_interrupts_to_the_trainer,
            generator=torch.Generator(),  # Not the global one: looking at data must not move it.
            **options,
        )

    def on_after_batch_transfer(self, batch: Photos, dataloader_idx: int) -> Tensor:
        """Bring a batch into the convention, on the device; note where it came from and what could not be read."""
        if self.trainer is not None and self.trainer.training:
            self.batches_seen += 1
            self._files.append(batch.files)
        for file in batch.unreadable:
            if file not in self.unreadable:
                log.warning("%s can't be read and is skipped.", file)
            self.unreadable[file] = None
        return batch.pixels.float() / 255

    @property
    def number(self) -> int:
        """How many pictures there are to train on; another one when a run goes on, and others would follow."""
        return len(self.training)

    def files_of(self, batches_back: int = 0) -> tuple[str, ...]:
        """The files of the training batch that came last, or so many batches before; () once it is forgotten."""
        return self._files[-1 - batches_back] if batches_back < len(self._files) else ()

    def state_dict(self) -> dict[str, Any]:
        """Where in the data the run is."""
        return {
            "batches_seen": self.batches_seen,
            "unreadable": list(self.unreadable),
            "photos": self.number if self._opened else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.batches_seen = state_dict["batches_seen"]
        self.unreadable = dict.fromkeys(state_dict["unreadable"])
        before, now = state_dict.get("photos"), self.number if self._opened else None
        if None not in (before, now) and before != now:
            log.warning("There were %s photos to train on when this was saved, and %s now: others follow.", before, now)


class PhotoDataModule(InfiniteDataModule):
    """Random crops of photos, `(N, 3, size, size)`. Where the photos lie is each subclass' matter.

    Args:
        held_out: how many photos to validate with.
        size: pixels a side of a training crop.
        batch_size: photos a step and process.
        crop_scale: smallest and largest share of a photo's area that a crop takes.
        flip: share of the crops that are mirrored.
        workers: loading processes; 0 loads in the training process.
        seed: of order and crops.
    """

    def __init__(
        self,
        *,
        held_out: int,
        size: int,
        batch_size: int,
        crop_scale: Sequence[float],
        flip: float,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__(held_out=held_out, size=size, batch_size=batch_size, workers=workers, seed=seed)
        self.crop_scale, self.flip = tuple(crop_scale), flip

    @abstractmethod
    def photo_split(self) -> PhotoSplit:
        """Find the photos and part them into training and held-out ones; ValueError where there are none."""

    def augmentation(self) -> Transform:
        """From a picture of any size to what is trained on, `(3, size, size)`; uint8, by torch's generator alone."""
        crop = v2.RandomResizedCrop(self.size, scale=self.crop_scale, antialias=True)
        return v2.Compose([crop, v2.RandomHorizontalFlip(self.flip)])  # type: ignore[no-any-return]

    def build_split(self) -> Split:
        """The photos, cropped."""
        training, validation, epoch_order = self.photo_split()
        enough = shortest_side_needed(self.size, self.crop_scale[0])
        frame = v2.Compose([v2.Resize(self.size, antialias=True), v2.CenterCrop(self.size)])
        return Split(
            PhotoDataset(training, transform=self.augmentation(), seed=self.seed, at_least=enough),
            PhotoDataset(validation, transform=frame, seed=self.seed, at_least=self.size),
            epoch_order,
        )


def _leave_interrupts_to_the_trainer(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal, and a scheduler's SIGTERM every process of the job; a dying worker
    # would take the last step with it. Workers end when the trainer says so, or is no more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # macOS has none, and no such schedulers.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()


def _end_when_told_by(trainer: int) -> None:
    # After an error in a worker SIGTERM is how the trainer ends it; ignored, the trainer would wait for ever.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
