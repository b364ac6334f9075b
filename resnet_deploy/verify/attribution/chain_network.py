"""One network of a chain on one kind of pixels, what it answered over a pass, and how two such answers differ."""

from __future__ import annotations

__all__ = ["ChainNetwork", "Link", "WrongPixels", "difference_interval", "points", "step_of"]

import math
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.core.metrics import paired_drop_interval, top_k_hits, wilson_interval
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.classes import ClassMap, map_classes
from resnet_deploy.data.source import ImageSource
from resnet_deploy.data.wrong_pixels import PixelMistake
from resnet_deploy.engine.contract import Runner
from resnet_deploy.verify.answers import Answer, Answerer
from resnet_deploy.verify.attribution.result import ChainFile, PixelAlternative, Step
from resnet_deploy.verify.parity import Parity
from resnet_deploy.verify.statistics.scores import mcnemar
from resnet_deploy.verify.subject import Subject

_Z95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One network of a chain, open, with the pixels it gets.

    Attributes:
        name: See `ChainFile.name`.
        cause: Of the step that leads to it; empty for the first.
        shown: What `ChainFile.file` says.
        made, how: See `ChainFile`.
    """

    name: str
    cause: str
    subject: Subject
    runner: Runner
    preprocess: Preprocess
    shown: str = ""
    made: bool = False
    how: str = ""


class ChainNetwork:
    """A runner on one kind of pixels, and its answers' classes over the pass."""

    def __init__(self, link: Link, source: ImageSource) -> None:
        self.link = link
        self.answerer = Answerer.of(link.subject, link.runner)
        if not self.answerer.kind.names_classes:
            raise ConfigError(
                f"{link.subject.file} gives {self.answerer.kind}, which name no class: there is no accuracy to lose",
                remedy="give the classifier's file, made by `resnet-deploy export --output logits`",
            )
        self._source = source
        self._map: ClassMap | None = None
        self.hits: list[np.ndarray] = []
        self.classes: list[np.ndarray] = []
        self._num_nonfinite = 0

    def add(self, images: np.ndarray, labels: np.ndarray) -> Answer:
        """Run a batch and take note of what it is taken for."""
        answer = self.answerer.answer(images)
        ((_, values),) = answer.items()
        hits, classes = self.judge(values, labels)
        self.hits.append(hits)
        self.classes.append(classes)
        self._num_nonfinite += int((~np.isfinite(values)).any(axis=1).sum())
        return answer

    def judge(self, values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[N, K] in the network's order -> top-1 hits [N] bool and classes [N], -1 where a value is NaN."""
        ordered = self.ordered(values)
        classes = np.where(np.isnan(ordered).any(axis=1), -1, ordered.argmax(axis=1))
        return top_k_hits(ordered, labels, 1), classes

    def ordered(self, values: np.ndarray) -> np.ndarray:
        """Columns in the data set's order, so that files that number their classes differently compare."""
        if self._map is None:
            subject = self.link.subject
            self._map = map_classes(self._source, subject.labels, values.shape[1], file=str(subject.file))
        return values[:, self._map.to_output]

    def finish(self) -> None:
        """All batches have been added."""
        self.hit, self.chosen = np.concatenate(self.hits), np.concatenate(self.classes)

    def notes(self) -> list[str]:
        """What the class names and the runner have to say."""
        return [note for note in (self._map.note if self._map else "", self.link.runner.info.note) if note]

    def file(self, link: Link) -> ChainFile:
        """The network's score under the name of one of its links."""
        info, manifest = link.runner.info, link.subject.manifest
        hits, count = int(self.hit.sum()), len(self.hit)
        low, high = wilson_interval(hits, count)
        return ChainFile(
            name=link.name,
            file=link.shown or str(link.subject.file),
            sha256=manifest.sha256 if manifest else sha256_of_file(link.subject.file),
            made=link.made,
            how=link.how,
            precision=manifest.precision if manifest else None,
            backend=info.backend,
            version=info.version,
            device=info.device,
            num_top1_hits=hits,
            top1_percent=points(hits, count),
            top1_low=100 * low,
            top1_high=100 * high,
            num_nonfinite_rows=self._num_nonfinite,
        )


class WrongPixels:
    """The last network on pixels that were prepared with one mistake."""

    def __init__(self, mistake: PixelMistake) -> None:
        self.mistake = mistake
        self._num_changed = 0
        self._hits: list[np.ndarray] = []
        self.classes: list[np.ndarray] = []

    def add(self, network: ChainNetwork, right: np.ndarray, wrong: np.ndarray, labels: np.ndarray) -> None:
        """A batch whose right pixels `network` has answered last; only images that differ are run again."""
        changed = (right != wrong).any(axis=(1, 2, 3))
        self._num_changed += int(changed.sum())
        hits, classes = network.hits[-1].copy(), network.classes[-1].copy()
        if changed.any():
            ((_, values),) = network.answerer.answer(wrong[changed]).items()
            hits[changed], classes[changed] = network.judge(values, labels[changed])
        self._hits.append(hits)
        self.classes.append(classes)

    def result(self, network: ChainNetwork) -> PixelAlternative:
        """Against the right pixels."""
        hit, chosen = np.concatenate(self._hits), np.concatenate(self.classes)
        lost, gained = int((network.hit & ~hit).sum()), int((hit & ~network.hit).sum())
        low, high = paired_drop_interval(lost, gained, len(hit))
        return PixelAlternative(
            name=self.mistake.name,
            mistake=self.mistake.words,
            num_changed=self._num_changed,
            top1_percent=points(int(hit.sum()), len(hit)),
            drop=points(lost - gained, len(hit)),
            drop_low=low,
            drop_high=high,
            num_flips=int((chosen != network.chosen).sum()),
        )


def step_of(
    cause: str, before: str, after: str, first: ChainNetwork, second: ChainNetwork, parity: Parity, identical: bool
) -> Step:
    lost, gained = int((first.hit & ~second.hit).sum()), int((second.hit & ~first.hit).sum())
    count = len(first.hit)
    low, high = paired_drop_interval(lost, gained, count)
    agreeing = int(((first.chosen == second.chosen) & (first.chosen >= 0)).sum())
    return Step(
        cause=cause,
        before=before,
        after=after,
        top1_before=points(int(first.hit.sum()), count),
        top1_after=points(int(second.hit.sum()), count),
        drop=points(lost - gained, count),
        drop_low=low,
        drop_high=high,
        num_lost=lost,
        num_gained=gained,
        num_flips=count - agreeing,
        agreement=agreeing / count,
        mcnemar_p=mcnemar(lost, gained)[1],
        sqnr_db=parity.sqnr_db,
        distinguishable=low > 0 or high < 0,
        identical=identical,
    )


def difference_interval(differences: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of whole numbers, one for each image, in points.

    `core.metrics.paired_drop_interval` is for differences of -1, 0 and 1 alone; of two drops they go from -2 to 2.

    Args:
        differences: [N] integers.
    Source: Agresti and Min, Statistics in Medicine 24 (2005) 729-740, section 3: Wald's interval after adding half
        an image of +1, half of -1, and one of 0; where nothing differs it has a width for all that.
    """
    count = len(differences) + 2.0
    total = float(differences.sum())
    squares = float(np.square(differences.astype(np.float64)).sum()) + 1.0
    half = _Z95 * math.sqrt(squares - total**2 / count) / count
    return 100 * (total / count - half), 100 * (total / count + half)


def points(images: int, count: int) -> float:
    return 100 * images / count
