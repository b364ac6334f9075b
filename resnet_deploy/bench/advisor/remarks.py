"""What limits an advice: how much of it was measured, what was assumed, what was left out."""

from __future__ import annotations

__all__ = ["remarks"]

from collections.abc import Iterator, Sequence

from resnet_deploy.bench.advisor.accuracy import AccuracyBook
from resnet_deploy.bench.advisor.advice import Advice, SpeedBasis
from resnet_deploy.bench.advisor.bounds import KERNEL_MS, USUAL_SHARE
from resnet_deploy.bench.advisor.measured import Findings, MeasuredRun
from resnet_deploy.bench.advisor.target import AdvisorTarget
from resnet_deploy.bench.roofline.catalogue import figures_of
from resnet_deploy.core.specs import Precision


def remarks(
    advice: Advice,
    *,
    target: AdvisorTarget,
    findings: Findings,
    runs: Sequence[MeasuredRun],
    book: AccuracyBook,
    num_left_out: int,
) -> list[str]:
    """Notes for the reader of `advice`.

    Args:
        findings: Of the folder; `runs` are those of it on the target.
        num_left_out: Combinations of whose speed nothing is known.
    """
    nets = tuple(dict.fromkeys(option.net for option in advice.options))
    return [
        *_speeds(advice, num_left_out),
        *_the_choice(advice, target),
        *_the_target(target, runs),
        *book.remarks(nets),
        *findings.left_out,
    ]


def _speeds(advice: Advice, num_left_out: int) -> Iterator[str]:
    counts = {basis: sum(o.speed.basis is basis for o in advice.options) for basis in SpeedBasis}
    parts = ", ".join(f"{count} {_COUNTED[basis]}" for basis, count in counts.items() if count)
    yield f"{len(advice.options)} options: {parts}"
    if counts[SpeedBasis.BOUND]:
        yield (
            "a roofline bound is optimistic: the true latency is higher, that of batch 1 often several times; `likely` is "
            f"the longest of the bound / {USUAL_SHARE:g}, every tensor moved through memory, and {1e3 * KERNEL_MS:g} us a "
            "kernel, as in published runs: a rule of thumb"
        )
    if num_left_out:
        yield f"{num_left_out} combinations were left out: nothing is known of their speed on this target"
    faster = [o for o in advice.options if o.speed.num_runs and (o.speed.bound_ms or 0) > o.speed.latency_ms]
    if faster:
        yield (
            f"{len(faster)} options are faster than their roofline bound ({faster[0].name} first): the catalogue's "
            "figures are too low for this device, or its clocks are higher"
        )


_COUNTED = {
    SpeedBasis.MEASURED: "measured",
    SpeedBasis.NOT_VALID: "measured but not valid",
    SpeedBasis.SCALED: "bounds scaled by measured runs",
    SpeedBasis.BOUND: "roofline bounds",
}


def _the_choice(advice: Advice, target: AdvisorTarget) -> Iterator[str]:
    choice, limit = advice.choice, advice.needs.max_latency_ms
    if choice is None:
        return
    if limit is not None and choice.speed.p99_ms is not None and choice.speed.p99_ms > limit >= choice.speed.latency_ms:
        yield f"the median of {choice.name} meets {limit:g} ms, its 99th percentile does not: {choice.speed.p99_ms:.3g} ms"
    by_roofline = choice.speed.basis in (SpeedBasis.BOUND, SpeedBasis.SCALED)
    if by_roofline and choice.precision is Precision.INT8 and target.gpu and "tensorrt-rtx" in target.gpu.products:
        yield (
            "bounds in INT8 are those of TensorRT; TensorRT-RTX 1.7 keeps FP32 between INT8 convolutions, so FP16 may be "
            f"faster there: see `resnet-deploy estimate --net {choice.net} --target {target.gpu.name}`"
        )
    if choice.speed.basis is SpeedBasis.NOT_VALID:
        yield f"{choice.name} was measured, but the run is not valid: {choice.speed.source}"


def _the_target(target: AdvisorTarget, runs: Sequence[MeasuredRun]) -> Iterator[str]:
    processors = sorted({run.cpu for run in runs if run.device == "cpu"})
    if len(processors) > 1:
        yield f"the runs are of {len(processors)} different processors, do not compare them: {', '.join(processors)}"
    if target.gpu is None:
        return
    if target.gpu.note:
        yield f"{target.gpu.title}: {target.gpu.note}"
    unsure = [name for name, figure in figures_of(target.gpu) if not figure.confirmed]
    if unsure:
        yield f"figures of {target.gpu.title} in the catalogue that are not confirmed: {', '.join(unsure)}"
