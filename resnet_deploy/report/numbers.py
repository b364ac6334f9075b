"""How the report writes a number: as many figures as it carries, a dash where nothing was measured."""

from __future__ import annotations

__all__ = [
    "MIB",
    "count",
    "fixed",
    "measured",
    "millions",
    "percent_interval",
    "plural",
    "signed",
    "size",
    "three_figures",
]

MIB = 2**20
_NONE = "-"


def count(value: float | None) -> str:
    """12,345."""
    return _NONE if value is None else f"{value:,.0f}"


def fixed(value: float | None, digits: int = 2) -> str:
    """So many digits after the point, so that a column lines up."""
    return _NONE if value is None else f"{value:,.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """As `fixed`, with its sign; never "-0.00"."""
    if value is None:
        return _NONE
    return f"{0.0 if round(value, digits) == 0 else value:+,.{digits}f}"


def size(num_bytes: int) -> str:
    """8.39 KiB, 3.16 MiB."""
    return (
        f"{three_figures(num_bytes / MIB)} MiB" if num_bytes >= MIB // 10 else f"{three_figures(num_bytes / 1024)} KiB"
    )


def three_figures(value: float | None) -> str:
    """0.541, 45.0, 170: three figures, no fewer, so that a column of them lines up."""
    if value is None:
        return _NONE
    if not 1e-3 <= abs(value) < 999.5:
        return f"{value:,.0f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"
    return f"{value:#.3g}".rstrip(".")


def millions(value: float | None) -> str:
    """1.81 G, 11.69 M; G is 1000 M."""
    if value is None:
        return _NONE
    return f"{value / 1e9:.2f} G" if value >= 1e9 else f"{value / 1e6:.2f} M"


def measured(value: float | None) -> str:
    """Four figures, more where a value close to one would read as one."""
    if value is None:
        return "not measured"
    return f"{value:.7f}" if 0 < 1 - value < 5e-5 and f"{value:.7f}"[0] == "0" else f"{value:.4g}"


def percent_interval(low: float | None, high: float | None) -> str:
    """81.0 to 82.5, two digits each; empty where there is none."""
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def plural(number: int, noun: str) -> str:
    """1 image, 2 images."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
