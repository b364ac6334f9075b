"""Top-1 and top-5 as counts on a labelled data set, with the interval the sample size allows."""

from __future__ import annotations

__all__ = [
    "Accuracy",
    "AccuracyCounter",
    "ClassAccuracy",
    "MemberAccuracy",
    "check_sampling",
    "sampled_images",
]

from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.metrics import label_ranks, wilson_interval
from resnet_deploy.data.bad_images import BadImage
from resnet_deploy.data.classes import ClassMap
from resnet_deploy.data.source import ImageSource, open_images, stratified_sample
from resnet_deploy.engine.contract import RunnerInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassAccuracy:
    """Top-1 of the images of one class."""

    name: str
    num_images: int
    num_hits: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberAccuracy:
    """What one network of an ensemble scored by itself, under the same protocol; in percent as in `Accuracy`."""

    file: str
    backend: str
    device: str
    views: str
    num_top1_hits: int
    top1_percent: float
    top1_low: float
    top1_high: float
    top5_percent: float | None
    num_nonfinite_rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """What one runner, or an ensemble of several, scored. Top-1, top-5 and intervals are in percent.

    Attributes:
        file, backend, device: Of an ensemble those of its members, joined by " + " where they differ.
        top1_low, top1_high: 95 % Wilson interval of top-1.
        top5_percent: None where there are five classes or fewer.
        seconds, images_per_second: Of the runner alone, decoding not counted; no benchmark, see `bench`.
        num_nonfinite_rows: Images for which a logit was NaN or infinite.
        note: About class names and sizes; empty where there is nothing to say.
        protocol: Name of `verify.protocols.Protocol`.
        views: What a network saw of an image; empty in a verdict.
        members: The networks of an ensemble, each by itself; empty where there is one.
        skipped: Images that could not be used and are not counted.
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
    protocol: str = "single"
    views: str = ""
    members: tuple[MemberAccuracy, ...] = ()
    skipped: tuple[BadImage, ...] = ()


class AccuracyCounter:
    """Counts hits batch by batch.

    Args:
        num_ranked: So many classes of a row are in order, where a network names the best alone; None for all.
    Attributes:
        has_top5: There are more than five classes, and five of them are ranked.
    """

    def __init__(self, classes: ClassMap, *, num_ranked: int | None = None) -> None:
        self._classes = classes
        self.has_top5 = len(classes.names) > 5 and (num_ranked is None or num_ranked >= 5)
        self._seen = np.zeros(len(classes.names), dtype=np.int64)
        self._hits = np.zeros(len(classes.names), dtype=np.int64)
        self._top5 = self._nonfinite = 0
        self._seconds = 0.0

    def add(self, logits: np.ndarray, labels: np.ndarray, seconds: float) -> np.ndarray:
        """One batch of logits with the data set's own labels; gives the ranks of the true classes, [N] from 0."""
        wanted = self._classes.to_output[labels]
        ranks = label_ranks(logits, wanted)
        hits = ranks < 1
        np.add.at(self._seen, wanted, 1)
        np.add.at(self._hits, wanted[hits], 1)
        self._top5 += int((ranks < 5).sum())
        self._nonfinite += int((~np.isfinite(logits)).any(axis=1).sum())
        self._seconds += seconds
        return ranks

    @property
    def top1_percent(self) -> float:
        """So far."""
        return 100.0 * int(self._hits.sum()) / max(1, int(self._seen.sum()))

    @property
    def top5_percent(self) -> float | None:
        """So far; None where there are five classes or fewer, or where fewer are ranked."""
        return 100.0 * self._top5 / max(1, int(self._seen.sum())) if self.has_top5 else None

    def result(self, info: RunnerInfo, source: ImageSource) -> Accuracy:
        """The counts as a result."""
        count = int(self._seen.sum())
        return Accuracy(
            **self._score(info),
            data=source.description,
            num_images=count,
            seconds=self._seconds,
            images_per_second=count / self._seconds if self._seconds > 0 else 0.0,
            per_class=tuple(
                ClassAccuracy(name=name, num_images=int(seen), num_hits=int(hit))
                for name, seen, hit in zip(self._classes.names, self._seen, self._hits, strict=True)
            ),
            note=self._classes.note,
        )

    def member(self, info: RunnerInfo, views: str) -> MemberAccuracy:
        """The counts as those of one network of an ensemble."""
        return MemberAccuracy(**self._score(info), views=views)

    def _score(self, info: RunnerInfo) -> dict[str, Any]:
        """What a result and a member both say."""
        count, hits = int(self._seen.sum()), int(self._hits.sum())
        low, high = wilson_interval(hits, count)
        return {
            "file": info.file,
            "backend": info.backend,
            "device": info.device,
            "num_top1_hits": hits,
            "top1_percent": self.top1_percent,
            "top1_low": 100 * low,
            "top1_high": 100 * high,
            "top5_percent": self.top5_percent,
            "num_nonfinite_rows": self._nonfinite,
        }


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
