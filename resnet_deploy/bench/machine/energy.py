"""Energy of an image, from the counter that fits the device."""

from __future__ import annotations

__all__ = ["Energy", "energy_of", "packages", "read_package_joules"]

from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.bench.machine.conditions import Conditions

POWERCAP = Path("/sys/class/powercap")

_LEAST_SECONDS = 0.3
"""The counters of GPUs are refreshed ten to fifty times a second; below this their steps are over a tenth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """Energy of one image.

    Attributes:
        joules_per_image: None where it was not measured; `reason` then says why.
        images_per_joule: Its inverse, which is also images per second and watt.
        source: "NVML energy counter", "NVML power readings" or "RAPL".
        covers: What the figure holds, in words.
    """

    joules_per_image: float | None
    images_per_joule: float | None
    source: str = ""
    covers: str = ""
    reason: str = ""


def energy_of(conditions: Conditions | None, *, images: int) -> Energy:
    """Energy per image of a row.

    On a GPU: the difference of the board's energy counter, else the mean of its power readings times the time. On a
    processor: the packages' RAPL counters, which hold what else ran on them too.

    Args:
        images: That were classified while `conditions` were watched.
    """
    if conditions is None:
        return _none("the machine was not watched")
    seconds, trace = conditions.processors.seconds, conditions.gpu
    if seconds < _LEAST_SECONDS:
        return _none(f"{seconds:.2f} s are too short for an energy counter, {_LEAST_SECONDS} s are needed")
    if trace is not None:
        if trace.joules:
            return _of(trace.joules, images, "NVML energy counter", "the whole GPU board")
        if trace.power_w_mean:
            return _of(trace.power_w_mean * seconds, images, "NVML power readings", "the whole GPU board")
        return _none("NVML gives neither energy nor power of this GPU")
    if conditions.package_joules:
        return _of(conditions.package_joules, images, "RAPL", "the processor packages, with whatever else ran on them")
    return _none("no energy counter can be read (RAPL needs an Intel or AMD machine that is not virtual, and rights)")


def packages(folder: Path | None = None) -> list[Path]:
    """RAPL's domains of whole processor packages; their parts are counted in them."""
    found = sorted((folder or POWERCAP).glob("intel-rapl:*"))
    return [domain for domain in found if domain.name.count(":") == 1 and _integer(domain / "energy_uj") is not None]


def read_package_joules(domains: list[Path], before: dict[str, int] | None = None) -> tuple[dict[str, int], float]:
    """Read the counters.

    Args:
        before: An earlier reading; a counter that went round since then is counted on.
    Returns:
        The reading in microjoules by domain, and the joules since `before` (0 without one).
    Source: Linux kernel, Documentation/power/powercap/powercap.rst: energy_uj wraps at max_energy_range_uj.
    """
    now = {domain.name: _integer(domain / "energy_uj") or 0 for domain in domains}
    if before is None:
        return now, 0.0
    total = 0
    for domain in domains:
        step = now[domain.name] - before[domain.name]
        total += step if step >= 0 else step + (_integer(domain / "max_energy_range_uj") or 0)
    return now, total / 1e6


def _of(joules: float, images: int, source: str, covers: str) -> Energy:
    return Energy(
        joules_per_image=joules / images, images_per_joule=images / joules, source=source, covers=covers, reason=""
    )


def _none(reason: str) -> Energy:
    return Energy(joules_per_image=None, images_per_joule=None, reason=f"not measured: {reason}")


def _integer(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
