"""The pass over the images: forward passes that feed the statistics of every quantised tensor."""

from __future__ import annotations

__all__ = ["Keep", "collect_statistics"]

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx

from resnet_deploy.core.errors import CalibrationError, DataError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.bad_images import BadImage, BadImages
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.data.source import ImageSource
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.statistics import Collected, Statistics, TensorStatistics


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """What happens to unfinished work.

    Attributes:
        save: Is given a copy of everything collected so far, of whole images only.
        every_s: Seconds between two calls; there is one more after Ctrl-C or an image that can not be used.
    """

    save: Callable[[Collected], None]
    every_s: float


def collect_statistics(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    images: ImageSource,
    preprocess: Preprocess,
    *,
    make: Callable[[], Statistics] = TensorStatistics,
    positions: Sequence[int] | None = None,
    done: Collected | None = None,
    num_threads: int = 0,
    batch: int = 1,
    bad: BadImages | None = None,
    keep: Keep | None = None,
    progress: Progress = NO_PROGRESS,
) -> Collected:
    """Forward passes over `images`, with the activations of `tensors` counted and dropped.

    Each thread keeps statistics of its own and runs the network on one processor thread; memory is the
    activations of `batch` images per thread.

    Args:
        make: Makes what counts a tensor's values: it has `update` and `merge` as TensorStatistics.
        positions: Images to take; None takes all.
        done: What an earlier, interrupted pass collected of them; these images are not taken again.
        num_threads: Forward passes at a time; 0 takes the number of processors.
        batch: Images per forward pass. Before a batch of some size is counted, its activations are compared,
            bit for bit, with those of one image per pass.
        bad: Takes note of images that can not be used, which are left out; None allows none.
        keep: Saves unfinished work; None loses it.
    Raises:
        DataError: More images than `bad` allows can not be used.
        CalibrationError: An activation is NaN or infinite (names tensor and image), the network's input is not
            what `preprocess` gives, or ONNX Runtime computes other values in a batch than for one image.
    """
    _check_input(model, preprocess, batch)
    wanted = range(len(images)) if positions is None else positions
    total = Collected.of(tensors, make)
    if done is not None:
        total.merge(done)
    todo = [position for position in wanted if position not in total.positions]
    progress.start(f"calibrate: {images.description}", len(wanted))
    progress.advance(len(wanted) - len(todo))
    with _extra_outputs(model, tensors):
        session = open_session(model, num_threads=1)
    work = _Pass(
        session=session,
        tensors=tensors,
        input_name=_input_of(model).name,
        images=images,
        preprocess=preprocess,
        groups=[todo[first : first + batch] for first in range(0, len(todo), batch)],
        bad=BadImages() if bad is None else bad,
        progress=progress,
    )
    workers = min(num_threads or os.cpu_count() or 1, max(1, len(work.groups)))
    shares = [_Share(Collected.of(tensors, make)) for _ in range(workers)]

    def everything() -> Collected:
        sum_of_all = Collected.of(tensors, make)
        sum_of_all.merge(total)
        for share in shares:
            with share.lock:
                sum_of_all.merge(share.seen)
        return sum_of_all

    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(work.run, share) for share in shares]
        try:
            _wait(running, (lambda: keep.save(everything())) if keep else None, keep.every_s if keep else None)
        except (KeyboardInterrupt, DataError):  # after a CalibrationError a share may hold half an image
            work.stop.set()
            wait(running)
            if keep:
                keep.save(everything())
            raise
        finally:
            work.stop.set()  # after an error the other threads end at their next image
    return everything()


def _wait(running: list[Future], save: Callable[[], None] | None, every_s: float | None) -> None:
    """Until all are done or one has failed, whose error is raised; calls `save` now and then."""
    due = time.monotonic() + (every_s or 0.0)
    pending = set(running)
    while pending:
        timeout = None if every_s is None else max(0.0, due - time.monotonic())
        done, pending = wait(pending, timeout=timeout, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        if pending and save is not None and time.monotonic() >= due:
            save()
            due = time.monotonic() + every_s


class _Share:
    """What one thread has collected; the lock is held while an image's activations are counted."""

    def __init__(self, seen: Collected) -> None:
        self.seen = seen
        self.lock = threading.Lock()


class _Pass:
    """Forward passes that several threads share out among themselves."""

    def __init__(
        self,
        *,
        session,
        tensors: Sequence[str],
        input_name: str,
        images: ImageSource,
        preprocess: Preprocess,
        groups: list[list[int]],
        bad: BadImages,
        progress: Progress,
    ) -> None:
        self.groups = groups
        self.stop = threading.Event()
        self._session, self._input_name = session, input_name
        self._computed = [name for name in tensors if name != input_name]
        self._images, self._preprocess = images, preprocess
        self._bad, self._progress = bad, progress
        self._next = iter(groups)
        self._lock = threading.Lock()
        self._compared = {1}  # batch sizes known to give the values of one image per pass

    def run(self, share: _Share) -> None:
        """Take groups of images until none is left."""
        while not self.stop.is_set():
            with self._lock:
                group = next(self._next, None)
            if group is None:
                return
            self._take(group, share)
            self._progress.advance(len(group))

    def _take(self, group: list[int], share: _Share) -> None:
        read = [(position, pixels) for position in group if (pixels := self._pixels(position)) is not None]
        if not read:
            return
        batch = normalize(np.stack([pixels for _, pixels in read]), self._preprocess)
        values = dict(zip(self._computed, self._forward(batch), strict=True))
        if len(read) not in self._compared:
            self._compare(batch, values)
        values[self._input_name] = batch
        with share.lock:
            for name, statistics in share.seen.tensors.items():
                try:
                    statistics.update(values[name], name=name)
                except CalibrationError as error:
                    row = next(i for i, of_image in enumerate(values[name]) if not np.isfinite(of_image).all())
                    image = self._images.name(read[row][0])
                    raise CalibrationError(f"{image}: {error.message}", remedy=error.remedy) from error
            for position, pixels in read:
                share.seen.count_image(position, pixels)

    def _pixels(self, position: int) -> np.ndarray | None:
        name = self._images.name(position)
        try:
            image = self._images.image(position)
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise DataError(f"{name}: {list(image.shape)} {image.dtype}, expected [H, W, 3] uint8")
            return crop_pixels(image, self._preprocess, name=name)
        except DataError as error:
            self._bad.add(BadImage.of(position, name, error))
            return None

    def _forward(self, batch: np.ndarray) -> list[np.ndarray]:
        if not self._computed:  # ONNX Runtime takes no name for all outputs
            return []
        return self._session.run(self._computed, {self._input_name: batch})

    def _compare(self, batch: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Raise CalibrationError unless a batch gives, bit for bit, what its images give alone."""
        for row in range(len(batch)):
            for name, alone in zip(self._computed, self._forward(batch[row : row + 1]), strict=True):
                if not np.array_equal(alone[0].view(np.uint32), values[name][row].view(np.uint32)):
                    raise CalibrationError(
                        f"tensor {name!r}: ONNX Runtime computes other values in a pass of {len(batch)} images than "
                        "for one image, so the table would depend on the batch",
                        remedy="calibrate with --batch 1",
                    )
        self._compared.add(len(batch))


def _input_of(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    return next(tensor for tensor in model.graph.input if tensor.name not in constants)


def _check_input(model: onnx.ModelProto, preprocess: Preprocess, batch: int) -> None:
    """Raise CalibrationError unless the network takes what the preprocessing gives, `batch` images at a time."""
    tensor = _input_of(model)
    shape = [dim.dim_value or dim.dim_param or "?" for dim in tensor.type.tensor_type.shape.dim]
    given = ["N", 3, preprocess.height_px, preprocess.width_px]
    fits = len(shape) == 4 and all(isinstance(a, str) or a == b for a, b in zip(shape[1:], given[1:], strict=True))
    if not fits:
        raise CalibrationError(
            f"the network's input {tensor.name!r} is {shape}, its preprocessing gives {given}",
            remedy="give a network of RGB images together with the preprocessing that it was trained with",
        )
    if isinstance(shape[0], int) and shape[0] != 1:
        raise CalibrationError(
            f"the network takes a batch of {shape[0]} alone, calibration gives it one image at a time",
            remedy="export it anew with a batch of any size",
        )
    if isinstance(shape[0], int) and batch != 1:
        raise CalibrationError(f"the network takes one image at a time, not {batch}", remedy="leave --batch out")


@contextmanager
def _extra_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> Iterator[None]:
    """`model` gives out `tensors` as well inside the block; a copy of a large network would double the memory."""
    outputs = model.graph.output
    before = len(outputs)
    present = {tensor.name for tensor in (*model.graph.input, *outputs)}
    for name in tensors:
        if name not in present:
            outputs.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    try:
        yield
    finally:
        del outputs[before:]
