"""Every image of a set decoded once into one flat file of pixels, from which batches are read by position."""

from __future__ import annotations

__all__ = ["PixelCache", "make_pixel_cache"]

import errno
import json
import os
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import PIL

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.bad_images import BadImage, BadImages
from resnet_deploy.data.preprocess import crop_pixels
from resnet_deploy.data.source import ImageSource
from resnet_deploy.data.workers import map_in_processes

_FORMAT = 1
_CHUNK = 64  # images per item of a worker: 0.2 MB of 32 px, 10 MB of 224 px
_ALONE_S = 1.0  # decode so long in this process; sets that are done by then start no worker


class PixelCache:
    """The images of a source that could be used, resized and cropped, in a file.

    Nothing but labels and indices is held in memory, and the file is read by position, not mapped: a mapping's
    pages would count as this process's memory and grow with the number of images that were looked at.

    Attributes:
        shape: H, W, 3 of every image.
        labels: [N] int64, of the images kept.
        kept: [N] int64, their indices in the source.
        bad: Those left out.
    """

    def __init__(self, file: Path, *, shape: tuple[int, int, int], labels: np.ndarray, bad: Iterable[BadImage]) -> None:
        self.file, self.shape, self.bad = Path(file), shape, tuple(bad)
        usable = np.ones(len(labels), dtype=bool)
        usable[[image.index for image in self.bad]] = False
        self.kept = np.flatnonzero(usable).astype(np.int64)
        self.labels = labels[self.kept]
        self._row_bytes = int(np.prod(shape))
        self._fd = os.open(self.file, os.O_RDONLY)

    def __len__(self) -> int:
        return len(self.kept)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Images by their place among the kept ones: [B] integers -> [B, H, W, 3] uint8.

        Neighbours are read in one go. Safe to call from threads and after a fork.

        Raises:
            IndexError: An index is out of range.
            DataError: The file was cut off after it was opened.
        """
        rows = self.kept[np.asarray(indices)]
        pixels = np.empty((len(rows), *self.shape), dtype=np.uint8)
        if not len(rows):
            return pixels
        flat = pixels.reshape(len(rows), self._row_bytes)
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for start, stop in zip((0, *breaks), (*breaks, len(rows)), strict=True):
            self._fill(flat[start:stop].reshape(-1), int(rows[start]) * self._row_bytes)
        return pixels

    def close(self) -> None:
        """Give the file back; called when the object goes away."""
        if getattr(self, "_fd", None) is not None:
            os.close(self._fd)
            self._fd = None

    __del__ = close

    def _fill(self, target: np.ndarray, offset: int) -> None:
        view = memoryview(target)
        while view:  # one read gives at most 2 GiB
            count = os.preadv(self._fd, [view], offset)
            if count == 0:
                raise DataError(f"{self.file} is cut off at {offset} bytes", remedy="delete it and run again")
            view, offset = view[count:], offset + count


def make_pixel_cache(
    source: ImageSource,
    preprocess: Preprocess,
    file: Path,
    *,
    num_workers: int = 0,
    skip_bad: int = 0,
    progress: Progress = NO_PROGRESS,
) -> PixelCache:
    """Decode, resize and crop every image of `source` into `file`, or take the file as it is where it holds them.

    A file is taken where its sidecar `<file>.json` says the same images, preprocessing and Pillow. Both are
    written atomically. The pixels are those of `crop_pixels`, whatever the number of workers.

    Args:
        num_workers: Decoding processes; 0 takes one a processor. Small sets are decoded in this process.
        skip_bad: So many images may fail to decode; they are left out and listed in the result.
    Raises:
        DataError: More bad images than that; names them.
        WorkerError: A decoding process was killed; `file` is as it was.
        OSError: The disk is full, or `file` can not be written.
    """
    file = Path(file)
    shape = (preprocess.height_px, preprocess.width_px, 3)
    record = {
        "format": _FORMAT,
        "source": source.fingerprint(),
        "images": source.description,
        "preprocess": asdict(preprocess),
        "pillow": PIL.__version__,
        "shape": [len(source), *shape],
    }
    bad = BadImages(skip_bad)
    found = _read_sidecar(file, record)
    if found is None:
        found = _decode_all(source, preprocess, file, record, num_workers=num_workers, bad=bad, progress=progress)
    bad.take(found)
    return PixelCache(file, shape=shape, labels=source.labels, bad=bad)


def _sidecar(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _read_sidecar(file: Path, record: dict) -> list[BadImage] | None:
    """The bad images of a cache that was made as `record` says; None where it is another or none."""
    try:
        found = json.loads(_sidecar(file).read_text(encoding="utf-8"))
        if {key: found.get(key) for key in record} != json.loads(json.dumps(record)):
            return None
        if file.stat().st_size != np.prod(record["shape"], dtype=np.int64):
            return None
        return [BadImage(**row) for row in found["bad"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _decode_all(
    source: ImageSource,
    preprocess: Preprocess,
    file: Path,
    record: dict,
    *,
    num_workers: int,
    bad: BadImages,
    progress: Progress,
) -> list[BadImage]:
    progress.start(f"decoding {source.description}", len(source))
    with atomic_write(file) as partial:
        _reserve(partial, int(np.prod(record["shape"], dtype=np.int64)))
        task = _DecodeTask(source, preprocess, partial)
        with closing(_run_chunks(task, len(source), num_workers)) as chunks:  # an error ends the workers at once
            for count, found in chunks:
                bad.take(found)
                progress.advance(count, note=f"{len(bad)} bad" if len(bad) else "")
        _sidecar(file).unlink(missing_ok=True)  # a crash after the rename must not leave it beside another's pixels
    listed = list(bad)
    with atomic_write(_sidecar(file)) as partial:
        text = json.dumps({**record, "bad": [asdict(image) for image in listed]}, indent=1)
        partial.write_text(text + "\n", encoding="utf-8")
    return listed


def _run_chunks(
    task: _DecodeTask, num_images: int, num_workers: int
) -> Generator[tuple[int, list[BadImage]], None, None]:
    """Some seconds alone; what is left then goes to workers. Which process decodes does not change a byte."""
    chunks = (range(start, min(start + _CHUNK, num_images)) for start in range(0, num_images, _CHUNK))
    started = time.perf_counter()
    for chunk in chunks:
        yield task(chunk)
        if time.perf_counter() - started > _ALONE_S:
            break
    yield from map_in_processes(task, chunks, num_workers=num_workers) if num_workers != 1 else map(task, chunks)


class _DecodeTask:
    """Decodes a range of images and writes them at their place; run by workers, which inherit it."""

    def __init__(self, source: ImageSource, preprocess: Preprocess, file: Path) -> None:
        self._source, self._preprocess, self._file = source, preprocess, file

    def __call__(self, chunk: range) -> tuple[int, list[BadImage]]:
        spec = self._preprocess
        pixels = np.zeros((len(chunk), spec.height_px, spec.width_px, 3), dtype=np.uint8)
        bad = []
        for row, index in enumerate(chunk):
            name = self._source.name(index)
            try:
                pixels[row] = crop_pixels(self._source.image(index), spec, name=name)
            except DataError as error:
                bad.append(BadImage.of(index, name, error))
        with open(self._file, "rb+", buffering=0) as stream:
            view, offset = memoryview(pixels.reshape(-1)), chunk.start * pixels[0].nbytes
            while view:
                count = os.pwrite(stream.fileno(), view, offset)
                view, offset = view[count:], offset + count
        return len(chunk), bad


def _reserve(file: Path, num_bytes: int) -> None:
    """Take the space at once, so that a full disk is known before the hour of decoding, not after."""
    with open(file, "rb+") as stream:
        try:
            if num_bytes:
                os.posix_fallocate(stream.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            os.ftruncate(stream.fileno(), num_bytes)
