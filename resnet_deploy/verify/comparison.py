"""Two networks run over the same images: what they answer is counted, batch by batch, and nothing else is kept."""

from __future__ import annotations

__all__ = ["Comparison"]

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from resnet_deploy.data.batches import Batch
from resnet_deploy.data.classes import ClassMap, map_classes
from resnet_deploy.data.source import ImageSource
from resnet_deploy.engine.contract import Runner
from resnet_deploy.verify.accuracy import Accuracy, AccuracyCounter
from resnet_deploy.verify.answers import Answer, Answerer, comparable
from resnet_deploy.verify.parity import Parity, ParityMeter
from resnet_deploy.verify.statistics.flips import FlipRecorder
from resnet_deploy.verify.statistics.pairs import PairCounter
from resnet_deploy.verify.statistics.result import Flips
from resnet_deploy.verify.subject import Subject


class Comparison:
    """Feeds both runners and keeps counts.

    Attributes:
        source: The images; what flips are named by.
        subjects: Reference and candidate.
        decides: Both name classes; else they give features or maps.
        unlabelled: Why no accuracy is counted; empty where it is.
        pairs: Hits of both; empty of counts without labels.
    """

    def __init__(self, source: ImageSource, subjects: tuple[Subject, Subject], runners: tuple[Runner, Runner]) -> None:
        self.source, self.subjects, self._runners = source, subjects, runners
        self._sides = [Answerer.of(subject, runner) for subject, runner in zip(subjects, runners, strict=True)]
        self.decides = all(side.kind.names_classes for side in self._sides)
        has_labels = bool(source.classes) and bool((source.labels >= 0).all())
        self.unlabelled = "" if has_labels else "the images have no labels"
        if not self.decides:
            self.unlabelled = f"{self._sides[1].kind} name no class"
        self.pairs = PairCounter(len(source.classes))
        self._num_images = self._num_flips = 0
        self._meters: dict[str, ParityMeter] = {}
        self._maps: list[ClassMap] = []
        self._counters: list[AccuracyCounter] = []
        self._flips: FlipRecorder | None = None
        self._num_outputs = 0

    def add(self, reference: Batch, candidate: Batch) -> None:
        """One batch of the same images, as either network wants them."""
        self._num_images += len(reference.labels)
        answers, seconds = [], []
        for side, batch in zip(self._sides, (reference, candidate), strict=True):
            start = time.perf_counter()
            answers.append(side.answer(batch.images))
            seconds.append(time.perf_counter() - start)
        answers = list(comparable(self._sides, answers))
        if not self.unlabelled:
            answers = self._count(answers, reference.labels, seconds)
        for name, values in answers[0].items():
            self._meters.setdefault(name, ParityMeter()).add(values, answers[1][name])
        if self.decides:
            self._record_flips(answers, reference)

    def _count(self, answers: list[Answer], labels: np.ndarray, seconds: list[float]) -> list[Answer]:
        """Count hits; gives the answers with their columns in the data set's order.

        So two files that number their classes differently still compare.
        """
        ((name, _),) = answers[0].items()
        outputs = [answer[name] for answer in answers]
        if not self._maps:
            self._maps = [self._map(subject, o) for subject, o in zip(self.subjects, outputs, strict=True)]
            self._counters = [
                AccuracyCounter(m, num_ranked=side.top) for m, side in zip(self._maps, self._sides, strict=True)
            ]
        ranks = [counter.add(o, labels, s) for counter, o, s in zip(self._counters, outputs, seconds, strict=True)]
        self.pairs.add(*ranks, labels)
        return [{name: _in_order(o, m.to_output)} for o, m in zip(outputs, self._maps, strict=True)]

    def _record_flips(self, answers: list[Answer], batch: Batch) -> None:
        ((name, first),) = answers[0].items()
        if self._flips is None:
            self._flips = FlipRecorder(are_logits=name == "logits")
            self._num_outputs = first.shape[1]
        labels = None if self.unlabelled else batch.labels
        self._num_flips += self._flips.add(first, answers[1][name], batch.indices, labels)

    def _map(self, subject: Subject, output: np.ndarray) -> ClassMap:
        return map_classes(self.source, subject.labels, output.shape[1], file=str(subject.file))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """So far: images, flips, images that only the reference has right, that only the candidate has right."""
        return self._num_images, self._num_flips, self.pairs.only_reference, self.pairs.only_candidate

    @property
    def net(self) -> str:
        """Name of the candidate's network, empty where no manifest says it."""
        manifest = self.subjects[1].manifest
        return manifest.net.name if manifest and manifest.net else ""

    def parities(self) -> dict[str, Parity]:
        """By the name of the output; of no values where nothing was added."""
        found = {name: meter.result() for name, meter in (self._meters or {"outputs": ParityMeter()}).items()}
        if not self.decides:
            return {name: replace(parity, top1_agreement=None) for name, parity in found.items()}
        return found

    def accuracies(self) -> tuple[Accuracy | None, Accuracy | None]:
        """Of reference and candidate; None without labels."""
        if not self._counters:
            return None, None
        first, second = (c.result(r.info, self.source) for c, r in zip(self._counters, self._runners, strict=True))
        return first, second

    @property
    def has_top5(self) -> bool:
        """Both rank five classes or more, of more than five."""
        return bool(self._counters) and all(counter.has_top5 for counter in self._counters)

    def flips(self, level: float) -> Flips | None:
        """None where the outputs name no class, or nothing was added."""
        if self._flips is None:
            return None
        labels = self.subjects[0].labels
        names = self.source.classes if not self.unlabelled else labels
        if names is None or len(names) != self._num_outputs:
            names = tuple(map(str, range(self._num_outputs)))
        return self._flips.result(names, self.source.name, labelled=not self.unlabelled, level=level)

    def remarks(self) -> Iterator[str]:
        """What the classes' names and the runners have to say."""
        yield from (found.note for found in self._maps if found.note)
        for side, runner in zip(("reference", "candidate"), self._runners, strict=True):
            if runner.info.note:
                yield f"{side}: {runner.info.note}"


def _in_order(output: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[N, K] with its columns in another order; itself where that is the same, which spares a copy."""
    return output if np.array_equal(columns, np.arange(output.shape[1])) else output[:, columns]
