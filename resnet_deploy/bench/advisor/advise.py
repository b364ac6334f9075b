"""Which network, image size, precision and batch size to take on a target, given what is needed."""

from __future__ import annotations

__all__ = ["AdviseOptions", "advise", "judge_options"]

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from resnet_deploy.bench.advisor.accuracy import AccuracyBook
from resnet_deploy.bench.advisor.advice import Advice, Needs, Option, write_advice
from resnet_deploy.bench.advisor.bounds import roofline_of
from resnet_deploy.bench.advisor.choice import choose
from resnet_deploy.bench.advisor.judge import judge
from resnet_deploy.bench.advisor.measured import Findings, MeasuredRun, read_folder
from resnet_deploy.bench.advisor.pareto import pareto_set
from resnet_deploy.bench.advisor.reasons import explain
from resnet_deploy.bench.advisor.remarks import remarks
from resnet_deploy.bench.advisor.speeds import BoundModel, Key, speeds_of
from resnet_deploy.bench.advisor.steps import next_steps
from resnet_deploy.bench.advisor.target import AdvisorTarget, find_target
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from resnet_deploy.nets.catalogue import IMAGENET_DEPTHS, find_net

USUAL_BATCHES = (1, 8, 32)
USUAL_SIZES = (160, 192, 224, 256, 288)
"""Sides in px at which ImageNet networks are looked at; other networks at their own size only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdviseOptions:
    """What is asked.

    Attributes:
        target: "here", "cpu" or a GPU of the catalogue.
        nets, sizes_px, precisions, batches: What to look at; empty takes the usual ones and all that was measured.
        folder: Where benchmarks and verdicts are looked for; None looks nowhere.
        weights: Tag of the weights whose published top-1 is taken.
        catalogue: A file with GPUs of the user's own.
        out: File to write; None writes none.
    """

    target: str
    needs: Needs = field(default_factory=Needs)
    nets: tuple[str, ...] = ()
    sizes_px: tuple[int, ...] = ()
    precisions: tuple[Precision, ...] = ()
    batches: tuple[int, ...] = ()
    folder: Path | None = None
    weights: str = "torchvision-v1"
    catalogue: Path | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name} are {list(values)}, expected positive numbers"
            for name, values in (("sizes", self.sizes_px), ("batches", self.batches))
            if values and min(values) < 1
        ]
        if problems:
            raise ConfigError("; ".join(problems), remedy="see `resnet-deploy advise --help`")


def advise(options: AdviseOptions, progress: Progress = NO_PROGRESS) -> Advice:
    """Look at every option, judge it by the needs, and choose.

    Raises:
        ConfigError: An unknown target, network or set of weights; or nothing is known of any option's speed.
        ArtifactError: The folder is not there.
    """
    started = time.perf_counter()
    target = find_target(options.target, catalogue=options.catalogue)
    findings = read_folder(options.folder) if options.folder else Findings()
    runs = [run for run in findings.runs if target.has_run(run)]
    book = AccuracyBook(findings.accuracies, weights=options.weights)
    keys = _keys(options, runs, has_bounds=target.gpu is not None)
    bound_of = roofline_of(target.gpu, progress) if target.gpu else None
    known = judge_options(keys, runs, book, options.needs, bound_of=bound_of, target_watts=target.watts)
    if not known:
        raise _nothing_known(target, options.folder, findings)
    advice = _advice(known, options, target)
    notes = remarks(advice, target=target, findings=findings, runs=runs, book=book, num_left_out=_num_left(keys, known))
    advice = replace(advice, notes=tuple(notes), seconds=time.perf_counter() - started)
    if options.out is not None:
        inputs = {f"measured {number}": file for number, file in enumerate(findings.files)}
        asked = {"target": options.target, "needs": options.needs, "weights": options.weights}
        write_advice(advice, inputs=inputs, options=asked)
    return advice


def judge_options(
    keys: Sequence[Key],
    runs: Iterable[MeasuredRun],
    book: AccuracyBook,
    needs: Needs,
    *,
    bound_of: BoundModel | None,
    target_watts: float | None,
) -> tuple[Option, ...]:
    """Every option of which a speed is known, judged, with its place on the front; the fastest first.

    Args:
        runs: On the target.
        bound_of: The target's roofline; None where there is none.
        target_watts: The most that the target draws; None where it is not known.
    """
    options = [
        judge(
            Option(
                **key._asdict(),
                backend=backend,
                device=device,
                speed=speed,
                accuracy=book.look_up(key.net, key.size_px, key.precision),
            ),
            needs,
            target_watts=target_watts,
        )
        for key, backend, device, speed in speeds_of(keys, runs, bound_of)
    ]
    options.sort(key=lambda option: (option.speed.latency_ms, option.name))
    front = set(pareto_set(options))
    return tuple(replace(option, on_front=place in front) for place, option in enumerate(options))


def _keys(options: AdviseOptions, runs: Sequence[MeasuredRun], *, has_bounds: bool) -> list[Key]:
    """What to look at: every combination of what was named, or of the usual and what was measured."""
    measured_nets = tuple(dict.fromkeys(run.net for run in runs))
    usual_nets = tuple(f"resnet{depth}" for depth in IMAGENET_DEPTHS) if has_bounds else ()
    nets = tuple(find_net(net).name for net in options.nets) or tuple(dict.fromkeys((*usual_nets, *measured_nets)))
    keys = []
    for net in nets:
        own = [run for run in runs if run.net == net]
        sizes = options.sizes_px or (*_usual_sizes(net), *(run.size_px for run in own))
        precisions = options.precisions or (*MAIN_PRECISIONS, *(run.precision for run in own))
        batches = options.batches or (*USUAL_BATCHES, *(run.batch for run in own))
        keys += [Key(net, size, precision, batch) for size in sizes for precision in precisions for batch in batches]
    return list(dict.fromkeys(keys))


def _usual_sizes(net: str) -> tuple[int, ...]:
    try:
        spec = find_net(net)
    except ConfigError:  # a measured network that is not of the catalogue, such as a foreign ONNX file
        return ()
    takes_any_size = spec.family == "imagenet" and spec.architecture != "vgg"
    return USUAL_SIZES if takes_any_size else (spec.preprocess.height_px,)


def _advice(known: tuple[Option, ...], options: AdviseOptions, target: AdvisorTarget) -> Advice:
    chosen = choose(known, options.needs)
    return Advice(
        file=str(options.out or ""),
        target=target.name,
        target_name=target.title,
        target_watts=target.watts,
        weights=options.weights,
        needs=options.needs,
        options=known,
        pareto=tuple(place for place, option in enumerate(known) if option.on_front),
        recommended=chosen,
        reasons=explain(known, options.needs, chosen),
        steps=() if chosen is None else next_steps(known[chosen], target),
    )


def _num_left(keys: Sequence[Key], known: Sequence[Option]) -> int:
    """Combinations of whose speed nothing is known."""
    return len(keys) - len({(o.net, o.size_px, o.precision, o.batch) for o in known})


def _nothing_known(target: AdvisorTarget, folder: Path | None, findings: Findings) -> ConfigError:
    where = f"in {folder}" if folder else "since no folder was named with --from"
    if target.gpu is None:
        message = f"nothing was measured on {target.title} {where}, and the roofline knows GPUs only"
        elsewhere = sorted({run.cpu if run.device == "cpu" else run.device for run in findings.runs})
        message += f"; runs there are of {', '.join(elsewhere)}" if elsewhere else ""
        return ConfigError(
            message, remedy="measure first: resnet-deploy bench FILE... --out out/bench.json; --from out"
        )
    return ConfigError(
        f"{target.title} has no unit for any of the precisions that were asked for",
        remedy="name others with --precision",
    )
