"""Accuracy of a network, or of several that vote, by one of the paper's test protocols."""

from __future__ import annotations

__all__ = ["EvaluateOptions", "evaluate"]

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.batches import count_batches
from resnet_deploy.data.classes import map_classes
from resnet_deploy.data.source import ImageSource
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.verify.accuracy import Accuracy, AccuracyCounter, check_sampling, sampled_images
from resnet_deploy.verify.answers import Answerer, logits_from
from resnet_deploy.verify.averaging import mean_over_views, mean_scores, softmax
from resnet_deploy.verify.ensemble import Member, open_members
from resnet_deploy.verify.protocols import Protocol, ViewPlan, WholeImages, plan_views
from resnet_deploy.verify.subject import Subject, choose_preprocess, subject_of
from resnet_deploy.verify.view_batches import CutBatch, cut_batches


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """What to measure.

    Attributes:
        files: Checkpoints, ONNX files or engines; several are an ensemble.
        backends: One per file; None, or an empty tuple for all, takes the file type's own.
        protocol: Which views of an image a network sees.
        resize_px: Shorter side of ten-crop; None takes 256/224 of the network's input.
        sides: Shorter sides of multi-scale; empty takes the paper's.
        num_images: A stratified sample of that many; 0 takes all.
        preprocess: "imagenet", "cifar", "digits" or a JSON file; None takes each manifest's.
        labels: Class names in label order, for files without a manifest.
        num_threads: Processor threads; 0 takes all.
        skip_bad: So many images that can not be used are left out and listed.
    """

    files: tuple[Path, ...]
    data: str
    backends: tuple[str | None, ...] = ()
    protocol: Protocol = Protocol.SINGLE
    resize_px: int | None = None
    sides: tuple[int, ...] = ()
    split: str | None = None
    batch_size: int = 64
    num_images: int = 0
    preprocess: str | None = None
    labels: tuple[str, ...] | None = None
    num_threads: int = 0
    skip_bad: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_sampling(self.batch_size, self.num_images, self.num_threads)
        problems = []
        if not self.files:
            problems.append("no file was given")
        if self.backends and len(self.backends) != len(self.files):
            problems.append(f"{len(self.backends)} backends for {len(self.files)} files")
        if self.skip_bad < 0:
            problems.append(f"skip_bad is {self.skip_bad}, expected 0 or more")
        if self.resize_px is not None and self.protocol is not Protocol.TEN_CROP:
            problems.append(f"--resize is for ten-crop, the protocol is {self.protocol}")
        if self.sides and self.protocol is not Protocol.MULTI_SCALE:
            problems.append(f"--sides is for multi-scale, the protocol is {self.protocol}")
        if len(set(self.sides)) != len(self.sides):
            problems.append(f"sides {', '.join(map(str, self.sides))} name one twice")
        if problems:
            raise ConfigError("evaluate: " + "; ".join(problems))


def evaluate(options: EvaluateOptions, progress: Progress = NO_PROGRESS) -> Accuracy:
    """Run one network or an ensemble over a data set and count how often it is right.

    An image's score is the mean softmax over the views of the protocol, then over the networks, in float64.
    One network with one view is counted on its logits, bit for bit.

    Raises:
        ConfigError: A file has no manifest and no preprocessing was named; the protocol does not suit a file; the
            files know different classes.
        DataError: No labels, another number of classes than the network's, or too many unusable images.
        MissingDependencyError: A backend or its device is not on this machine.
    """
    backends = options.backends or (None,) * len(options.files)
    subjects = [
        subject_of(file, backend, labels=options.labels) for file, backend in zip(options.files, backends, strict=True)
    ]
    plans = [_plan(subject, options) for subject in subjects]
    source = sampled_images(options.data, options.split, options.num_images, options.seed)
    bad = BadImages(options.skip_bad)
    with open_members(subjects, plans, protocol=options.protocol, num_threads=options.num_threads) as members:
        info = _joined_info([member.runner.info for member in members])
        progress.start(
            f"{info.file} on {source.description} ({info.backend}, {options.protocol})",
            count_batches(source, options.batch_size),
        )
        distinct = tuple(dict.fromkeys(plans))
        places = [distinct.index(plan) for plan in plans]
        vote: _Vote | None = None
        for batch in cut_batches(
            source, distinct, batch_size=options.batch_size, num_threads=options.num_threads, bad=bad
        ):
            vote = vote or _Vote(members, places, source)
            progress.advance(note=f"top-1 {vote.add(batch):.2f} %")
        if vote is None:
            raise ConfigError(f"{source.description} holds no usable image", remedy="give a data set that is not empty")
        return replace(
            vote.result(info),
            protocol=str(options.protocol),
            views="; ".join(plan.description for plan in distinct),
            skipped=tuple(bad),
        )


def _plan(subject: Subject, options: EvaluateOptions) -> ViewPlan:
    spec = choose_preprocess(subject, options.preprocess)
    if not subject.takes_pixels:
        return plan_views(
            options.protocol, spec, batch_size=options.batch_size, resize_px=options.resize_px, sides=options.sides
        )
    if options.protocol is not Protocol.SINGLE:
        raise ConfigError(
            f"{subject.file} cuts the centre of its images itself, {options.protocol} wants other views",
            remedy="give the file it was made from",
        )
    return WholeImages(spec)


class _Vote:
    """Runs all members over batches and counts the ensemble and each member."""

    def __init__(self, members: Sequence[Member], places: Sequence[int], source: ImageSource) -> None:
        self._members, self._places, self._source = members, places, source
        self._answerers = {member.subject.file: _answerer(member, alone=len(members) == 1) for member in members}
        self._ensemble: AccuracyCounter | None = None
        self._each: list[AccuracyCounter] = []
        self._seconds = 0.0

    def add(self, batch: CutBatch) -> float:
        """Count a batch; gives the top-1 so far, in percent."""
        self._seconds, scores = 0.0, []
        for member, place in zip(self._members, self._places, strict=True):
            found = mean_over_views(
                member.plan.views(batch.cuts[place]),
                lambda images, member=member: self._run(member, images),
                num_images=len(batch.labels),
                num_views=member.plan.num_views,
            )
            scores.append(found if member.columns is None else found[:, member.columns])
        if self._ensemble is None:
            self._start(scores)
        if len(scores) == 1:
            self._ensemble.add(scores[0], batch.labels, self._seconds)
            return self._ensemble.top1_percent
        for counter, found in zip(self._each, scores, strict=True):
            counter.add(found, batch.labels, 0.0)
        votes = [
            softmax(found) if member.plan.num_views == 1 else found
            for member, found in zip(self._members, scores, strict=True)
        ]
        self._ensemble.add(mean_scores(votes), batch.labels, self._seconds)
        return self._ensemble.top1_percent

    def _run(self, member: Member, images: np.ndarray | list[np.ndarray]) -> np.ndarray:
        start = time.perf_counter()
        logits = logits_from(self._answerers[member.subject.file].answer(images))
        self._seconds += time.perf_counter() - start
        return logits

    def _start(self, scores: Sequence[np.ndarray]) -> None:
        for member, found in zip(self._members[1:], scores[1:], strict=True):
            if found.shape != scores[0].shape:
                raise ConfigError(
                    f"{self._members[0].subject.file} gives {scores[0].shape[1]} logits, {member.subject.file} "
                    f"{found.shape[1]}: they can not vote together",
                    remedy="give networks that were trained for the same classes",
                )
        labels = next((member.labels for member in self._members if member.labels is not None), None)
        file = next((m.subject.file for m in self._members if m.labels is not None), self._members[0].subject.file)
        classes = map_classes(self._source, labels, scores[0].shape[1], file=str(file))
        tops = [answerer.top for answerer in self._answerers.values()]
        self._ensemble = AccuracyCounter(classes, num_ranked=tops[0])
        self._each = [AccuracyCounter(classes) for _ in scores] if len(scores) > 1 else []

    def result(self, info: RunnerInfo) -> Accuracy:
        """The counts."""
        result = self._ensemble.result(info, self._source)
        return replace(
            result,
            members=tuple(
                counter.member(member.runner.info, member.plan.description)
                for counter, member in zip(self._each, self._members, strict=False)
            ),
            note="; ".join(note for note in (result.note, *(m.note for m in self._members)) if note),
        )


def _answerer(member: Member, *, alone: bool) -> Answerer:
    """What asks a network.

    Raises:
        ConfigError: It names no classes, or too few of them for a vote.
    """
    answerer = Answerer.of(member.subject, member.runner)
    if not answerer.kind.names_classes:
        raise ConfigError(
            f"{member.subject.file} gives {answerer.kind}, which name no class",
            remedy="evaluate the classifier's file, or compare these outputs with `resnet-deploy validate`",
        )
    if answerer.top is not None and not (alone and member.plan.num_views == 1):
        raise ConfigError(
            f"{member.subject.file} gives the {answerer.top} best classes alone, an average needs all of them",
            remedy="give a file that was exported with --output logits or softmax",
        )
    return answerer


def _joined_info(infos: Sequence[RunnerInfo]) -> RunnerInfo:
    """One line for several runners; no tensors, as they need not agree."""

    def joined(values: Sequence[str]) -> str:
        return " + ".join(dict.fromkeys(values))

    if len(infos) == 1:
        return infos[0]
    return RunnerInfo(
        backend=joined([info.backend for info in infos]),
        version=joined([info.version for info in infos]),
        device=joined([info.device for info in infos]),
        file=" + ".join(info.file for info in infos),
        inputs=(),
        outputs=(),
    )
