"""Two benchmarks of the same things, an old and a new one: what became slower, and how sure that is."""

from __future__ import annotations

__all__ = ["BenchComparison", "CompareOptions", "RowComparison", "compare_benchmarks", "compare_files"]

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from resnet_deploy.bench.machine.environment import Environment
from resnet_deploy.bench.measure.intervals import correlation_inflation, student_t
from resnet_deploy.bench.measure.paired import CLAIM_CONFIDENCE, LEAST_DIFFERENCE
from resnet_deploy.bench.rows import Benchmark, BenchRow, read_benchmark
from resnet_deploy.core.artifacts import write_result
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.metrics import holm
from resnet_deploy.core.specs import Precision

_LEAST_REPEATS = 3
_LEAST_BLOCKS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareOptions:
    """How two benchmarks are compared.

    Attributes:
        max_slowdown: That is allowed, e.g. 0.02 for 2 %; never less than the noise floor.
        across_machines: Compare although the machines differ.
        out: File for the comparison (JSON); None writes none.
    """

    old: Path
    new: Path
    max_slowdown: float = 0.02
    across_machines: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_slowdown < 10:
            raise ConfigError(
                f"max_slowdown is {self.max_slowdown}, expected 0 to 10",
                remedy="write 0.02 for two per cent",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RowComparison:
    """One row of both benchmarks.

    Attributes:
        old_p50_ms, new_p50_ms: Geometric means of the medians of the units.
        ratio: New over old; above 1 is slower.
        low, high: 99 % interval of it, of this row alone.
        p_value: Of no difference, corrected for the number of rows.
        p_regression: Of a slowdown of no more than `margin`, corrected for the number of rows.
        margin: The allowed slowdown or the noise floor, whichever is larger.
        units: What the interval was made from.
        verdict: "regression", "slower", "no difference", "faster" or "not judged". "slower" is over the noise, but not
            surely over `margin`.
        reasons: Why it was not judged, or which runs were left out.
    """

    net: str
    precision: Precision | None
    backend: str
    device: str
    batch: int
    threads: int
    mode: str
    workers: int
    old_p50_ms: float
    new_p50_ms: float
    ratio: float
    low: float | None
    high: float | None
    p_value: float | None
    p_regression: float | None
    margin: float
    units: str
    verdict: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchComparison:
    """All rows that both benchmarks have.

    Attributes:
        only_old, only_new: Rows without a partner, in words.
        differences: What differs between the two machines and their software, in words.
        confidence: Of the verdicts, all rows together.
        passed: Whether at least one row was judged, and none is a regression.
    """

    old: str
    new: str
    max_slowdown: float
    confidence: float
    rows: tuple[RowComparison, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    differences: tuple[str, ...]
    passed: bool


def compare_files(options: CompareOptions) -> BenchComparison:
    """Compare two files that `bench` wrote, and write the comparison where a file was named.

    Raises:
        ArtifactError: A file is missing, changed, or no benchmark.
        ConfigError: The machines differ, or the files have no row in common.
    """
    old, new = read_benchmark(options.old), read_benchmark(options.new)
    result = replace(
        compare_benchmarks(old, new, max_slowdown=options.max_slowdown, across_machines=options.across_machines),
        old=str(options.old),
        new=str(options.new),
    )
    if options.out is not None:
        write_result(
            result,
            options.out,
            kind="comparison",
            stage="bench compare",
            inputs={"old": options.old, "new": options.new},
            options={"max_slowdown": options.max_slowdown, "across_machines": options.across_machines},
        )
    return result


def compare_benchmarks(
    old: Benchmark, new: Benchmark, *, max_slowdown: float, across_machines: bool = False
) -> BenchComparison:
    """Compare the rows that both have.

    The units are the medians of runs where there are three or more on either side (`bench --repeats`), else those of
    the blocks of one run. Student's t (Welch) on their logarithms, widened where neighbours are correlated; a row is a
    regression where even the margin is exceeded with 99 % confidence, all rows taken together (Holm).

    Raises:
        ConfigError: The machines differ and that is not allowed, or no row is in both.
    Source: Welch, Biometrika 34 (1947) 28-35; Holm, Scandinavian Journal of Statistics 6 (1979) 65-70; runs as the
        units: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013, section 4.
    """
    hardware, software = _hardware_differences(old, new), _software_differences(old.environment, new.environment)
    if hardware and not across_machines:
        raise ConfigError(
            f"{old.file} and {new.file} are from different machines: {'; '.join(hardware)}",
            remedy="measure both on one machine, or say --across-machines if you mean to compare machines",
        )
    before, after = _grouped(old.rows), _grouped(new.rows)
    shared = [key for key in before if key in after]
    if not shared:
        raise ConfigError(
            f"{old.file} and {new.file} have no timed row in common",
            remedy="time the same networks on the same backend, device, batch, threads and mode",
        )
    runs = [f"{name}: {reason}" for name, one in (("old", old), ("new", new)) for reason in one.validity.reasons]
    rows = [_compare_row(before[key], after[key], max_slowdown, runs) for key in shared]
    rows = _judge(rows)
    judged = [row for row in rows if row.verdict != "not judged"]
    return BenchComparison(
        old=old.file,
        new=new.file,
        max_slowdown=max_slowdown,
        confidence=CLAIM_CONFIDENCE,
        rows=tuple(rows),
        only_old=tuple(_name_of(before[key][0]) for key in before if key not in after),
        only_new=tuple(_name_of(after[key][0]) for key in after if key not in before),
        differences=tuple(hardware + software),
        passed=bool(judged) and all(row.verdict != "regression" for row in judged),
    )


def _key_of(row: BenchRow) -> tuple:
    return (row.net, row.precision, row.backend, row.device, row.batch, row.threads, row.mode, row.workers)


def _name_of(row: BenchRow) -> str:
    threads = f", {row.threads} threads" if row.threads else ""
    workers = f", {row.workers} workers" if row.workers > 1 else ""
    on = row.backend if row.device == "cpu" else f"{row.backend} on {row.device}"
    return f"{row.net} {row.precision or '-'}, {on}, batch {row.batch}{threads}{workers}, {row.mode}"


def _grouped(rows: Iterable[BenchRow]) -> dict[tuple, list[BenchRow]]:
    """Rows that were timed, the repeats of one together."""
    groups: dict[tuple, list[BenchRow]] = {}
    for row in rows:
        if row.timing is not None:
            groups.setdefault(_key_of(row), []).append(row)
    return groups


def _compare_row(old: list[BenchRow], new: list[BenchRow], max_slowdown: float, runs: list[str]) -> RowComparison:
    against, notes = list(runs), []
    for name, rows in (("old", old), ("new", new)):
        reasons = dict.fromkeys(f"{name}: {reason}" for row in rows for reason in row.validity.reasons)
        valid = [row for row in rows if row.validity.valid]
        if len(valid) == len(rows) or len(valid) < _LEAST_REPEATS:
            against += reasons
            continue
        notes.append(f"{name}: {len(rows) - len(valid)} of {len(rows)} runs are not valid and left out")
        old, new = (valid, new) if name == "old" else (old, valid)
    sides, units = _units_of(old, new)
    if min(map(len, sides)) < (_LEAST_REPEATS if "runs" in units else _LEAST_BLOCKS):
        against.append(f"{units}: too few, {_LEAST_BLOCKS} are needed")
    floors = [row.timing.noise_floor for row in (*old, *new) if row.timing.noise_floor is not None]
    margin = max(max_slowdown, LEAST_DIFFERENCE, *floors)
    delta = float(sides[1].mean() - sides[0].mean())
    error, degrees = _welch(sides)
    low = high = p_value = p_regression = None
    if error is not None:
        half = student_t(CLAIM_CONFIDENCE, degrees) * error
        low, high = math.exp(delta - half), math.exp(delta + half)
        upper = _upper_tail(delta, error, degrees)
        p_value = min(1.0, 2 * min(upper, 1 - upper))
        p_regression = _upper_tail(delta - math.log1p(margin), error, degrees)
    row = new[0]
    return RowComparison(
        net=row.net,
        precision=row.precision,
        backend=row.backend,
        device=row.device,
        batch=row.batch,
        threads=row.threads,
        mode=row.mode,
        workers=row.workers,
        old_p50_ms=math.exp(sides[0].mean()),
        new_p50_ms=math.exp(sides[1].mean()),
        ratio=math.exp(delta),
        low=low,
        high=high,
        p_value=p_value,
        p_regression=p_regression,
        margin=margin,
        units=units,
        verdict="not judged" if against or error is None else "",
        reasons=tuple(against + notes),
    )


def _units_of(old: list[BenchRow], new: list[BenchRow]) -> tuple[list[np.ndarray], str]:
    """Logarithms of the medians that are compared, of each side, and what they are."""
    if min(len(old), len(new)) >= _LEAST_REPEATS:
        sides = [np.log([row.timing.p50_ms for row in rows]) for rows in (old, new)]
        return sides, f"medians of {len(old)} and {len(new)} runs"
    sides = [np.log([m for row in rows for m in row.timing.block_medians_ms]) for rows in (old, new)]
    return sides, f"medians of {len(sides[0])} and {len(sides[1])} blocks of passes"


def _welch(sides: list[np.ndarray]) -> tuple[float | None, float]:
    """Standard error of the difference of two means, and its degrees of freedom; None for fewer than two values."""
    if min(map(len, sides)) < 2:
        return None, 0.0
    parts = [side.var(ddof=1) / len(side) * correlation_inflation(side) for side in sides]
    total = sum(parts)
    if total <= 0:
        return 0.0, 1.0
    spread = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    return math.sqrt(total), total**2 / spread


def _upper_tail(value: float, error: float, degrees: float) -> float:
    """P of a value as large or larger where the true one is 0."""
    if error <= 0:
        return 0.0 if value > 0 else 1.0 if value < 0 else 0.5
    from scipy.special import stdtr

    return float(stdtr(degrees, -value / error))


def _judge(rows: list[RowComparison]) -> list[RowComparison]:
    """Correct the p-values over the rows that are judged, and say what they mean."""
    judged = [row for row in rows if not row.verdict]
    equal = holm(np.array([row.p_value for row in judged])).tolist()
    regressed = holm(np.array([row.p_regression for row in judged])).tolist()
    alpha = 1 - CLAIM_CONFIDENCE
    found = {}
    for row, p_value, p_regression in zip(judged, equal, regressed, strict=True):
        if p_regression < alpha:
            verdict = "regression"
        elif p_value < alpha and max(row.ratio, 1 / row.ratio) - 1 > LEAST_DIFFERENCE:
            verdict = "slower" if row.ratio > 1 else "faster"
        else:
            verdict = "no difference"
        found[id(row)] = replace(row, p_value=p_value, p_regression=p_regression, verdict=verdict)
    return [found.get(id(row), row) for row in rows]


def _hardware_differences(old: Benchmark, new: Benchmark) -> list[str]:
    a, b = old.environment, new.environment
    pairs = [
        ("processor", a.cpu, b.cpu),
        ("processors", a.num_cpus, b.num_cpus),
        ("processors allowed", a.quota_cpus, b.quota_cpus),
        ("GPUs", ", ".join(gpu.name for gpu in a.gpus), ", ".join(gpu.name for gpu in b.gpus)),
    ]
    return [f"{name} {before or 'none'} against {after or 'none'}" for name, before, after in pairs if before != after]


def _software_differences(a: Environment, b: Environment) -> list[str]:
    pairs = [("system", a.system, b.system), ("Python", a.python, b.python), ("governor", a.governor, b.governor)]
    pairs.append(("driver", _drivers(a), _drivers(b)))
    for name in sorted({*a.packages, *b.packages}):
        pairs.append((name, a.packages.get(name), b.packages.get(name)))
    return [f"{name} {before or 'none'} against {after or 'none'}" for name, before, after in pairs if before != after]


def _drivers(environment: Environment) -> str:
    return ", ".join(sorted({gpu.driver for gpu in environment.gpus}))
