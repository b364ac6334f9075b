"""Whole requests, as a program that classifies images makes them: from the bytes of JPEG files to five classes."""

from __future__ import annotations

__all__ = [
    "Application",
    "Photos",
    "Stage",
    "measure_application",
    "read_photos",
    "synthetic_photos",
    "why_no_requests",
]

import io
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from resnet_deploy.bench.machine.watch import NO_WATCH, Watcher
from resnet_deploy.bench.measure.intervals import mean_interval
from resnet_deploy.bench.measure.timing import Sampling, Timing, sample, summarize
from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.decode import decode_image, is_image
from resnet_deploy.data.preprocess import preprocess
from resnet_deploy.data.workers import num_processors
from resnet_deploy.engine.contract import Runner

_MOST_PHOTOS = 256
_NUM_SYNTHETIC = 16
_SYNTHETIC_SCALE = 1.5  # shorter side over what it is resized to: 384 x 512 for ImageNet's 256, about its mean size
_JPEG_QUALITY = 90
_BEST = 5
_KERNEL_SHARE = 0.2  # of the sampling time that goes into passes alone, to tell copies from the network


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One part of a request.

    Attributes:
        name: "decode", "preprocess", "copies", "network" or "postprocess".
        p50_ms: Median, for all images of a request.
        share: Of the sum of the medians.
    """

    name: str
    p50_ms: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Application:
    """What a request is made of, and how many images a second flow when its stages overlap.

    Attributes:
        images: What was decoded, in words.
        stages: In order; one after another they are a request. "copies" is what `run` takes beyond the pass itself.
        decode_threads: That decoded and preprocessed ahead in the pipelined run.
        pipelined_images_per_second: Decoding ahead while the network runs.
        pipelined_interval: With 95 % confidence; None for fewer than five requests.
        bound_by: What limits the pipelined run, in words.
    """

    images: str
    stages: tuple[Stage, ...]
    decode_threads: int
    pipelined_images_per_second: float
    pipelined_interval: tuple[float, float] | None
    bound_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Photos:
    """Files held in memory: reading the disk is no part of a request."""

    files: tuple[bytes, ...]
    names: tuple[str, ...]
    source: str


def read_photos(folder: Path) -> Photos:
    """The first 256 image files of a folder and of those below, by path.

    Raises:
        DataError: The folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", remedy="name a folder of images, or leave --images away")
    paths = sorted(path for path in folder.rglob("*") if is_image(path.name) and path.is_file())[:_MOST_PHOTOS]
    if not paths:
        raise DataError(f"{folder}: no image in it", remedy="name a folder of .jpg or .png files")
    files = tuple(path.read_bytes() for path in paths)
    kib = sum(map(len, files)) / len(files) / 1024
    return Photos(
        files=files,
        names=tuple(str(path) for path in paths),
        source=f"{len(files)} files of {folder.name}, {kib:.0f} KiB each on average",
    )


def synthetic_photos(spec: Preprocess) -> Photos:
    """Sixteen JPEG files of smooth colours with grain, about as large as photographs; the same on every call."""
    from PIL import Image

    height, width = spec.height_px, spec.width_px
    if spec.resize_shorter_px is not None:
        height = round(_SYNTHETIC_SCALE * spec.resize_shorter_px)
        width = height * 4 // 3
    rng = np.random.default_rng(0)
    files = []
    for _ in range(_NUM_SYNTHETIC):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = rng.normal(0, 12, (height, width, 1)).astype(np.float32)
        stream = io.BytesIO()
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG", quality=_JPEG_QUALITY)
        files.append(stream.getvalue())
    kib = sum(map(len, files)) / len(files) / 1024
    return Photos(
        files=tuple(files),
        names=tuple(f"synthetic {index}" for index in range(_NUM_SYNTHETIC)),
        source=f"{_NUM_SYNTHETIC} synthetic JPEG files of {width}x{height} px, {kib:.0f} KiB each on average",
    )


def why_no_requests(runner: Runner, spec: Preprocess | None) -> str:
    """Why requests can not be made for this file; empty where they can."""
    if spec is None:
        return "its manifest names no preprocessing, so requests can not be made"
    if len(runner.info.inputs) != 1 or not runner.info.inputs[0].dtype.startswith("float"):
        return "requests are made for networks with one floating-point image input"
    return ""


class _Requests:
    """Requests of `batch` images, the photos taken in turn."""

    def __init__(self, runner: Runner, spec: Preprocess, photos: Photos, batch: int) -> None:
        self._runner, self._spec, self._photos, self._batch = runner, spec, photos, batch
        self._input = runner.info.inputs[0]
        self._number = count()
        self.stages: list[tuple[float, ...]] = []

    def seconds_of(self, requests: int) -> np.ndarray:
        """Make requests one after another; gives the time of each, and keeps that of its stages."""
        marks = np.array([self._one(next(self._number)) for _ in range(requests)])
        stages = np.diff(marks, axis=1)
        self.stages += [tuple(row) for row in stages.tolist()]
        return stages.sum(axis=1)

    def decode(self, number: int) -> list[np.ndarray]:
        places = [(number * self._batch + i) % len(self._photos.files) for i in range(self._batch)]
        return [decode_image(self._photos.files[place], name=self._photos.names[place]) for place in places]

    def prepare(self, images: list[np.ndarray]) -> dict[str, np.ndarray]:
        pixels = np.stack([preprocess(image, self._spec) for image in images])
        return {self._input.name: pixels.astype(self._input.dtype, copy=False)}

    def best_classes(self, outputs: dict[str, np.ndarray]) -> np.ndarray:
        """The classes of the largest scores, best first, [N, at most 5]."""
        scores = next(iter(outputs.values())).reshape(self._batch, -1)
        return np.argsort(-scores, axis=1)[:, :_BEST]

    def finish(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        return self.best_classes(self._runner.run(feeds))

    def _one(self, number: int) -> tuple[float, ...]:
        start = time.perf_counter()
        images = self.decode(number)
        decoded = time.perf_counter()
        feeds = self.prepare(images)
        prepared = time.perf_counter()
        outputs = self._runner.run(feeds)
        ran = time.perf_counter()
        self.best_classes(outputs)
        return start, decoded, prepared, ran, time.perf_counter()


def measure_application(
    runner: Runner,
    spec: Preprocess,
    photos: Photos,
    *,
    batch: int,
    sampling: Sampling,
    decode_threads: int = 0,
    watch: Watcher = NO_WATCH,
) -> tuple[Timing, Application]:
    """Time requests one after another, then with decoding ahead in threads.

    Args:
        batch: Images of a request.
        decode_threads: 0 takes the number of processors.
        watch: Of the requests that are made one after another.
    Raises:
        DataError: An image can not be decoded, or is smaller than the network's input.
    """
    requests = _Requests(runner, spec, photos, batch)
    seconds, warmup = sample(requests.seconds_of, sampling=sampling, watch=watch)
    timing = summarize(seconds, batch=batch, warmup=warmup, sampling=sampling)
    threads = decode_threads or num_processors()
    decode, prepare, run, finish = np.median(requests.stages[warmup.passes :], axis=0) * 1e3
    network = min(run, _network_ms(runner, requests, run, sampling))
    parts = {
        "decode": decode,
        "preprocess": prepare,
        "copies": run - network,
        "network": network,
        "postprocess": finish,
    }
    total = sum(parts.values())
    rate, interval = _pipelined(requests, batch, threads, sampling)
    return timing, Application(
        images=photos.source,
        stages=tuple(Stage(name=name, p50_ms=float(ms), share=float(ms / total)) for name, ms in parts.items()),
        decode_threads=threads,
        pipelined_images_per_second=rate,
        pipelined_interval=interval,
        bound_by=_bound_by((decode + prepare) / threads, run + finish, threads),
    )


def _network_ms(runner: Runner, requests: _Requests, run_ms: float, sampling: Sampling) -> float:
    """Median of the pass alone, on the last images."""
    feeds = requests.prepare(requests.decode(0))
    passes = max(3, int(_KERNEL_SHARE * sampling.min_seconds / (run_ms / 1e3)))
    return float(np.median(runner.timed_loop(feeds, passes))) * 1e3


def _bound_by(host_ms: float, network_ms: float, threads: int) -> str:
    if host_ms > network_ms:
        return f"decoding and preprocessing on {threads} threads"
    return "the network, with its copies and the choice of classes"


def _pipelined(
    requests: _Requests, batch: int, threads: int, sampling: Sampling
) -> tuple[float, tuple[float, float] | None]:
    """Images a second while `threads` decode and preprocess ahead; the first requests fill the pipeline."""

    def prepared(number: int) -> dict[str, np.ndarray]:
        return requests.prepare(requests.decode(number))

    numbers, done, lead_in = count(), [], threads + 2
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future] = deque()
        try:
            while True:
                while len(waiting) < lead_in:
                    waiting.append(pool.submit(prepared, next(numbers)))
                requests.finish(waiting.popleft().result())
                done.append(time.perf_counter())
                steady = done[lead_in:]
                if len(steady) < 3:
                    continue
                elapsed = steady[-1] - steady[0]
                enough = elapsed >= sampling.min_seconds and len(steady) > sampling.min_samples
                if enough or elapsed >= sampling.max_seconds:
                    break
        finally:
            for future in waiting:
                future.cancel()
    steps = np.diff(steady)
    bounds = mean_interval(steps)
    interval = (batch / bounds[1], batch / bounds[0]) if bounds and bounds[0] > 0 else None
    return batch / float(steps.mean()), interval
