"""Top-1 and top-5 of one runner on a labelled data set, with the interval the sample size allows."""

from __future__ import annotations

__all__ = ["Accuracy", "AccuracyCounter", "ClassAccuracy", "EvaluateOptions", "evaluate"]

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.metrics import top_k_hits, wilson_interval
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.data.batches import count_batches, input_batches
from resnet_deploy.data.source import ImageSource, open_images, stratified_sample
from resnet_deploy.engine.contract import RunnerInfo, logits_of
from resnet_deploy.verify.classes import ClassMap, map_classes
from resnet_deploy.verify.subject import choose_preprocess, open_subject, subject_of


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """What to measure.

    Attributes:
        file: A checkpoint, ONNX file or engine.
        backend: None takes the file type's own.
        num_images: A stratified sample of that many; 0 takes all.
        preprocess: "imagenet", "cifar", "digits" or a JSON file; None takes the manifest's.
        num_threads: Processor threads; 0 takes all.
    """

    file: Path
    data: str
    backend: str | None = None
    split: str | None = None
    batch_size: int = 64
    num_images: int = 0
    preprocess: str | None = None
    num_threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_sampling(self.batch_size, self.num_images, self.num_threads)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassAccuracy:
    """Top-1 of the images of one class."""

    name: str
    num_images: int
    num_hits: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """What one runner scored. Top-1, top-5 and intervals are in percent.

    Attributes:
        top1_low, top1_high: 95 % Wilson interval of top-1.
        top5_percent: None where there are five classes or fewer.
        seconds, images_per_second: Of the runner alone, decoding not counted; no benchmark, see `bench`.
        num_nonfinite_rows: Images for which a logit was NaN or infinite.
        note: About class names; empty where there is nothing to say.
    """

    file: str
    backend: str
    device: str
    data: str
    num_images: int
    num_top1_hits: int
    top1_percent: float
    top1_low: float
    top1_high: float
    top5_percent: float | None
    num_nonfinite_rows: int
    seconds: float
    images_per_second: float
    per_class: tuple[ClassAccuracy, ...]
    note: str = ""


def evaluate(options: EvaluateOptions, progress: Progress = NO_PROGRESS) -> Accuracy:
    """Run a network over a data set and count how often it is right.

    Raises:
        ConfigError: The file has no manifest and no preprocessing was named.
        DataError: No labels, or another number of classes than the network's.
        MissingDependencyError: The backend or its device is not on this machine.
    """
    subject = subject_of(options.file, options.backend)
    spec = choose_preprocess(subject, options.preprocess)
    source = sampled_images(options.data, options.split, options.num_images, options.seed)
    labels = subject.manifest.labels if subject.manifest else None
    with open_subject(subject, num_threads=options.num_threads) as runner:
        counter: AccuracyCounter | None = None
        progress.start(
            f"{options.file} on {source.description} ({runner.info.backend})", count_batches(source, options.batch_size)
        )
        for batch in input_batches(source, spec, batch_size=options.batch_size, num_threads=options.num_threads):
            start = time.perf_counter()
            logits = logits_of(runner, batch.images)
            seconds = time.perf_counter() - start
            if counter is None:
                counter = AccuracyCounter(map_classes(source, labels, logits.shape[1], file=str(options.file)))
            counter.add(logits, batch.labels, seconds)
            progress.advance(note=f"top-1 {counter.top1_percent:.2f} %")
        if counter is None:
            raise ConfigError(f"{source.description} holds no image", remedy="give a data set that is not empty")
        return counter.result(runner.info, source)


class AccuracyCounter:
    """Counts hits batch by batch."""

    def __init__(self, classes: ClassMap) -> None:
        self._classes = classes
        self._seen = np.zeros(len(classes.names), dtype=np.int64)
        self._hits = np.zeros(len(classes.names), dtype=np.int64)
        self._top5 = self._nonfinite = 0
        self._seconds = 0.0

    def add(self, logits: np.ndarray, labels: np.ndarray, seconds: float) -> np.ndarray:
        """One batch of logits with the data set's own labels; gives the top-1 hits, [N] bool."""
        wanted = self._classes.to_output[labels]
        hits = top_k_hits(logits, wanted, 1)
        np.add.at(self._seen, wanted, 1)
        np.add.at(self._hits, wanted[hits], 1)
        self._top5 += int(top_k_hits(logits, wanted, 5).sum())
        self._nonfinite += int((~np.isfinite(logits)).any(axis=1).sum())
        self._seconds += seconds
        return hits

    @property
    def top1_percent(self) -> float:
        """So far."""
        return 100.0 * int(self._hits.sum()) / max(1, int(self._seen.sum()))

    def result(self, info: RunnerInfo, source: ImageSource) -> Accuracy:
        """The counts as a result."""
        count, hits = int(self._seen.sum()), int(self._hits.sum())
        low, high = wilson_interval(hits, count)
        return Accuracy(
            file=info.file,
            backend=info.backend,
            device=info.device,
            data=source.description,
            num_images=count,
            num_top1_hits=hits,
            top1_percent=self.top1_percent,
            top1_low=100 * low,
            top1_high=100 * high,
            top5_percent=100.0 * self._top5 / max(1, count) if len(self._seen) > 5 else None,
            num_nonfinite_rows=self._nonfinite,
            seconds=self._seconds,
            images_per_second=count / self._seconds if self._seconds > 0 else 0.0,
            per_class=tuple(
                ClassAccuracy(name=name, num_images=int(seen), num_hits=int(hit))
                for name, seen, hit in zip(self._classes.names, self._seen, self._hits, strict=True)
            ),
            note=self._classes.note,
        )


def sampled_images(data: str, split: str | None, num_images: int, seed: int) -> ImageSource:
    """All images of a data set (num_images = 0), or a stratified sample of it."""
    source = open_images(data, split=split)
    return source if num_images == 0 else stratified_sample(source, num_images, seed=seed)


def check_sampling(batch_size: int, num_images: int, num_threads: int) -> None:
    """Raises ConfigError where one of the three is out of range."""
    problems = []
    if batch_size < 1:
        problems.append(f"batch_size is {batch_size}, expected at least 1")
    if num_images < 0:
        problems.append(f"num_images is {num_images}, expected 0 (all) or more")
    if num_threads < 0:
        problems.append(f"num_threads is {num_threads}, expected 0 (all) or more")
    if problems:
        raise ConfigError("; ".join(problems))
