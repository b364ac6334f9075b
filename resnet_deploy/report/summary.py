"""The sentences a report begins with, and those on what it lacks."""

from __future__ import annotations

__all__ = ["SummaryLine", "failed_text", "missing_parts", "not_run", "summarize_findings"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.report.documents import Document
from resnet_deploy.report.gather import Findings
from resnet_deploy.report.networks import Network, join_names
from resnet_deploy.report.numbers import plural
from resnet_deploy.verify.verdict import Side, Verdict

_PRODUCTS = {"tensorrt-rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}
_PRECISIONS = ("int8", "fp16", "fp32", None)  # what a reader asks for first


@dataclass(frozen=True, kw_only=True, slots=True)
class SummaryLine:
    """One sentence; tone is "bad", "warn", "good" or "plain"."""

    tone: str
    text: str


def summarize_findings(networks: Sequence[Network]) -> tuple[SummaryLine, ...]:
    """Failed verdicts, then stale ones, then what holds of each trained network, then what has only a latency."""
    documents = [document for network in networks for document in network.verdicts]
    lines = [*_alarms(documents)]
    lines += [_line(network) for network in networks if not network.is_untrained]
    untrained = [network for network in networks if network.is_untrained]
    if untrained:
        num_engines = sum(len(network.files("engine")) for network in untrained)
        built = f" ({plural(num_engines, 'engine')} built)" if num_engines else ""
        names = join_names([network.name for network in untrained])
        lines.append(SummaryLine(tone="plain", text=f"Latency only, untrained: {names}{built}."))
    lines += _unproven_engines(networks, documents)
    if not networks:
        lines.append(SummaryLine(tone="warn", text="Nothing was built: this folder holds no network."))
    return tuple(lines)


def missing_parts(findings: Findings) -> tuple[str, ...]:
    """What the folder has no file for, and the command that makes it."""
    kinds = {entry.manifest.kind for entry in findings.entries}
    wanted = {
        "verdict": "No verdict: run `resnet-deploy validate` to compare a file with its reference.",
        "attribution": "No attribution: `resnet-deploy attribute` splits a loss of accuracy by its causes.",
        "divergence": "No comparison by layer: `resnet-deploy diverge` finds the first layer that differs.",
        "bisection": "No bisection: `resnet-deploy bisect` finds the blocks that cost the accuracy.",
        "benchmark": "No benchmark: run `resnet-deploy bench`.",
        "comparison": "No comparison of benchmarks: `resnet-deploy bench compare OLD.json NEW.json --out FILE`.",
        "estimate": "No roofline: `resnet-deploy estimate FILE.onnx --target GPU --out FILE`; it needs no GPU.",
        "advice": "No recommendation: `resnet-deploy advise --target GPU --out FILE`; it needs no GPU.",
        "engine": "No engine: run `resnet-deploy build`.",
    }
    sentences = [text for kind, text in wanted.items() if kind not in kinds]
    if not findings.curves:
        sentences.append("No training curve: the network was imported or not trained in this folder.")
    return tuple(sentences)


def not_run(networks: Sequence[Network]) -> list[tuple[str, list[str]]]:
    """(reason, what it kept from running), each reason once, files of one backend and network folded."""
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for network in networks:
        for row in network.rows:
            if row.timing is None:
                reason = row.reason.removeprefix("not run: ")
                kept = found.setdefault(reason, {}).setdefault(row.backend, {}).setdefault(network.name, [])
                precision = str(row.precision) if row.precision else Path(row.file).name
                if precision not in kept:
                    kept.append(precision)
    return [
        (reason, [f"{backend}: {text}" for backend, nets in backends.items() for text in _fold(nets)])
        for reason, backends in found.items()
    ]


def _fold(nets: dict[str, list[str]]) -> list[str]:
    """{resnet18: [fp32, int8], resnet34: [fp32, int8]} -> ["resnet18, 34 in fp32, int8 (4 files)"]."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, precisions in nets.items():
        alike.setdefault(tuple(precisions), []).append(name)
    return [
        f"{join_names(names)} in {', '.join(precisions)} ({plural(len(names) * len(precisions), 'file')})"
        for precisions, names in alike.items()
    ]


def failed_text(failed: Sequence[Document[Verdict]], documents: Sequence[Document[Verdict]]) -> str:
    """Which of all verdicts failed, each with the checks that it failed."""
    reasons = "; ".join(f"{_file(document.result)} ({_failed_checks(document.result)})" for document in failed)
    return f"{len(failed)} of {plural(len(documents), 'verdict')} FAILED: {reasons}"


def _alarms(documents: Sequence[Document[Verdict]]) -> list[SummaryLine]:
    lines = []
    failed = [document for document in documents if not document.result.passed]
    if failed:
        lines.append(SummaryLine(tone="bad", text=f"{failed_text(failed, documents)}."))
    stale = [document for document in documents if document.is_stale]
    if stale:
        names = ", ".join(dict.fromkeys(_file(document.result) for document in stale))
        text = f"{plural(len(stale), 'verdict')} OUT OF DATE, files were made anew since ({names}): validate again."
        lines.append(SummaryLine(tone="warn", text=text))
    return lines


def _line(network: Network) -> SummaryLine:
    parts = [f"{network.name}: {_engines(network.files('engine'))}"]
    sound = [document.result for document in network.verdicts if not document.is_stale]
    passed = sum(bool(verdict.passed) for verdict in sound)
    if not network.verdicts:
        parts.append("no verdict was taken, so nothing is known of the accuracy of what was made from it")
        return SummaryLine(tone="warn", text="; ".join(parts) + ".")
    if not sound:
        return SummaryLine(tone="warn", text="; ".join([*parts, "its verdicts are out of date"]) + ".")
    parts.append(_score(min(sound, key=_asked_first)))
    if passed == len(sound):
        parts.append("its verdict passed" if passed == 1 else f"all {passed} verdicts passed")
    else:
        parts.append(f"{passed} of {plural(len(sound), 'verdict')} passed")
    return SummaryLine(tone="good" if passed == len(network.verdicts) else "warn", text="; ".join(parts) + ".")


def _asked_first(verdict: Verdict) -> int:
    precision = str(verdict.candidate.precision) if verdict.candidate.precision else None
    return _PRECISIONS.index(precision) if precision in _PRECISIONS else len(_PRECISIONS)


def _engines(engines: Sequence[Manifest]) -> str:
    if not engines:
        return "no engine built"
    makers = dict.fromkeys(f"{_product(m)}{_targets(m)}" for m in engines)
    return f"{plural(len(engines), 'engine')} built ({'; '.join(makers)})"


def _product(manifest: Manifest) -> str:
    product = str(manifest.details.get("product") or manifest.options.get("product") or "unknown product")
    version = manifest.details.get("product_version") or manifest.versions.get(product, "")
    return f"{_PRODUCTS.get(product, product)} {version}".strip()


def _targets(manifest: Manifest) -> str:
    targets = manifest.details.get("targets") or manifest.options.get("targets") or []
    if not targets or isinstance(targets, str):
        return f" for {targets}" if targets else ""
    if not manifest.options.get("targets") and len(targets) > 1:  # the product's own choice is open upwards
        return f" for {targets[0]} and newer"
    return f" for {', '.join(targets)}"


def _score(verdict: Verdict) -> str:
    ours, theirs = _side(verdict.candidate), _side(verdict.reference)
    images = f"on {plural(verdict.num_images, 'image')}"
    candidate, reference = verdict.candidate.accuracy, verdict.reference.accuracy
    if candidate and reference:
        scores = candidate.top1_percent, reference.top1_percent
        return f"{ours} scores {scores[0]:.2f} % where {theirs} scores {scores[1]:.2f} % {images}"
    agreement = verdict.parity.top1_agreement
    share = "an unknown share" if agreement is None else f"{100 * agreement:.2f} %"
    return f"{ours} gives the same first class as {theirs} {images[3:]} in {share} of cases"


def _side(side: Side) -> str:
    return str(side.precision).upper() if side.precision else Path(side.file).name


def _unproven_engines(networks: Sequence[Network], documents: Sequence[Document[Verdict]]) -> list[SummaryLine]:
    """Verdicts on the ONNX files say nothing of a GPU's kernels; a reader must not take them for that."""
    engines = {m.sha256 for network in networks for m in network.files("engine")}
    judged = any(document.result.candidate.sha256 in engines for document in documents)
    rows = [row for network in networks for row in network.rows if row.file.endswith(".engine")]
    if not engines or judged or any(row.timing for row in rows):
        return []
    reasons = ", ".join(dict.fromkeys(row.reason.removeprefix("not run: ") for row in rows))
    text = "The engines were built but not run here" + (f" ({reasons})" if reasons else "")
    text += "; the verdicts are of the ONNX files they were built from." if documents else "."
    return [SummaryLine(tone="plain", text=text)]


def _failed_checks(verdict: Verdict) -> str:
    """Without reasons a red sentence sends the reader searching."""
    return ", ".join(
        f"{c.name} {'not measured' if c.value is None else format(c.value, '.4g')}, wanted {c.relation} {c.limit:g}"
        for c in verdict.checks
        if not c.passed
    )


def _file(verdict: Verdict) -> str:
    return Path(verdict.candidate.file).name
