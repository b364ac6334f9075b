"""Each thing that makes a measurement unfit to quote is planted alone and is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resnet_deploy.bench.machine.conditions import Conditions, GpuTrace, ProcessorUse
from resnet_deploy.bench.machine.environment import capture_environment
from resnet_deploy.bench.machine.validity import Validity, judge_machine, judge_row
from resnet_deploy.bench.measure.timing import Sampling, summarize
from resnet_deploy.bench.measure.warmup import WarmUp
from resnet_deploy.core.errors import ConfigError

_WARM = WarmUp(passes=9, seconds=0.1, steady=True, rule="three rounds")
_QUIET = 0.01 + 1e-4 * np.random.default_rng(0).random(200)
_USE = ProcessorUse(
    seconds=1.0,
    own_share=0.5,
    other_share=0.01,
    steal_share=0.0,
    tick_seconds=0.01,
    quota_stops=0,
    mhz_lowest=2990.0,
    mhz_highest=3000.0,
)
_GPU = GpuTrace(
    name="GPU",
    num_readings=20,
    sm_mhz_lowest=1900,
    sm_mhz_median=1905,
    sm_mhz_highest=1910,
    memory_mhz_lowest=2600,
    memory_mhz_highest=2600,
    num_other_processes=0,
    throttled={"heat": 0.04},
)


def _judge(seconds=_QUIET, *, warm=_WARM, use=_USE, gpu=_GPU) -> Validity:
    timing = summarize(seconds, batch=1, warmup=warm, sampling=Sampling())
    return judge_row(timing, Conditions(processors=use, gpu=gpu))


def test_a_quiet_machine_gives_a_valid_row() -> None:
    assert _judge() == Validity(valid=True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"warm": replace(_WARM, steady=False, rule="not the medians")}, "warm-up was not steady: not the medians"),
        ({"seconds": _QUIET[:5]}, "5 samples in 10 s, 10 were wanted"),
        ({"seconds": _QUIET * np.where(np.arange(200) % 5, 1, 2)}, "p90 is 2.0"),
        ({"seconds": _QUIET * np.linspace(1, 1.2, 200)}, "drifted by +1"),
        ({"use": replace(_USE, other_share=0.2)}, "other processes took 20% of the processors' time"),
        ({"use": replace(_USE, steal_share=0.06)}, "(steal)"),
        ({"use": replace(_USE, quota_stops=4)}, "stopped this process 4 times"),
        ({"use": replace(_USE, mhz_lowest=2000.0)}, "between 2000 and 3000 MHz (33%)"),
        ({"gpu": replace(_GPU, sm_mhz_lowest=1200)}, "the GPU clock went between 1200 and 1910 MHz"),
        ({"gpu": replace(_GPU, memory_mhz_lowest=800)}, "the GPU memory clock"),
        ({"gpu": replace(_GPU, throttled={"heat": 0.5})}, "throttled in 50% of the readings: heat"),
        ({"gpu": replace(_GPU, num_other_processes=2)}, "2 other processes used the GPU"),
    ],
)
def test_one_fault_is_one_reason_in_words(changes: dict, says: str) -> None:
    found = _judge(**changes)
    assert not found.valid and len(found.reasons) == 1 and says in found.reasons[0], found.reasons


def test_what_the_system_does_not_say_is_no_reason() -> None:
    silent = replace(_USE, other_share=None, steal_share=None, quota_stops=None, mhz_lowest=None, mhz_highest=None)
    assert _judge(use=silent, gpu=GpuTrace(name="GPU", num_readings=1)).valid and _judge(use=silent, gpu=None).valid


def test_short_rows_are_given_the_ticks_that_the_counter_may_err_by() -> None:
    # 0.1 s, ticks of 10 ms: 20 % may be two ticks of rounding
    assert _judge(use=replace(_USE, seconds=0.1, other_share=0.2)).valid
    assert not _judge(use=replace(_USE, seconds=0.1, other_share=0.6)).valid


def test_a_significant_but_tiny_trend_is_no_reason() -> None:
    assert _judge(_QUIET * np.linspace(1, 1.005, 200)).valid


def test_a_run_is_judged_by_its_load_its_memory_and_its_governor() -> None:
    quiet = replace(capture_environment(), load_1min=0.1, available_gib=4.0, governor="performance")
    loaded = replace(quiet, load_1min=99.0)
    assert judge_machine(quiet, quiet, shares_known=False).valid
    found = judge_machine(loaded, quiet, shares_known=False)
    assert not found.valid and "the load was 99.0" in found.reasons[0]
    assert judge_machine(loaded, quiet, shares_known=True).valid  # what others took is known row by row
    slow, full = replace(quiet, governor="powersave"), replace(quiet, available_gib=0.1)
    assert "powersave" in judge_machine(quiet, slow, shares_known=True).reasons[0]
    assert "may swap" in judge_machine(full, quiet, shares_known=True).reasons[0]


def test_valid_with_reasons_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 reasons against it"):
        Validity(valid=True, reasons=("load",))
    with pytest.raises(ConfigError, match="0 reasons"):
        Validity(valid=False)
