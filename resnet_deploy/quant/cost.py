"""What a layer costs more outside of int8: as a share, by operations, by roofline or by measured times."""

from __future__ import annotations

__all__ = ["COST_UNITS", "float_costs", "read_latencies", "roofline_us"]

import json
import math
from pathlib import Path

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.graph.layer_cost import LayerCost

COST_UNITS = {
    "multiply-adds": "share of the multiply-adds",
    "roofline": "share of the time that INT8 saves, by roofline",
    "latency": "share of the time that INT8 saves, measured",
}
"""Name of a cost -> what a share of it means."""

# NVIDIA T4, data sheet: 130 INT8 TOP/s, 65 FP16 TFLOP/s (dense), 320 GB/s. Two operations a multiply-add. Only ratios
# matter for a choice of layers, and INT8 : FP16 is 2 : 1 on every data-centre GPU of NVIDIA's up to Hopper.
_INT8_OPS_PER_US = 130.3e6
_FP16_OPS_PER_US = 65.1e6
_BYTES_PER_US = 320e3


def roofline_us(cost: LayerCost, *, is_int8: bool) -> float:
    """The larger of arithmetic and memory time in microseconds, at the figures above."""
    operations = 2 * cost.multiply_adds + cost.additions
    peak = _INT8_OPS_PER_US if is_int8 else _FP16_OPS_PER_US
    num_bytes = cost.num_bytes_int8 * (1 if is_int8 else 2)
    return max(operations / peak, num_bytes / _BYTES_PER_US)


def float_costs(
    costs: dict[str, LayerCost], unit: str, *, latencies: dict[str, tuple[float, float]] | None = None
) -> dict[str, float]:
    """What every node costs more outside of int8, as a share of what all together do: 0 is all int8, 1 all float.

    Args:
        unit: A key of `COST_UNITS`. "multiply-adds" counts an addition as one operation, half a multiply-add, so
            that a residual addition is cheap but not free.
        latencies: For "latency": node -> microseconds in int8 and in float; a node that is missing counts nothing.
    Raises:
        ConfigError: Unknown unit, or latencies in which float is nowhere slower.
    """
    if unit == "multiply-adds":
        extra = {name: cost.multiply_adds + cost.additions / 2 for name, cost in costs.items()}
    elif unit == "roofline":
        extra = {n: roofline_us(cost, is_int8=False) - roofline_us(cost, is_int8=True) for n, cost in costs.items()}
    elif unit == "latency" and latencies is not None:
        pairs = {name: latencies.get(name, (0.0, 0.0)) for name in costs}
        extra = {name: max(0.0, in_float - in_int8) for name, (in_int8, in_float) in pairs.items()}
    else:
        raise ConfigError(f"unknown cost {unit!r}", remedy=f"known: {', '.join(COST_UNITS)}")
    total = sum(extra.values())
    if not total > 0:
        raise ConfigError(
            f"cost {unit!r}: no layer is slower in float than in int8, so there is nothing to spare",
            remedy="check that the measurements name this network's nodes, or take --cost multiply-adds",
        )
    return {name: value / total for name, value in extra.items()}


def read_latencies(path: Path) -> dict[str, tuple[float, float]]:
    """Measured times: a JSON object, node name -> {"int8_us": number, "float_us": number}.

    Raises:
        ConfigError: The file is missing or of another form; says where.
    """
    form = 'a JSON object such as {"layer1.0.conv1": {"int8_us": 4.1, "float_us": 7.0}}'
    try:
        plain = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", remedy=f"--cost takes {', '.join(COST_UNITS)} or {form}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path} is not a JSON file: {error}", remedy=f"write {form}") from error
    if not isinstance(plain, dict):
        raise ConfigError(f"{path} holds a {type(plain).__name__}", remedy=f"write {form}")
    result = {}
    for name, times in plain.items():
        pair = (times.get("int8_us"), times.get("float_us")) if isinstance(times, dict) else (None, None)
        if not all(isinstance(t, (int, float)) and not isinstance(t, bool) and 0 <= t < math.inf for t in pair):
            raise ConfigError(f"{path}: {name!r} has {times!r}", remedy=f"write {form}")
        result[name] = (float(pair[0]), float(pair[1]))
    return result
