"""Batches of content photos for the methods that learn a style."""

import logging
import random
import signal
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from fast_style.data.endless import EndlessOrder
from fast_style.data.folder import PhotoFolder, Photos, collate
from fast_style.folders import find_pictures

log = logging.getLogger(__name__)


class ContentPhotos(pl.LightningDataModule):
    """Random crops to train on without end, and the same held-out photos each time to look at.

    Batches reach the method as `(N, 3, size, size)`, float32 in 0..1. The checkpoint carries the position in the data.

    Args:
        root: folder tree of photos.
        held_out_root: folder of photos that are never trained on; None takes `held_out` of those in `root`.
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
        root: str,
        held_out_root: str | None = None,
        held_out: int = 8,
        size: int = 256,
        batch_size: int = 4,
        crop_scale: Sequence[float] = (0.25, 1.0),
        flip: float = 0.5,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(size, batch_size, held_out) < 1 or workers < 0:
            raise ValueError(
                "data.size, data.batch_size and data.held_out are at least 1 and data.workers at least 0; got "
                f"{size}, {batch_size}, {held_out}, {workers}."
            )
        self.root, self.held_out_root, self.held_out = root, held_out_root, held_out
        self.size, self.batch_size, self.workers, self.seed = size, batch_size, workers, seed
        self.augment = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=tuple(crop_scale), antialias=True),
                v2.RandomHorizontalFlip(flip),
            ]
        )
        self.frame = v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size)])
        self._listed = False
        self.batches_seen = 0
        #: Files that could not be read, in the order they were met.
        self.unreadable: dict[str, None] = {}

    def setup(self, stage: str = "fit") -> None:
        """List the files and part them into training and held-out ones, once: listing 120,000 takes seconds."""
        if self._listed:
            return
        files = find_pictures(self.root)
        if self.held_out_root is None:
            if len(files) < 2:
                raise ValueError(
                    f"{self.root} holds one photo; training needs one to hold out besides. Add photos, or set "
                    "data.held_out_root."
                )
            random.Random(self.seed).shuffle(files)
            # Never more than a half, so that a small folder still trains.
            count = min(self.held_out, len(files) // 2)
            kept, files = files[:count], sorted(files[count:])
        else:
            kept = find_pictures(self.held_out_root)[: self.held_out]
        self.training = PhotoFolder(files, transform=self.augment, seed=self.seed)
        self.validation = PhotoFolder(kept, transform=self.frame, seed=self.seed)
        # Here, where the sentence reaches a person, and not from within a worker.
        self.training[0, 0], self.validation[0, 0]
        self._listed = True

    def train_dataloader(self) -> DataLoader[Photos]:
        """Batches without end, from where a resumed run stopped."""
        world = self.trainer.world_size if self.trainer else 1
        order = EndlessOrder(
            len(self.training),
            seed=self.seed,
            start=self.batches_seen * self.batch_size * world,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=world,
        )
        return self._loader(self.training, sampler=order, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[Photos]:
        """The held-out photos, always the same and in the same order."""
        places = [(index, index) for index in range(len(self.validation))]
        return self._loader(self.validation, sampler=places, num_workers=0)

    def _loader(self, photos: PhotoFolder, **options: Any) -> DataLoader[Photos]:
        return DataLoader(
            photos,
            batch_size=self.batch_size,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=options["num_workers"] > 0,
            worker_init_fn=_leave_interrupts_to_the_trainer,
            generator=torch.Generator(),  # Not the global one: looking at data must not move it.
            **options,
        )

    def on_after_batch_transfer(self, batch: Photos, dataloader_idx: int) -> Tensor:
        """Bring a batch into the convention, on the device; note what could not be read."""
        if self.trainer is not None and self.trainer.training:
            self.batches_seen += 1
        for file in batch.unreadable:
            if file not in self.unreadable:
                log.warning("%s can't be read and is skipped.", file)
            self.unreadable[file] = None
        return batch.pixels.float() / 255

    def state_dict(self) -> dict[str, Any]:
        """Where in the data the run is."""
        return {"batches_seen": self.batches_seen, "unreadable": list(self.unreadable)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.batches_seen = state_dict["batches_seen"]
        self.unreadable = dict.fromkeys(state_dict["unreadable"])


def _leave_interrupts_to_the_trainer(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal, and a scheduler's SIGTERM every process of the job; a dying worker
    # would take the last step with it. Workers end when the trainer says so, or is no more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
