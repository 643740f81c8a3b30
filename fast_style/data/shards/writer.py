"""Write shards: tar files of images that were checked to decode. Interrupted work resumes and gives the same bytes.

webdataset's `ShardWriter` writes no checksums, and after a kill leaves a partial shard under its final name.
"""

import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from fast_style.atomic_files import atomic_write, remove_leftovers
from fast_style.data.shards.index import Shard, write_index
from fast_style.data.shards.journal import Written, append, is_intact, read_journal
from fast_style.data.shards.skipped import in_one_line, write_skipped
from fast_style.data.shards.sources import Candidate, ShardSource
from fast_style.images.decode import MAX_PIXELS, UnreadablePicture, check_size, checked_picture
from fast_style.images.encode import check_quality


@dataclass(frozen=True)
class ShardSettings:
    """Settings for writing shards.

    Attributes:
        shard_mb: a shard is closed once it holds this many megabytes ...
        shard_samples: ... or this many images; None sets no such limit.
        size: shorter side in pixels to which larger images are resized; None copies the bytes of every image.
        quality: JPEG quality of resized images, 1 to 100.
        max_pixels: larger images are skipped.
    """

    shard_mb: float = 128
    shard_samples: int | None = None
    size: int | None = None
    quality: int = 95
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        check_size(self.size)
        check_quality(self.quality)
        samples = 1 if self.shard_samples is None else self.shard_samples
        if self.shard_mb <= 0 or min(samples, self.max_pixels) < 1:
            raise ValueError(
                "shard_mb must be above 0, and shard_samples and max_pixels at least 1; got "
                f"shard_mb={self.shard_mb}, shard_samples={self.shard_samples}, max_pixels={self.max_pixels}."
            )

    def full(self, samples: int, size: int) -> bool:
        """Whether a shard has to be closed."""
        return size >= self.shard_mb * 1e6 or samples == self.shard_samples


@dataclass(frozen=True)
class ShardProgress:
    """Progress: candidates used up, images written, candidates skipped, shards finished."""

    taken: int = 0
    samples: int = 0
    skipped: int = 0
    shards: int = 0

    def after(self, line: Written) -> "ShardProgress":
        """The progress after a finished shard."""
        skipped, shards = self.skipped + len(line.skipped), self.shards + bool(line.name)
        return ShardProgress(line.taken, self.samples + line.samples, skipped, shards)


def write_shards(
    source: ShardSource,
    output: str,
    recipe: ShardSettings,
    *,
    progress: Callable[[ShardProgress], None] = lambda _: None,
) -> ShardProgress:
    """Write all images of a source into shards, with an index and a list of skipped images.

    Shards finished by an earlier, interrupted call are kept if their checksum matches, and written again otherwise.

    Raises:
        ValueError: no image in the source, or an output that was started with another source or other settings.
        OSError: the disk is full or not writable.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Do not wait: a user who starts the same work twice wants to know.
        with FileLock(folder / ".lock", timeout=0):
            try:
                return _write_all(source, folder, recipe, progress)
            finally:
                with suppress(OSError):
                    (folder / ".lock").unlink()
    except Timeout as error:
        raise ValueError(f"Another process is writing into {output}; wait for it, or name another output.") from error


def _write_all(
    source: ShardSource, folder: Path, recipe: ShardSettings, progress: Callable[[ShardProgress], None]
) -> ShardProgress:
    made_from = source.made_from | asdict(recipe)
    remove_leftovers(folder)
    earlier = read_journal(folder, made_from)
    _check_space(source, folder, recipe, sum(line.bytes for line in earlier))
    lines: list[Written] = []
    reached, intake = ShardProgress(), _Intake(source, recipe)
    while not (lines and not lines[-1].name):
        known = earlier[len(lines)] if len(lines) < len(earlier) else None
        if known is not None and is_intact(folder, known):
            line = known
        else:
            intake.go_to(reached.taken)
            line = _write_one(folder / f"shard-{len(lines):06d}.tar", intake, reached, progress)
            if known is None:
                append(folder, line)
            elif line != known:
                raise ValueError(
                    f"{folder / known.name} was damaged and can't be made again, because images or libraries have "
                    "changed; name another output."
                )
        lines.append(line)
        reached = reached.after(line)
        progress(reached)
    if not reached.samples:
        name, reason = lines[-1].skipped[0] if lines[-1].skipped else ("input", "it is empty")
        raise ValueError(f"None of {reached.taken} images could be read (first: {name}: {reason}); check input.")
    _write_lists(folder, lines, made_from)
    return reached


def _write_lists(folder: Path, lines: list[Written], made_from: dict[str, Any]) -> None:
    write_skipped(folder, chain.from_iterable(line.skipped for line in lines))
    shards = [Shard(line.name, line.samples, line.bytes, line.sha256) for line in lines if line.name]
    write_index(str(folder), shards, made_from)


class _Intake:
    """Takes images from a source in order, one at a time, and sets aside candidates that are not images."""

    def __init__(self, source: ShardSource, recipe: ShardSettings) -> None:
        self.source, self.recipe = source, recipe
        self.taken, self.skipped = 0, list[tuple[str, str]]()
        self._candidates = source.candidates(0)

    def go_to(self, taken: int) -> None:
        """Continue after the first `taken` candidates."""
        if taken != self.taken:
            self.taken, self._candidates = taken, self.source.candidates(taken)
        self.skipped = []

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name of an image in its shard, and its bytes."""
        for candidate in self._candidates:
            number = self.taken
            self.taken += 1
            try:
                data, suffix = self._checked(candidate)
            except UnreadablePicture as error:
                self.skipped.append((in_one_line(candidate.name), in_one_line(error.found)))
                continue
            yield f"{number:09d}{suffix}", data

    def _checked(self, candidate: Candidate) -> tuple[bytes, str]:
        if candidate.problem:
            raise UnreadablePicture(candidate.name, candidate.problem)
        recipe = self.recipe
        return checked_picture(
            candidate.name, candidate.data, size=recipe.size, quality=recipe.quality, max_pixels=recipe.max_pixels
        )


class _Hashing:
    """A file being written, with its current size and checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.digest = file, 0, sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)

    def tell(self) -> int:
        return self.size


def _write_one(
    path: Path, intake: _Intake, before: ShardProgress, progress: Callable[[ShardProgress], None]
) -> Written:
    pictures = iter(intake)
    first = next(pictures, None)
    if first is None:
        return Written("", 0, 0, "", intake.taken, tuple(intake.skipped))
    samples = 0
    with atomic_write(path) as file:
        out = _Hashing(file)
        # The old format, which every library reads. TarInfo's defaults, no owner and 1970, keep the bytes the same.
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
            for name, data in chain([first], pictures):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, BytesIO(data))
                samples += 1
                skipped = before.skipped + len(intake.skipped)
                progress(replace(before, taken=intake.taken, samples=before.samples + samples, skipped=skipped))
                if intake.recipe.full(samples, out.size):
                    break
    return Written(path.name, samples, out.size, out.digest.hexdigest(), intake.taken, tuple(intake.skipped))


def _check_space(source: ShardSource, folder: Path, recipe: ShardSettings, written: int) -> None:
    # With resizing, the final size is not known in advance.
    needed = source.bytes + 1024 * (source.count or 0) - written if recipe.size is None else 0
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"The shards need about {needed / 1e9:.1f} GB more, but {folder} has {free / 1e9:.1f} GB free; name an "
            "output on a larger disk, or resize the images with size=..."
        )
