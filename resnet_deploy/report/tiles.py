"""The few numbers that are asked for first, large, at the top of the report."""

from __future__ import annotations

__all__ = ["tiles_of"]

from collections.abc import Sequence

from resnet_deploy.core.specs import Precision
from resnet_deploy.report.networks import Network
from resnet_deploy.report.numbers import MIB, fixed, percent_interval, plural, signed, three_figures
from resnet_deploy.report.sections.verdicts import agreement_of

_WANTED = (Precision.INT8, Precision.FP8, Precision.FP16, Precision.BF16, Precision.FP32)


def tiles_of(networks: Sequence[Network]) -> list[tuple[str, str, str]]:
    """(name, figure, small print), of the first trained network: accuracy, agreement, size, latency."""
    network = next((network for network in networks if not network.is_untrained), None)
    if network is None:
        return []
    return [*_of_verdict(network), *_of_files(network), *_of_latency(network)]


def _of_verdict(network: Network) -> list[tuple[str, str, str]]:
    sound = [document.result for document in network.verdicts if not document.is_stale]
    if not sound:
        return []
    verdict = min(sound, key=lambda v: _place(v.candidate.precision))
    what = f"{str(verdict.candidate.precision or 'candidate').upper()} {network.name}"
    tiles = []
    accuracy = verdict.candidate.accuracy
    if accuracy is not None:
        between = percent_interval(accuracy.top1_low, accuracy.top1_high)
        tiles.append((f"top-1, {what}", f"{accuracy.top1_percent:.2f} %", f"95 %: {between}"))
    if verdict.top1_drop is not None:
        between = f"95 %: {signed(verdict.drop_low)} to {signed(verdict.drop_high)}"
        tiles.append(("top-1 lost", f"{signed(verdict.top1_drop)} points", between))
    same = agreement_of(verdict)
    if same is not None:
        tiles.append(("same first class", f"{fixed(same['percent'])} %", f"of {plural(verdict.num_images, 'image')}"))
    return tiles


def _of_files(network: Network) -> list[tuple[str, str, str]]:
    engines = network.files("engine") or network.files("onnx")
    if not engines:
        return []
    chosen = min(engines, key=lambda manifest: _place(manifest.precision))
    name = "engine" if network.files("engine") else "ONNX file"
    small = f"{str(chosen.precision or '').upper()}"
    full = network.file(chosen.kind, Precision.FP32) or network.file("onnx", Precision.FP32)
    if full is not None and full.sha256 != chosen.sha256:
        small += (
            f"; the FP32 {'engine' if full.kind == 'engine' else 'ONNX file'} {three_figures(full.size_bytes / MIB)}"
        )
    return [(name, f"{three_figures(chosen.size_bytes / MIB)} MiB", small)]


def _of_latency(network: Network) -> list[tuple[str, str, str]]:
    tiles = []
    for on_gpu, where in ((True, "GPU"), (False, "processor")):
        row = network.fastest(on_gpu=on_gpu)
        if row is not None:
            doubt = "" if row.validity.valid else "; NOT VALID, the machine was not steady"
            small = f"{row.backend} {row.precision or ''}, median of a pass of {plural(row.batch, 'image')}{doubt}"
            tiles.append((f"latency on the {where}", f"{three_figures(row.timing.p50_ms)} ms", small))
    return tiles[:1]


def _place(precision: Precision | None) -> int:
    return _WANTED.index(precision) if precision in _WANTED else len(_WANTED)
