"""The verdict: does the candidate classify like the reference, on these images, within these limits?"""

from __future__ import annotations

__all__ = ["Side", "ValidateOptions", "Verdict", "read_verdict", "validate", "verdict_path"]

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from resnet_deploy.core.artifacts import is_up_to_date, read_result, write_manifest
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.files import atomic_write, sha256_of_file
from resnet_deploy.core.metrics import paired_drop_interval
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.batches import Batch, count_batches, paired_batches
from resnet_deploy.data.classes import ClassMap, map_classes
from resnet_deploy.data.source import ImageSource
from resnet_deploy.engine.contract import Runner
from resnet_deploy.verify.accuracy import Accuracy, AccuracyCounter, check_sampling, sampled_images
from resnet_deploy.verify.answers import Answer, Answerer, comparable
from resnet_deploy.verify.parity import Parity, ParityMeter
from resnet_deploy.verify.subject import Subject, choose_preprocess, open_subject, subject_of
from resnet_deploy.verify.thresholds import (
    Check,
    Limits,
    Thresholds,
    check_above,
    check_at_least,
    check_at_most,
    resolve_limits,
)

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
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        check_sampling(self.batch_size, self.num_images, self.num_threads)
        if self.skip_bad < 0:
            raise ConfigError(f"skip_bad is {self.skip_bad}, expected 0 (none) or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two runners and what it scored; accuracy is None where the images have no labels."""

    file: str
    sha256: str
    backend: str
    version: str
    device: str
    precision: Precision | None
    accuracy: Accuracy | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """All numbers of a comparison; true where every check passed.

    Attributes:
        file: Where this verdict was written.
        net: Name of the network, empty where no manifest says it.
        parity: Of what was compared; of several outputs, that with the lowest SQNR.
        outputs: Of every output by its name, where the two give features or maps; else empty.
        top1_drop: Points of top-1 that the candidate loses (negative: gains); None without labels.
        drop_low, drop_high: 95 % interval of it, from the images on which the two differ.
        num_only_reference, num_only_candidate: Images that only one of the two has right.
        notes: What limits the verdict, e.g. a sample too small for its limit.
        bad_images: Those that could not be used, path and reason; not counted in `num_images`.
        skipped: It was read back because nothing had changed.
    """

    file: str
    net: str
    passed: bool
    reference: Side
    candidate: Side
    data: str
    num_images: int
    parity: Parity
    top1_drop: float | None
    drop_low: float | None
    drop_high: float | None
    num_only_reference: int | None
    num_only_candidate: int | None
    limits: Limits
    checks: tuple[Check, ...]
    outputs: dict[str, Parity] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    bad_images: tuple[str, ...] = ()
    seconds: float = 0.0
    skipped: bool = False

    def __bool__(self) -> bool:
        return self.passed


def verdict_path(candidate: Path) -> Path:
    """`out/a.int8.engine` -> `out/a.int8.engine.verdict.json`: an ONNX file and its engine keep their own."""
    return Path(f"{candidate}.verdict.json")


def validate(options: ValidateOptions, progress: Progress = NO_PROGRESS) -> Verdict:
    """Run both networks over the same images, compare, and write the verdict.

    Raises:
        ConfigError: A file has no manifest and no preprocessing was named.
        DataError: Another number of classes than the network's.
        EngineRunError: The two give outputs of different shape.
        MissingDependencyError: A backend or its device is not on this machine.
    """
    started = time.perf_counter()
    reference = subject_of(options.reference, options.reference_backend, labels=options.labels)
    candidate = subject_of(options.candidate, options.candidate_backend, labels=options.labels)
    specs = choose_preprocess(reference, options.preprocess), choose_preprocess(candidate, options.preprocess)
    source = sampled_images(options.data, options.split, options.num_images, options.seed)
    limits = resolve_limits(options.thresholds, candidate.manifest.precision if candidate.manifest else None)
    out = options.out or verdict_path(options.candidate)
    record = {
        "stage": "validate",
        "inputs": {
            "reference": options.reference,
            "candidate": options.candidate,
            "images": (source.description, source.fingerprint()),
        },
        "options": {
            "reference_backend": options.reference_backend,
            "candidate_backend": options.candidate_backend,
            "limits": limits,
            "preprocess": specs,
        },
    }
    if options.labels is not None:
        record["options"]["labels"] = options.labels
    if options.skip_bad:
        record["options"]["skip_bad"] = options.skip_bad
    bad = BadImages(options.skip_bad)
    if not options.force and is_up_to_date(out, **record):
        return replace(read_verdict(out), skipped=True)
    with (
        open_subject(reference, num_threads=options.num_threads, preprocess=specs[0]) as first,
        open_subject(candidate, num_threads=options.num_threads, preprocess=specs[1]) as second,
    ):
        comparison = _Comparison(source, (reference, candidate), (first, second))
        progress.start(
            f"{options.candidate} ({second.info.backend}) against {options.reference} ({first.info.backend}) "
            f"on {source.description}",
            count_batches(source, options.batch_size),
        )
        # Each network gets the pixels that its own manifest promises.
        pairs = paired_batches(source, specs, batch_size=options.batch_size, num_threads=options.num_threads, bad=bad)
        for ours, theirs in pairs:
            comparison.add(ours, theirs)
            progress.advance()
        verdict = comparison.verdict(out, limits, same_pixels=specs[0] == specs[1])
    verdict = replace(verdict, bad_images=tuple(map(str, bad)), seconds=time.perf_counter() - started)
    with atomic_write(out) as partial:
        partial.write_text(json.dumps(to_plain(verdict), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    details = {"passed": verdict.passed, "top1_drop": verdict.top1_drop, "agreement": verdict.parity.top1_agreement}
    precision = candidate.manifest.precision if candidate.manifest else None
    parent = candidate.manifest
    write_manifest(
        out, kind="verdict", packages=_PACKAGES, parent=parent, precision=precision, details=details, **record
    )
    return verdict


def read_verdict(file: Path) -> Verdict:
    """Read what `validate` wrote; raises ArtifactError as `core.artifacts.read_result` does."""
    return read_result(Verdict, file, manifest_kind="verdict")


class _Comparison:
    """Feeds both runners and keeps counts."""

    def __init__(self, source: ImageSource, subjects: tuple[Subject, Subject], runners: tuple[Runner, Runner]) -> None:
        self._source, self._subjects, self._runners = source, subjects, runners
        self._sides = [Answerer.of(subject, runner) for subject, runner in zip(subjects, runners, strict=True)]
        self._decides = all(side.kind.names_classes for side in self._sides)
        has_labels = bool(source.classes) and bool((source.labels >= 0).all())
        self._unlabelled = "" if has_labels else "the images have no labels"
        if not self._decides:
            self._unlabelled = f"{self._sides[1].kind} name no class"
        self._labelled = not self._unlabelled
        self._meters: dict[str, ParityMeter] = {}
        self._maps: list[ClassMap] = []
        self._counters: list[AccuracyCounter] = []
        self._only = [0, 0]

    def add(self, reference: Batch, candidate: Batch) -> None:
        answers, seconds = [], []
        for side, batch in zip(self._sides, (reference, candidate), strict=True):
            start = time.perf_counter()
            answers.append(side.answer(batch.images))
            seconds.append(time.perf_counter() - start)
        answers = comparable(self._sides, answers)
        if not self._labelled:
            self._measure(*answers)
            return
        ((name, _),) = answers[0].items()
        outputs = [answer[name] for answer in answers]
        if not self._maps:
            self._maps = [self._map(subject, o) for subject, o in zip(self._subjects, outputs, strict=True)]
            self._counters = [
                AccuracyCounter(m, num_ranked=side.top) for m, side in zip(self._maps, self._sides, strict=True)
            ]
        # Columns in the data set's order, so that two files that number their classes differently still compare.
        self._measure(*({name: o[:, m.to_output]} for o, m in zip(outputs, self._maps, strict=True)))
        first, second = (
            counter.add(o, reference.labels, s) for counter, o, s in zip(self._counters, outputs, seconds, strict=True)
        )
        self._only[0] += int((first & ~second).sum())
        self._only[1] += int((second & ~first).sum())

    def _measure(self, reference: Answer, candidate: Answer) -> None:
        for name, values in reference.items():
            self._meters.setdefault(name, ParityMeter()).add(values, candidate[name])

    def _map(self, subject: Subject, output: np.ndarray) -> ClassMap:
        return map_classes(self._source, subject.labels, output.shape[1], file=str(subject.file))

    def _remarks(self) -> list[str]:
        """What the classes' names and the runners have to say."""
        ran = (f"{side}: {r.info.note}" for side, r in zip(("reference", "candidate"), self._runners, strict=True))
        return [*(m.note for m in self._maps), *(text for text in ran if not text.endswith(": "))]

    def verdict(self, out: Path, limits: Limits, *, same_pixels: bool) -> Verdict:
        parities = {name: meter.result() for name, meter in (self._meters or {"outputs": ParityMeter()}).items()}
        if not self._decides:
            parities = {name: replace(found, top1_agreement=None) for name, found in parities.items()}
        parity = min(parities.values(), key=lambda found: -math.inf if found.sqnr_db is None else found.sqnr_db)
        sides = [
            _side(subject, runner, self._counters[i].result(runner.info, self._source) if self._counters else None)
            for i, (subject, runner) in enumerate(zip(self._subjects, self._runners, strict=True))
        ]
        drop, low, high = None, None, None
        if self._labelled and parity.num_rows:
            low, high = paired_drop_interval(*self._only, parity.num_rows)
            drop = 100 * (self._only[0] - self._only[1]) / parity.num_rows
        checks = _checks(parities, limits, self._decides, sides[0].accuracy, drop)
        manifest = self._subjects[1].manifest
        return Verdict(
            file=str(out),
            net=manifest.net.name if manifest and manifest.net else "",
            passed=all(check.passed for check in checks),
            reference=sides[0],
            candidate=sides[1],
            data=self._source.description,
            num_images=parity.num_rows,
            parity=parity,
            top1_drop=drop,
            drop_low=low,
            drop_high=high,
            num_only_reference=self._only[0] if self._labelled else None,
            num_only_candidate=self._only[1] if self._labelled else None,
            limits=limits,
            checks=checks,
            outputs={} if self._decides else parities,
            notes=tuple(_notes(parity, limits, self._unlabelled, same_pixels, self._remarks())),
        )


def _side(subject: Subject, runner: Runner, accuracy: Accuracy | None) -> Side:
    manifest = subject.manifest
    precision = manifest.precision if manifest else None
    if precision is None and manifest is not None and manifest.kind == "checkpoint":
        precision = Precision.FP32
    return Side(
        file=str(subject.file),
        sha256=manifest.sha256 if manifest else sha256_of_file(subject.file),
        backend=runner.info.backend,
        version=runner.info.version,
        device=runner.info.device,
        precision=precision,
        accuracy=accuracy,
    )


def _checks(
    parities: dict[str, Parity], limits: Limits, decides: bool, reference: Accuracy | None, drop: float | None
) -> tuple[Check, ...]:
    found = parities.values()
    checks = [
        check_at_most("reference values not finite", sum(parity.num_reference_nonfinite for parity in found), 0),
        check_at_most("candidate values not finite", sum(parity.num_candidate_nonfinite for parity in found), 0),
    ]
    for name, parity in parities.items():
        if decides:
            checks.append(check_at_least("top-1 agreement", parity.top1_agreement, limits.min_agreement))
        checks.append(check_at_least(f"cosine of {name}", parity.cosine, limits.min_cosine))
        checks.append(check_at_least(f"SQNR of {name} (dB)", parity.sqnr_db, limits.min_sqnr_db))
    if reference is not None:
        # A reference that does not know the classes proves nothing: wrong labels, class order or pixels show here.
        chance = 100 / len(reference.per_class)
        checks.append(check_above("reference top-1, lower bound (%)", reference.top1_low, chance))
        checks.append(check_at_most("top-1 drop (points)", drop, limits.max_top1_drop))
    return tuple(checks)


def _notes(parity: Parity, limits: Limits, unlabelled: str, same_pixels: bool, remarks: list[str]) -> Iterator[str]:
    yield from dict.fromkeys(note for note in remarks if note)
    if unlabelled:
        yield f"{unlabelled}: the outputs were compared, accuracy was not measured"
    if not same_pixels:
        yield "the two files prepare images differently; each got the pixels its own manifest promises"
    if not unlabelled and parity.num_rows and 100 / parity.num_rows > limits.max_top1_drop:
        yield (
            f"{parity.num_rows} images can not resolve a drop of {limits.max_top1_drop} points: "
            f"one image is {100 / parity.num_rows:.2f}"
        )
