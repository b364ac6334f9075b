"""Training curves of several networks in one picture: degradation and its cure (the paper's Figs. 1 and 6)."""

from __future__ import annotations

__all__ = ["CurveOptions", "CurveReport", "analyze_curves"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.analyze.drawing import colours_by_depth
from resnet_deploy.analyze.networks import distinct_labels
from resnet_deploy.analyze.report import check_picture_name, json_file_of, write_report
from resnet_deploy.analyze.runs import METRICS_SUFFIX, TrainingRun, metrics_file_of, read_run
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.draw.error_curves import ErrorCurve, draw_error_curves

CURVES_SCHEMA = "resnet-deploy/training-curves/1"
_PICTURE = Path("out") / "curves.png"
_SIDES = {"plain nets": False, "residual nets": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveOptions:
    """Which runs, and how to draw them.

    Attributes:
        files: Metrics files (.metrics.jsonl), checkpoints with theirs beside them, or folders with one of them.
        panels: Plain nets on the left and residual ones on the right, on the same axes.
        out: The picture (.png), with the numbers beside it (.json); None takes out/curves.png.
    """

    files: tuple[Path, ...]
    panels: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigError("no run was given", remedy="name one or more RUN.metrics.jsonl or NET.safetensors")
        check_picture_name(self.out)


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveReport:
    """All runs in the order given."""

    runs: tuple[TrainingRun, ...]
    picture: str
    file: str
    schema: str = CURVES_SCHEMA


def analyze_curves(options: CurveOptions) -> CurveReport:
    """Read every run's metrics, and write the picture and the numbers.

    Raises:
        ArtifactError: A metrics file is missing, empty or none.
        ConfigError: `panels`, and a run's net is not known or one side has no run.
    """
    files = [metrics_file_of(file) for file in options.files]
    labels = distinct_labels(files, suffix=METRICS_SUFFIX)
    runs = tuple(read_run(file, label=label) for file, label in zip(files, labels, strict=True))
    figure = draw_error_curves(_two_sides(runs) if options.panels else {"": _curves(runs, range(len(runs)))})
    picture = options.out or _PICTURE
    report = CurveReport(runs=runs, picture=str(picture), file=str(json_file_of(picture)))
    write_report(
        report,
        figure,
        picture=picture,
        stage="analyze curves",
        inputs={f"metrics {run.label}": Path(run.file) for run in runs},
        options={"panels": options.panels},
    )
    return report


def _curves(runs: Sequence[TrainingRun], colours: Sequence[int]) -> list[ErrorCurve]:
    return [
        ErrorCurve(
            name=run.label,
            steps=run.steps,
            train_error=run.train_error_percent,
            test_error=run.test_error_percent,
            colour=colour,
        )
        for run, colour in zip(runs, colours, strict=True)
    ]


def _two_sides(runs: Sequence[TrainingRun]) -> dict[str, list[ErrorCurve]]:
    for run in runs:
        if run.residual is None:
            raise ConfigError(
                f"{run.file}: whether its net is plain or residual is not known (there is no checkpoint beside it, "
                f"and {run.label!r} does not begin with a net's name)",
                remedy="put the checkpoint beside it, name the file like its net, or leave --panels away",
            )
    colours = colours_by_depth([(run.net, run.residual) for run in runs])
    sides = {}
    for title, side in _SIDES.items():
        members = [(run, colour) for run, colour in zip(runs, colours, strict=True) if run.residual == side]
        if not members:
            raise ConfigError(f"--panels, but there are no {title} among the runs", remedy="leave --panels away")
        sides[title] = _curves(*zip(*members, strict=True))
    return sides
