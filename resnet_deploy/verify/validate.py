"""Taking a verdict: two files are run over the same images, compared, judged, and the result is written."""

from __future__ import annotations

__all__ = ["ValidateOptions", "validate"]

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resnet_deploy.core.artifacts import is_up_to_date, write_result
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.batches import count_batches, paired_batches
from resnet_deploy.data.source import ImageSource, Subset
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.verify.accuracy import check_sampling, sampled_images
from resnet_deploy.verify.comparison import Comparison
from resnet_deploy.verify.judgement import judge, side_of
from resnet_deploy.verify.statistics.sequential import SequentialTest, random_order
from resnet_deploy.verify.subject import Subject, choose_preprocess, open_subject, subject_of
from resnet_deploy.verify.thresholds import Limits, Thresholds, resolve_limits
from resnet_deploy.verify.verdict import Verdict, read_verdict, verdict_path

_PACKAGES = ("numpy", "pillow", "torch", "onnxruntime-gpu", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateOptions:
    """What to compare, on what, and what counts as good.

    Attributes:
        reference, candidate: Any two files of the same network: checkpoint, ONNX or engine.
        reference_backend, candidate_backend: None takes the file type's own.
        num_images: A stratified sample of that many; 0 takes all.
        preprocess: For files without a manifest; see `verify.subject.choose_preprocess`.
        labels: Class names in label order, for files without a manifest.
        skip_bad: So many images may be unusable; they are left out, of both, and listed.
        level: Chance of error of each test and of each one-sided bound; intervals have confidence 1 - level.
        prove: A drop that is not proven to be under the limit fails; otherwise its point estimate is judged.
        sequential: Take the images in random order and stop as soon as drop and agreement are certain.
        out: The verdict's file; None puts `<candidate's file name>.verdict.json` beside the candidate.
    """

    reference: Path
    candidate: Path
    data: str
    reference_backend: str | None = None
    candidate_backend: str | None = None
    split: str | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    num_images: int = 0
    batch_size: int = 64
    preprocess: str | None = None
    labels: tuple[str, ...] | None = None
    num_threads: int = 0
    seed: int = 0
    skip_bad: int = 0
    level: float = 0.05
    prove: bool = False
    sequential: bool = False
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        check_sampling(self.batch_size, self.num_images, self.num_threads)
        if self.skip_bad < 0:
            raise ConfigError(f"skip_bad is {self.skip_bad}, expected 0 (none) or more")
        if not 0 < self.level < 0.5:
            raise ConfigError(
                f"level is {self.level}, expected more than 0 and less than 0.5", remedy="0.05 is usual, 0.01 strict"
            )


def validate(options: ValidateOptions, progress: Progress = NO_PROGRESS) -> Verdict:
    """Run both networks over the same images, compare, and write the verdict.

    Raises:
        ConfigError: A file has no manifest and no preprocessing was named; or a proof or an early stop was asked for
            where nothing is counted.
        DataError: Another number of classes than the network's.
        EngineRunError: The two give outputs of different shape.
        MissingDependencyError: A backend or its device is not on this machine.
    """
    started = time.perf_counter()
    reference = subject_of(options.reference, options.reference_backend, labels=options.labels)
    candidate = subject_of(options.candidate, options.candidate_backend, labels=options.labels)
    specs = choose_preprocess(reference, options.preprocess), choose_preprocess(candidate, options.preprocess)
    source = sampled_images(options.data, options.split, options.num_images, options.seed)
    limits = resolve_limits(options.thresholds, *_nature(candidate))
    out = options.out or verdict_path(options.candidate)
    record = _record(options, source, limits, specs)
    if not options.force and is_up_to_date(out, **record):
        return replace(read_verdict(out), skipped=True)
    bad = BadImages(options.skip_bad)
    with (
        open_subject(reference, num_threads=options.num_threads, preprocess=specs[0]) as first,
        open_subject(candidate, num_threads=options.num_threads, preprocess=specs[1]) as second,
    ):
        comparison = Comparison(source, (reference, candidate), (first, second))
        _check_can_answer(options, comparison)
        progress.start(
            f"{options.candidate} ({second.info.backend}) against {options.reference} ({first.info.backend}) "
            f"on {source.description}",
            count_batches(source, options.batch_size),
        )
        sequential = _compare(options, comparison, source, specs, limits, bad, progress)
        accuracies = comparison.accuracies()
        sides = side_of(reference, first.info, accuracies[0]), side_of(candidate, second.info, accuracies[1])
    verdict = judge(
        comparison,
        sides,
        limits,
        level=options.level,
        prove=options.prove,
        sequential=sequential,
        same_pixels=specs[0] == specs[1],
    )
    seconds = time.perf_counter() - started
    verdict = replace(verdict, file=str(out), bad_images=tuple(map(str, bad)), seconds=seconds)
    _write(verdict, out, candidate, record)
    return verdict


def _write(verdict: Verdict, out: Path, candidate: Subject, record: dict[str, Any]) -> None:
    details = {"passed": verdict.passed, "top1_drop": verdict.top1_drop, "agreement": verdict.parity.top1_agreement}
    parent = candidate.manifest
    precision = parent.precision if parent else None
    write_result(
        verdict, out, kind="verdict", packages=_PACKAGES, parent=parent, precision=precision, details=details, **record
    )


def _record(
    options: ValidateOptions, source: ImageSource, limits: Limits, specs: tuple[Preprocess, Preprocess]
) -> dict[str, Any]:
    """What the verdict's manifest says it was made from, and how."""
    inputs = {
        "reference": options.reference,
        "candidate": options.candidate,
        "images": (source.description, source.fingerprint()),
    }
    chosen = {
        "reference_backend": options.reference_backend,
        "candidate_backend": options.candidate_backend,
        "limits": limits,
        "preprocess": specs,
        "level": options.level,
        "prove": options.prove,
    }
    if options.sequential:
        # Order and looks follow from these; of all images, neither the seed nor the batch changes the verdict.
        chosen["sequential"] = {"seed": options.seed, "batch_size": options.batch_size}
    if options.labels is not None:
        chosen["labels"] = options.labels
    if options.skip_bad:
        chosen["skip_bad"] = options.skip_bad
    return {"stage": "validate", "inputs": inputs, "options": chosen}


def _compare(
    options: ValidateOptions,
    comparison: Comparison,
    source: ImageSource,
    specs: tuple[Preprocess, Preprocess],
    limits: Limits,
    bad: BadImages,
    progress: Progress,
) -> SequentialTest | None:
    """Feed the comparison all images, or so many in random order as make it certain; gives the test that said so."""
    test, order = None, None
    if options.sequential:
        test = SequentialTest(
            max_drop=None if comparison.unlabelled else limits.max_top1_drop,
            min_agreement=limits.min_agreement,
            level=options.level,
            num_available=len(source),
        )
        order = random_order(len(source), options.seed)
    ordered = source if order is None else Subset(source, order)
    # Each network gets the pixels that its own manifest promises; one that prepares them itself, whole images.
    given = tuple(None if side.takes_pixels else spec for side, spec in zip(comparison.subjects, specs, strict=True))
    pairs = paired_batches(ordered, given, batch_size=options.batch_size, num_threads=options.num_threads, bad=bad)
    with closing(pairs):
        for batches in pairs:
            if order is not None:
                batches = tuple(replace(batch, indices=order[batch.indices]) for batch in batches)
            comparison.add(*batches)
            progress.advance()
            is_certain = test is not None and test.look(*comparison.counts)
            if is_certain and comparison.counts[0] + len(bad) < len(source):
                break
        else:
            if test is not None:
                test.end()
    return test


def _check_can_answer(options: ValidateOptions, comparison: Comparison) -> None:
    """Raises ConfigError where a proof or an early stop needs what is not there."""
    if options.prove and comparison.unlabelled:
        raise ConfigError(
            f"{comparison.unlabelled}, so no drop can be proven on {options.data}",
            remedy="give labelled images, or leave the proof (--prove) out",
        )
    if options.sequential and not comparison.decides:
        raise ConfigError(
            f"{comparison.unlabelled}, so there is nothing to be certain of early",
            remedy="compare all images, without --sequential",
        )


def _nature(subject: Subject) -> tuple[Precision | None, int | None]:
    """Precision and number of layers with weights; None where no manifest says it, or the catalogue has no such net."""
    if subject.manifest is None:
        return None, None
    try:
        num_layers = find_net(subject.manifest.net.name).depth if subject.manifest.net else None
    except ConfigError:
        num_layers = None
    return subject.manifest.precision, num_layers
