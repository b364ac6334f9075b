"""What a folder of artifacts holds, for a report: manifests, results of every kind, and training curves."""

from __future__ import annotations

__all__ = ["Findings", "gather"]

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from resnet_deploy.bench.advisor.advice import Advice, read_advice
from resnet_deploy.bench.compare import BenchComparison
from resnet_deploy.bench.roofline.estimate import Estimate, read_estimate
from resnet_deploy.bench.rows import Benchmark, read_benchmark, weights_of
from resnet_deploy.core.artifacts import Manifest, read_manifest, read_result
from resnet_deploy.core.errors import ArtifactError, ResnetDeployError
from resnet_deploy.core.files import content_file, sha256_of_file
from resnet_deploy.core.specs import Precision
from resnet_deploy.report.documents import Document, Entry, TrainingCurve, read_curve
from resnet_deploy.verify.attribution.result import Attribution, read_attribution
from resnet_deploy.verify.faults.bisection_result import Bisection, read_bisection
from resnet_deploy.verify.faults.divergence_result import Divergence, read_divergence
from resnet_deploy.verify.verdict import Verdict, read_verdict

T = TypeVar("T")

_READERS: dict[str, Callable[[Path], Any]] = {
    "verdict": read_verdict,
    "attribution": read_attribution,
    "divergence": read_divergence,
    "bisection": read_bisection,
    "benchmark": read_benchmark,
    "comparison": lambda file: read_result(BenchComparison, file, manifest_kind="comparison"),
    "estimate": read_estimate,
    "advice": read_advice,
}
"""Kind of a result -> what reads it into its dataclass."""

_ORDER = ("checkpoint", "onnx", "calibration", "engine", *_READERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Everything found, in the order of the pipeline.

    Attributes:
        entries: Damaged files too, see `Entry.damage`.
        documents: By kind; none of a damaged or unreadable file.
        unreadable: What was left out and why.
    """

    entries: tuple[Entry, ...]
    documents: Mapping[str, tuple[Document, ...]]
    curves: tuple[TrainingCurve, ...]
    unreadable: tuple[str, ...]

    @property
    def verdicts(self) -> tuple[Document[Verdict], ...]:
        return self.documents["verdict"]

    @property
    def attributions(self) -> tuple[Document[Attribution], ...]:
        return self.documents["attribution"]

    @property
    def divergences(self) -> tuple[Document[Divergence], ...]:
        return self.documents["divergence"]

    @property
    def bisections(self) -> tuple[Document[Bisection], ...]:
        return self.documents["bisection"]

    @property
    def benchmarks(self) -> tuple[Benchmark, ...]:
        """Without their files: their rows name what they timed."""
        return tuple(document.result for document in self.documents["benchmark"])

    @property
    def comparisons(self) -> tuple[Document[BenchComparison], ...]:
        return self.documents["comparison"]

    @property
    def estimates(self) -> tuple[Document[Estimate], ...]:
        return self.documents["estimate"]

    @property
    def advices(self) -> tuple[Document[Advice], ...]:
        return self.documents["advice"]


def gather(folder: Path) -> Findings:
    """Read a folder and its subfolders; a broken file is left out with its reason, not an error.

    Raises:
        ArtifactError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder", remedy="name the folder that the stages wrote to")
    unreadable: list[str] = []
    found = (_attempt(lambda file=file: _entry(folder, file), unreadable) for file in _described_files(folder))
    entries = sorted((entry for entry in found if entry is not None), key=_pipeline_order)
    hashes = {entry.name: entry.manifest.sha256 for entry in entries}
    documents: dict[str, list[Document]] = {kind: [] for kind in _READERS}
    for entry in entries:
        if entry.damage:
            unreadable.append(f"{entry.name}: {entry.damage}")
        elif entry.manifest.kind in _READERS:
            result = _attempt(lambda entry=entry: _READERS[entry.manifest.kind](folder / entry.name), unreadable)
            if result is not None:
                document = Document(entry=entry, result=result, is_stale=_is_stale(entry, hashes))
                documents[entry.manifest.kind].append(document)
    curves = [_attempt(lambda p=p: read_curve(p), unreadable) for p in sorted(folder.rglob("*.metrics.jsonl"))]
    return Findings(
        entries=tuple(entries),
        documents={kind: tuple(results) for kind, results in documents.items()},
        curves=tuple(curve for curve in curves if curve is not None),
        unreadable=tuple(unreadable),
    )


def _described_files(folder: Path) -> list[Path]:
    """Files and bundles that have a manifest: the same name with ".json" added."""
    named = (path.with_suffix("") for path in sorted(folder.rglob("*.json")))
    return [path for path in named if content_file(path).is_file()]


def _entry(folder: Path, file: Path) -> Entry | None:
    manifest = read_manifest(file, verify=False)
    if manifest.kind == "report":
        return None
    damage = ""
    if sha256_of_file(file) != manifest.sha256:
        damage = (
            f"changed or cut off since it was made: {content_file(file).stat().st_size:,} bytes, SHA-256 "
            f"{sha256_of_file(file)[:12]}; its manifest has {manifest.size_bytes:,} and {manifest.sha256[:12]}"
        )
    name = file.relative_to(folder).as_posix()
    return Entry(name=name, manifest=manifest, weights=_weights(file, manifest), damage=damage)


def _weights(file: Path, manifest: Manifest) -> str:
    try:
        return weights_of(file, manifest)
    except ResnetDeployError:
        return "unknown"


def _pipeline_order(entry: Entry) -> tuple:
    manifest = entry.manifest
    place = _ORDER.index(manifest.kind) if manifest.kind in _ORDER else len(_ORDER)
    precision = tuple(Precision).index(manifest.precision) if manifest.precision else -1
    return place, manifest.net.name if manifest.net else "", precision, entry.name


def _attempt(read: Callable[[], T], unreadable: list[str]) -> T | None:
    try:
        return read()
    except ResnetDeployError as error:
        unreadable.append(error.message.splitlines()[0].rstrip(":"))  # it may list a hundred keys
        return None


def _is_stale(entry: Entry, hashes: Mapping[str, str]) -> bool:
    for record in entry.manifest.inputs:
        name = posixpath.normpath(posixpath.join(posixpath.dirname(entry.name), record.file))
        if record.role != "images" and hashes.get(name, record.sha256) != record.sha256:
            return True
    return False
