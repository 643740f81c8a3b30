"""Endless training batches: the base class for every method, and the base class for content photos."""

import logging
import os
import signal
import sys
import tempfile
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

#: Start method of loading workers. It is explicit because joblib's processes have a default of their own, which fails.
_START = "fork" if sys.platform == "linux" else "spawn"
#: Bytes. A socket's path has at most 107 (unix(7)), and multiprocessing adds `/pymp-xxxxxxxx/listener-xxxxxxxx`.
LONGEST_TEMPORARY_FOLDER = 107 - len("/pymp-xxxxxxxx/listener-xxxxxxxx")


class PhotoSplit(NamedTuple):
    """Training images, visited in the order of `epoch_order`, and validation images."""

    training: Pictures
    validation: Pictures
    epoch_order: EpochOrder


class Samples(Protocol):
    """Images ready for training, by `(position, index)`; all have one size, so that they can be batched."""

    def __len__(self) -> int:
        """Number of images in an epoch."""

    def __getitem__(self, place: SampleIndex) -> Photos:
        """The image at a place."""


class Split(NamedTuple):
    """Training samples, visited in the order of `epoch_order`, and validation samples."""

    training: Samples
    validation: Samples
    epoch_order: EpochOrder


class InfiniteDataModule(pl.LightningDataModule):
    """Endless training batches, and the same validation images every time.

    Batches reach the method as float32 in 0..1. The checkpoint stores the position in the data, counted in photos of
    all processes, so that another number of processes can go on from it. Each subclass decides what a batch contains.

    Args:
        held_out: number of validation images.
        size: side of a training image in pixels.
        batch_size: images per step and process.
        workers: loading processes; 0 loads in the training process.
        seed: of the order and of all random augmentation.
    """

    def __init__(self, *, held_out: int, size: int, batch_size: int, workers: int, seed: int) -> None:
        super().__init__()
        if min(size, batch_size, held_out) < 1 or workers < 0:
            raise ValueError(
                "data.size, data.batch_size and data.held_out must be at least 1, and data.workers at least 0; got "
                f"data.size={size}, data.batch_size={batch_size}, data.held_out={held_out}, data.workers={workers}."
            )
        self.held_out, self.size, self.batch_size, self.workers, self.seed = held_out, size, batch_size, workers, seed
        self._opened = False
        #: Position in the order of photos: photos that all processes together have trained on.
        self.photos_seen = 0
        #: Files that could not be read, in the order they were found.
        self.unreadable: dict[str, None] = {}
        self._files: deque[tuple[str, ...]] = deque(maxlen=256)

    @abstractmethod
    def build_split(self) -> Split:
        """Find the images; ValueError if there are none."""

    def setup(self, stage: str = "fit") -> None:
        """Find the images once per run, because listing 120,000 files takes up to a second."""
        if self._opened:
            return
        if self.workers:
            check_temporary_folder(tempfile.gettempdir())
        self.training, self.validation, self.epoch_order = self.build_split()
        # Load one image of each now: an error raised here reaches the user as one line; one from a worker would not.
        self.training[next(iter(InfiniteSampler(self.epoch_order)))], self.validation[0, 0]
        self._opened = True

    def train_dataloader(self) -> DataLoader[Photos]:
        """Endless batches, starting where a resumed run stopped."""
        order = InfiniteSampler(
            self.epoch_order,
            start=self.photos_seen,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self._world_size,
        )
        return self._loader(self.training, sampler=order, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[Photos]:
        """The validation images, always the same and in the same order."""
        places = [(index, index) for index in range(len(self.validation))]
        # One worker is enough for a few images, and it keeps decoding out of the training process.
        return self._loader(self.validation, sampler=places, num_workers=min(self.workers, 1))

    def _loader(self, pictures: Samples, **options: Any) -> DataLoader[Photos]:
        return DataLoader(
            pictures,  # type: ignore[arg-type] # Anything with a length and items.
            batch_size=self.batch_size,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=options["num_workers"] > 0,
            multiprocessing_context=_START if options["num_workers"] else None,
            worker_init_fn=_leave_interrupts_to_the_trainer,
            generator=torch.Generator(),  # Not the global generator: loading must not change its state.
            **options,
        )

    def on_after_batch_transfer(self, batch: Photos, dataloader_idx: int) -> Tensor:
        """Convert a batch to float32 in 0..1 on the device; record its files and the unreadable ones."""
        if self.trainer is not None and self.trainer.training:
            self.photos_seen += self.batch_size * self._world_size
            self._files.append(batch.files)
        for file in batch.unreadable:
            if file not in self.unreadable:
                log.warning("%s can't be read and is skipped.", file)
            self.unreadable[file] = None
        return batch.pixels.float() / 255

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def number(self) -> int:
        """Number of training images. If it differs when a run resumes, the order of images differs too."""
        return len(self.training)

    def files_of(self, batches_back: int = 0) -> tuple[str, ...]:
        """Files of a recent training batch, counted back from the latest, 0; () if no longer remembered."""
        return self._files[-1 - batches_back] if batches_back < len(self._files) else ()

    def state_dict(self) -> dict[str, Any]:
        """The position of the run in the data."""
        return {
            "photos_seen": self.photos_seen,
            "unreadable": list(self.unreadable),
            "photos": self.number if self._opened else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved position, with any number of processes."""
        if "batches_seen" in state_dict:  # Older checkpoints count the batches of each process.
            self.photos_seen = state_dict["batches_seen"] * self.batch_size * self._world_size
        else:
            self.photos_seen = state_dict["photos_seen"]
        self.unreadable = dict.fromkeys(state_dict["unreadable"])
        before, now = state_dict.get("photos"), self.number if self._opened else None
        if None not in (before, now) and before != now:
            log.warning(
                "There were %s training photos at the checkpoint and there are %s now: the order differs.", before, now
            )


class PhotoDataModule(InfiniteDataModule):
    """Random crops of photos, `(N, 3, size, size)`. Each subclass decides where the photos are stored.

    Args:
        held_out: number of validation photos.
        size: side of a training crop in pixels.
        batch_size: photos per step and process.
        crop_scale: smallest and largest share of a photo's area that a crop covers.
        flip: share of the crops that are flipped horizontally.
        workers: loading processes; 0 loads in the training process.
        seed: of the order and the crops.
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
        """Find the photos and split them into training and validation photos; ValueError if there are none."""

    def augmentation(self) -> Transform:
        """From an image of any size to a crop, uint8 `(3, size, size)`; draws only from torch's global generator."""
        crop = v2.RandomResizedCrop(self.size, scale=self.crop_scale, antialias=True)
        return v2.Compose([crop, v2.RandomHorizontalFlip(self.flip)])  # type: ignore[no-any-return]

    def build_split(self) -> Split:
        """Split the photos and attach the crops."""
        training, validation, epoch_order = self.photo_split()
        enough = shortest_side_needed(self.size, self.crop_scale[0])
        frame = v2.Compose([v2.Resize(self.size, antialias=True), v2.CenterCrop(self.size)])
        return Split(
            PhotoDataset(training, transform=self.augmentation(), seed=self.seed, at_least=enough),
            PhotoDataset(validation, transform=frame, seed=self.seed, at_least=self.size),
            epoch_order,
        )


def check_temporary_folder(folder: str) -> None:
    """Refuse a temporary folder with a path that is too long for the sockets of loading workers.

    Workers send tensors as file descriptors through a Unix socket in a subfolder of the temporary folder. A path of 108
    bytes or more fails inside a worker's thread, and the training would wait for ever.

    Raises:
        ValueError: a path that leaves no room for the socket's name.
    """
    found = len(os.fsencode(folder))
    strategy = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    if strategy == "file_descriptor" and found > LONGEST_TEMPORARY_FOLDER:
        raise ValueError(
            f"The path of the temporary folder {folder} has {found} bytes, and loading workers need at most "
            f"{LONGEST_TEMPORARY_FOLDER}; set TMPDIR to a shorter path, or use data.workers=0."
        )


def _leave_interrupts_to_the_trainer(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal, and a scheduler's SIGTERM reaches every process of the job. A worker
    # that ended then would break the trainer's last step. So only the trainer, or its own end, ends a worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # macOS has no sigwaitinfo, and no such schedulers.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()


def _end_when_told_by(trainer: int) -> None:
    # After an error the trainer ends its workers by SIGTERM. If they ignored it, the trainer would wait for ever.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
