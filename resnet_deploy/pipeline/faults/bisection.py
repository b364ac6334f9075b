"""`bisect`: which layers must come from the reference for a candidate to classify within its limit."""

from __future__ import annotations

__all__ = ["BisectOptions", "bisect"]

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnet_deploy.core.artifacts import is_up_to_date, write_result
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.files import check_writable
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.score import Score
from resnet_deploy.core.score_log import ScoreLog, score_key
from resnet_deploy.data.source import ImageSource
from resnet_deploy.graph.hybrid import GraphPair
from resnet_deploy.pipeline.faults.contenders import Contender, common_pixels, open_contender
from resnet_deploy.pipeline.faults.hybrid_scores import HybridScorer
from resnet_deploy.pipeline.faults.requantize import requantize
from resnet_deploy.verify.accuracy import sampled_images
from resnet_deploy.verify.faults.bisection import BudgetSpent, Search, Subset, shrink
from resnet_deploy.verify.faults.bisection_result import Bisection, Evaluation, bisection_path, read_bisection
from resnet_deploy.verify.thresholds import Thresholds, resolve_limits

_PACKAGES = ("numpy", "onnx", "onnxruntime-gpu", "onnxruntime", "openvino")
METRICS = ("agreement", "top1")


@dataclass(frozen=True, kw_only=True, slots=True)
class BisectOptions:
    """What to search, on what, and what counts as good.

    Attributes:
        reference: A sound form of the network: checkpoint or ONNX.
        candidate: The ONNX file that does not hold its limit.
        reference_backend, candidate_backend: None takes the file type's own.
        num_images: A stratified sample of that many; 0 takes all.
        metric: "agreement" with the reference, which needs no labels, or "top1".
        limit: Smallest share of agreement, or largest drop in points; None takes `validate`'s default.
        max_evaluations: So many hybrids are scored at most.
        requantize: Quantise a candidate of ours anew without the layers that were found, and score that file.
        preprocess: For files without a manifest, or to have one way for both.
        out: None puts `<candidate's file name>.bisection.json` beside the candidate.
    """

    reference: Path
    candidate: Path
    data: str
    reference_backend: str | None = None
    candidate_backend: str | None = None
    split: str | None = None
    num_images: int = 0
    metric: str = "agreement"
    limit: float | None = None
    max_evaluations: int = 100
    requantize: bool = True
    preprocess: str | None = None
    num_threads: int = 0
    seed: int = 0
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.metric not in METRICS:
            problems.append(f"metric is {self.metric!r}, expected {' or '.join(METRICS)}")
        top = 1 if self.metric == "agreement" else 100
        if self.limit is not None and not 0 <= self.limit <= top:
            problems.append(f"limit of {self.metric} is {self.limit}, expected 0 to {top}")
        if self.max_evaluations < 2:
            problems.append(f"max_evaluations is {self.max_evaluations}, expected at least 2")
        if min(self.num_images, self.num_threads, self.seed) < 0:
            problems.append(
                f"num_images {self.num_images}, num_threads {self.num_threads} and seed {self.seed} must not be negative"
            )
        if problems:
            raise ConfigError("bisect: " + "; ".join(problems))
        if Path(self.candidate).suffix != ".onnx":
            raise ConfigError(
                f"bisect puts parts of an ONNX graph together, {self.candidate} is none",
                remedy="give the ONNX file that an engine was built from; `diverge` looks into engines",
            )


def bisect(options: BisectOptions, progress: Progress = NO_PROGRESS) -> Bisection:
    """Search the blocks, then the layers inside those that were found, and write the outcome.

    Scores are kept in `<out>.scores.jsonl` until the outcome is written; a run that was interrupted goes on there.

    Raises:
        ArtifactError, ConfigError, DataError: A file or the images can not be used, or have no labels for top1.
        GraphError: The two are not forms of one network.
    """
    started = time.perf_counter()
    out = options.out or bisection_path(options.candidate)
    source = sampled_images(options.data, options.split, options.num_images, options.seed)
    record = _record(options, source)
    if not options.force and is_up_to_date(out, **record):
        return replace(read_bisection(out), skipped=True)
    check_writable(out)
    log = ScoreLog(Path(f"{out}.scores.jsonl"))
    with tempfile.TemporaryDirectory(prefix="resnet-deploy-") as folder:
        reference, candidate = (
            open_contender(file, backend, folder=Path(folder), num_threads=options.num_threads, progress=progress)
            for file, backend in (
                (options.reference, options.reference_backend),
                (options.candidate, options.candidate_backend),
            )
        )
        found = _Bisector(options, (reference, candidate), source, log, progress).run(out)
    found = replace(found, num_reused=log.num_reused, seconds=time.perf_counter() - started)
    write_result(
        found,
        out,
        kind="bisection",
        packages=_PACKAGES,
        parent=candidate.subject.manifest,
        precision=candidate.precision,
        details={"met": found.met, "layers": found.layers},
        **record,
    )
    log.remove()
    return found


def _record(options: BisectOptions, source: ImageSource) -> dict[str, Any]:
    return {
        "stage": "bisect",
        "inputs": {
            "reference": options.reference,
            "candidate": options.candidate,
            "images": (source.description, source.fingerprint()),
        },
        "options": {
            name: getattr(options, name)
            for name in (
                "reference_backend",
                "candidate_backend",
                "metric",
                "limit",
                "max_evaluations",
                "requantize",
                "preprocess",
            )
        },
    }


class _Bisector:
    """One search: the pair, what scores its hybrids, and what was tried."""

    def __init__(
        self,
        options: BisectOptions,
        sides: tuple[Contender, Contender],
        source: ImageSource,
        log: ScoreLog,
        progress: Progress,
    ) -> None:
        self._options, self._sides, self._source, self._log, self._progress = options, sides, source, log, progress
        self._pair = GraphPair(sides[0].model, sides[1].model)
        preprocess = common_pixels(*sides, options.preprocess)
        self._scorer = HybridScorer(
            sides, source, preprocess, needs_labels=options.metric == "top1", num_threads=options.num_threads,
            progress=progress,
        )  # fmt: skip
        self._key = (*(side.sha256 for side in sides), options.reference_backend, options.candidate_backend,
                     source.fingerprint(), preprocess)  # fmt: skip
        limits = resolve_limits(Thresholds(), sides[1].precision)
        default = limits.min_agreement if options.metric == "agreement" else limits.max_top1_drop
        self._limit = default if options.limit is None else options.limit
        self._blocks: dict[str, list[str]] = {}
        for layer in self._pair.layers:
            self._blocks.setdefault(layer.block, []).append(layer.node)
        self._evaluations: list[Evaluation] = []
        self._scores: dict[Subset, Score] = {}
        self._phase: tuple[str, tuple[str, ...]] = ("block", ())
        self._search = Search(self._passes, max_tried=options.max_evaluations)

    def run(self, out: Path) -> Bisection:
        """The whole search."""
        self._progress.start("score hybrids", None)
        everything = [layer.node for layer in self._pair.layers]
        blocks: tuple[str, ...] = ()
        layers: tuple[str, ...] = ()
        notes = [side.note for side in self._sides if side.note]
        complete = True
        if self._try("block", ()):
            notes.append("the candidate is within the limit as it is")
        elif not self._try("block", tuple(self._blocks)):
            notes.append(
                "the limit is not held even with every shared layer taken from the reference: what differs is not in one"
            )
        else:
            blocks = tuple(self._blocks)
            try:
                blocks = shrink(blocks, lambda names: self._try("block", tuple(names)))
                inside = [node for node in everything if any(node in self._blocks[name] for name in blocks)]
                layers = shrink(inside, lambda names: self._try("layer", tuple(names)))
            except BudgetSpent:
                complete = False
                best = self._search.best or frozenset()
                layers = tuple(node for node in everything if node in best)
                notes.append(
                    f"cut short after {self._options.max_evaluations} hybrids: some of the layers may not be needed"
                )
        # a block that was needed as a whole may have no layer that is
        blocks = tuple(name for name in self._blocks if set(layers) & set(self._blocks[name]))
        return self._result(out, blocks, layers, complete, notes)

    def _try(self, phase: str, names: tuple[str, ...]) -> bool:
        self._phase = phase, names
        nodes = [node for name in names for node in self._blocks[name]] if phase == "block" else names
        return self._search.passes(nodes)

    def _passes(self, nodes: Subset) -> bool:
        phase, names = self._phase
        score = self._score(nodes)
        passed = self._is_within(score)
        self._evaluations.append(Evaluation(phase=phase, replaced=names, score=score, passed=passed))
        self._progress.advance(
            note=f"{phase}s, {len(nodes)} layers replaced: {'within' if passed else 'beyond'} the limit"
        )
        return passed

    def _score(self, nodes: Subset) -> Score:
        def measure() -> Score:
            return self._scorer.score(self._pair.hybrid(nodes) if nodes else self._sides[1].model)

        if nodes not in self._scores:
            self._scores[nodes] = self._log.score(score_key("bisect", *self._key, sorted(nodes)), measure)
        return self._scores[nodes]

    def _is_within(self, score: Score) -> bool:
        return score.agreement >= self._limit if self._options.metric == "agreement" else score.drop <= self._limit

    def _result(
        self, out: Path, blocks: tuple[str, ...], layers: tuple[str, ...], complete: bool, notes: list[str]
    ) -> Bisection:
        options, candidate = self._options, self._sides[1]
        hybrid_score = self._score(frozenset(layers)) if layers else self._evaluations[-1].score
        met = self._is_within(hybrid_score)
        requantized, score = "", None
        if layers and met and options.requantize:
            made = requantize(candidate, layers, self._progress)
            requantized = str(made.file or "")
            notes += [made.note] if made.note else []
            score = self._scorer.score_file(made.file) if made.file else None
        manifest = candidate.subject.manifest
        return Bisection(
            file=str(out),
            net=manifest.net.name if manifest and manifest.net else "",
            reference=str(options.reference),
            candidate=str(options.candidate),
            images=self._source.description,
            num_images=len(self._source),
            metric=options.metric,
            limit=self._limit,
            candidate_score=self._evaluations[0].score,
            blocks=blocks,
            layers=layers,
            hybrid_score=hybrid_score,
            met=met,
            is_irreducible=complete,
            num_units={"blocks": len(self._blocks), "layers": len(self._pair.layers)},
            num_evaluations=len(self._evaluations),
            num_reused=0,
            evaluations=tuple(self._evaluations),
            requantized=requantized,
            requantized_score=score,
            notes=tuple(notes),
        )
