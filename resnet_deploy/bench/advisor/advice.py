"""What the advisor answers: options with what is known of each, how each stands to the needs, and the choice."""

from __future__ import annotations

__all__ = [
    "AccuracyBasis",
    "Advice",
    "KnownAccuracy",
    "KnownSpeed",
    "NeedCheck",
    "Needs",
    "Option",
    "SpeedBasis",
    "Standing",
    "read_advice",
    "write_advice",
]

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from resnet_deploy.core.artifacts import read_result, write_result
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision


class Standing(str, Enum):
    """How an option stands to a need, or to all of them (then the worst of them).

    MEETS: measured, or certain for another reason. EXPECTED: by a published accuracy, or by an estimate that was scaled
    with measured runs. MEASURE: it may, since only its optimistic figure meets the need or nothing is known. FAILS:
    measured so, or not even the optimistic figure meets it.
    """

    MEETS = "meets"
    EXPECTED = "expected to meet"
    MEASURE = "may meet: measure"
    FAILS = "can not meet"

    def __str__(self) -> str:
        return self.value

    @property
    def rank(self) -> int:
        """3 for MEETS down to 0 for FAILS."""
        return 3 - list(Standing).index(self)


class SpeedBasis(str, Enum):
    """Where a latency is from; BOUND is optimistic, the true latency is higher."""

    MEASURED = "measured"
    NOT_VALID = "measured, not valid"
    SCALED = "scaled"
    BOUND = "roofline bound"

    def __str__(self) -> str:
        return self.value

    @property
    def certainty(self) -> int:
        """2 for a valid measurement, 1 for an estimate that rests on measurements, 0 for a bound."""
        return {SpeedBasis.MEASURED: 2, SpeedBasis.NOT_VALID: 1, SpeedBasis.SCALED: 1, SpeedBasis.BOUND: 0}[self]


class AccuracyBasis(str, Enum):
    """Where a top-1 is from. DERIVED: that of the FP32 network less an allowance for the conversion."""

    MEASURED = "measured"
    PUBLISHED = "published"
    DERIVED = "FP32 less allowance"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What is asked for; None asks nothing.

    Attributes:
        max_latency_ms: Of one pass over the whole batch, its median.
        min_throughput: Images per second.
        min_top1: In percent.
        max_watts: Power while it runs.
    """

    max_latency_ms: float | None = None
    min_throughput: float | None = None
    min_top1: float | None = None
    max_watts: float | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, expected more than 0"
            for name in self.__slots__
            if (value := getattr(self, name)) is not None and not value > 0
        ]
        if self.min_top1 is not None and self.min_top1 > 100:
            problems.append(f"min_top1 is {self.min_top1}, expected percent, at most 100")
        if problems:
            raise ConfigError("; ".join(problems), remedy="see `resnet-deploy advise --help`")


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownSpeed:
    """What is known of the speed of an option.

    Attributes:
        latency_ms: One pass: measured median, scaled bound, or bound.
        images_per_second: Measured throughput, or by the estimate.
        bound_ms, bound_images_per_second: By the roofline; None where the target is not in the catalogue.
        likely_ms, likely_images_per_second: Of a bare bound, what published runs let expect: a rule of thumb that decides
            between options, never whether one meets a need.
        p99_ms, joules_per_image, watts: Measured; else None.
        num_runs: Measured runs behind a scaled figure; 1 for a measured one, 0 for a bound.
        source: The file and row, or what limits the bound.
    """

    basis: SpeedBasis
    latency_ms: float
    images_per_second: float
    bound_ms: float | None = None
    bound_images_per_second: float | None = None
    likely_ms: float | None = None
    likely_images_per_second: float | None = None
    p99_ms: float | None = None
    joules_per_image: float | None = None
    watts: float | None = None
    num_runs: int = 0
    source: str = ""

    @property
    def label(self) -> str:
        """Which kind of figure it is, in words."""
        if self.basis is SpeedBasis.SCALED:
            return f"scaled from {self.num_runs} measured run{'s' if self.num_runs != 1 else ''}"
        return str(self.basis)


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownAccuracy:
    """What is known of the top-1 of an option, in percent; None where nothing is.

    Attributes:
        top1_percent: The figure that is shown and compared.
        low, high: What it may be: measured, the 95 % interval of the sample; derived, from the allowance to no drop.
        source: File, or publication with the tag of the weights.
    """

    basis: AccuracyBasis
    top1_percent: float | None = None
    low: float | None = None
    high: float | None = None
    source: str = ""

    @property
    def label(self) -> str:
        """Which kind of figure it is, in words."""
        return str(self.basis)


@dataclass(frozen=True, kw_only=True, slots=True)
class NeedCheck:
    """One need and one option.

    Attributes:
        need: "latency", "throughput", "top-1" or "power".
        value: What was compared with the limit; None where nothing is known.
        reason: In words.
    """

    need: str
    limit: float
    value: float | None
    standing: Standing
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One network at one image size, precision and batch size on the target.

    Attributes:
        backend, device: Of a measured run; empty for an estimate.
        standing: To all needs, the worst of `checks`; MEETS where nothing was asked.
        on_front: No other option is known to be at least as good in everything and better in something.
    """

    net: str
    size_px: int
    precision: Precision
    batch: int
    backend: str
    device: str
    speed: KnownSpeed
    accuracy: KnownAccuracy
    checks: tuple[NeedCheck, ...] = ()
    standing: Standing = Standing.MEETS
    on_front: bool = False

    @property
    def name(self) -> str:
        """E.g. "resnet50 int8 224 px batch 8"."""
        where = f" on {self.backend}" if self.backend else ""
        return f"{self.net} {self.precision} {self.size_px} px batch {self.batch}{where}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """The answer; true where an option meets, or may meet, all needs.

    Attributes:
        file: Where it was written; empty where it was not.
        target, target_name: As asked for, and what it stands for, e.g. "l4" and "NVIDIA L4".
        target_watts: The board's power limit; None where it is not known.
        weights: Whose published accuracy was taken, e.g. "torchvision-v1".
        options: All that were looked at, the fastest first.
        pareto: Places in `options` of the Pareto set.
        recommended: Place in `options`; None where nothing can meet the needs.
        reasons: Why this one, and why not the others; one sentence or more each.
        steps: Commands that make, validate and measure the recommended option.
        notes: What limits the answer.
        seconds: That it took.
    """

    file: str
    target: str
    target_name: str
    target_watts: float | None
    weights: str
    needs: Needs
    options: tuple[Option, ...]
    pareto: tuple[int, ...]
    recommended: int | None
    reasons: tuple[str, ...]
    steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return self.recommended is not None

    @property
    def choice(self) -> Option | None:
        """The recommended option itself."""
        return None if self.recommended is None else self.options[self.recommended]


def write_advice(advice: Advice, *, inputs: dict[str, Path], options: dict[str, object]) -> None:
    """Write `advice` to its file, and the manifest (kind "advice") beside it.

    Args:
        inputs: The measured files it rests on, by role.
        options: What was asked for.
    """
    out = Path(advice.file)
    choice = advice.choice
    details = {"recommended": choice.name if choice else None, "target": advice.target}
    write_result(advice, out, kind="advice", stage="advise", inputs=inputs, options=options, details=details)


def read_advice(file: Path) -> Advice:
    """Read what `write_advice` wrote; raises ArtifactError as `core.artifacts.read_result` does."""
    return read_result(Advice, file, manifest_kind="advice")
