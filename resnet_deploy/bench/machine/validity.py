"""Whether a measurement may be quoted: every reason against it, in words."""

from __future__ import annotations

__all__ = ["VALID", "Limits", "Validity", "judge_machine", "judge_row"]

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_deploy.core.errors import ConfigError

if TYPE_CHECKING:
    from resnet_deploy.bench.machine.conditions import Conditions
    from resnet_deploy.bench.machine.environment import Environment
    from resnet_deploy.bench.measure.timing import Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class Validity:
    """The certificate of a row or of a run.

    Attributes:
        valid: Whether nothing speaks against the figures.
        reasons: What does, one sentence each; empty where valid.
    """

    valid: bool
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.valid == bool(self.reasons):
            raise ConfigError(f"valid is {self.valid} with {len(self.reasons)} reasons against it")

    @classmethod
    def of(cls, reasons: list[str] | tuple[str, ...]) -> Validity:
        """Valid where no reason speaks against it."""
        return cls(valid=not reasons, reasons=tuple(reasons))


VALID = Validity(valid=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Beyond which a machine was not steady. None of them is a law: each is where a median moves by about a per cent.

    Attributes:
        other_share: Of the processors' time that other processes may take.
        steal_share: Of the processors' time that a hypervisor may give to other virtual machines.
        clock_change: Relative change of a clock while samples are taken.
        drift: Relative change of the median from the first to the last third, where the trend is significant.
        drift_p: Of the trend, below which it is called significant. One quiet row in a thousand is.
        throttle_share: Of the samples of the GPU in which a reason other than idling held its clock down.
        ticks: Of the kernel's clock (10 ms mostly) that a share may err by: short rows need it.
    """

    other_share: float = 0.05
    steal_share: float = 0.02
    clock_change: float = 0.10
    drift: float = 0.02
    drift_p: float = 0.001
    throttle_share: float = 0.05
    ticks: int = 3


def judge_row(timing: Timing, conditions: Conditions | None, limits: Limits | None = None) -> Validity:
    """Everything that speaks against one row's figures."""
    limits = limits or Limits()
    reasons = [timing.noise] if timing.noise else []
    if not timing.warmup.steady:
        reasons.append(f"warm-up was not steady: {timing.warmup.rule}")
    drift = timing.drift
    if drift is not None and drift.p_value < limits.drift_p and abs(drift.change) > limits.drift:
        reasons.append(
            f"the time of a pass drifted by {drift.change:+.1%} from the first to the last third "
            f"(trend: p = {drift.p_value:.1g})"
        )
    if conditions is not None:
        reasons += _of_processors(conditions, limits) + _of_gpu(conditions, limits)
    return Validity.of(reasons)


def judge_machine(before: Environment, after: Environment, *, shares_known: bool) -> Validity:
    """Everything that speaks against a whole run: the state it began in, and what changed until it ended.

    Args:
        shares_known: Whether the rows say what other processes took. The load counts where they do not: it is a mean
            over a minute, and holds what this program did before, such as making the networks.
    """
    reasons = []
    if before.is_busy and not shares_known:
        reasons.append(f"the load was {before.load_1min} on {before.num_cpus} processors when timing began")
    if before.governor != after.governor:
        reasons.append(f"the governor changed from {before.governor} to {after.governor}")
    if before.available_gib is not None and before.available_gib < _LEAST_FREE_GIB:
        reasons.append(f"{before.available_gib} GiB of memory were free when timing began: the system may swap")
    return Validity.of(reasons)


_LEAST_FREE_GIB = 0.5


def _of_processors(conditions: Conditions, limits: Limits) -> list[str]:
    reasons, use = [], conditions.processors
    slack = limits.ticks * use.tick_seconds / max(use.seconds, 1e-9)
    if use.other_share is not None and use.other_share > limits.other_share + slack:
        reasons.append(f"other processes took {use.other_share:.0%} of the processors' time")
    if use.steal_share is not None and use.steal_share > limits.steal_share + slack:
        reasons.append(f"the hypervisor gave {use.steal_share:.1%} of the processors' time to others (steal)")
    if use.quota_stops:
        reasons.append(f"the control group's quota stopped this process {use.quota_stops} times")
    if use.mhz_lowest is not None and use.mhz_highest is not None:
        change = 1 - use.mhz_lowest / use.mhz_highest
        if change > limits.clock_change:
            reasons.append(
                f"the processor clock went between {use.mhz_lowest:.0f} and {use.mhz_highest:.0f} MHz ({change:.0%})"
            )
    return reasons


def _of_gpu(conditions: Conditions, limits: Limits) -> list[str]:
    trace = conditions.gpu
    if trace is None:
        return []
    reasons = []
    for name, low, high in (
        ("GPU", trace.sm_mhz_lowest, trace.sm_mhz_highest),
        ("GPU memory", trace.memory_mhz_lowest, trace.memory_mhz_highest),
    ):
        if low is not None and high and 1 - low / high > limits.clock_change:
            reasons.append(f"the {name} clock went between {low} and {high} MHz ({1 - low / high:.0%})")
    for reason, share in trace.throttled.items():
        if share > limits.throttle_share:
            reasons.append(f"the GPU was throttled in {share:.0%} of the readings: {reason}")
    if trace.num_other_processes:
        reasons.append(f"{trace.num_other_processes} other processes used the GPU")
    return reasons
