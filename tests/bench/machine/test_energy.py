from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from resnet_deploy.bench.machine.conditions import Conditions, GpuTrace, ProcessorUse
from resnet_deploy.bench.machine.energy import energy_of, packages, read_package_joules

_USE = ProcessorUse(seconds=2.0, own_share=0.5, other_share=0.0, steal_share=0.0, tick_seconds=0.01)
_GPU = GpuTrace(name="GPU", num_readings=40, power_w_mean=300.0, joules=500.0)


def _domain(folder: Path, name: str, joules: float, largest: float = 262.0) -> Path:
    domain = folder / name
    domain.mkdir(exist_ok=True)
    (domain / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (domain / "max_energy_range_uj").write_text(f"{round(largest * 1e6)}\n")
    return domain


def test_a_gpus_counter_comes_before_its_power_and_that_before_nothing() -> None:
    counted = energy_of(Conditions(processors=_USE, gpu=_GPU, package_joules=9.0), images=1000)
    assert counted.joules_per_image == pytest.approx(0.5) and counted.images_per_joule == pytest.approx(2.0)
    assert (counted.source, counted.reason) == ("NVML energy counter", "")
    read = energy_of(Conditions(processors=_USE, gpu=replace(_GPU, joules=None)), images=1000)
    assert read.joules_per_image == pytest.approx(0.6) and read.source == "NVML power readings"
    silent = energy_of(Conditions(processors=_USE, gpu=GpuTrace(name="GPU", num_readings=1)), images=10)
    assert silent.joules_per_image is None and "neither energy nor power" in silent.reason


def test_a_processor_row_takes_the_packages() -> None:
    found = energy_of(Conditions(processors=_USE, package_joules=50.0), images=100)
    assert found.joules_per_image == pytest.approx(0.5) and found.source == "RAPL" and "whatever else" in found.covers


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        (None, "not watched"),
        (Conditions(processors=_USE), "RAPL needs"),
        (Conditions(processors=replace(_USE, seconds=0.1), gpu=_GPU), "0.10 s are too short"),
    ],
)
def test_without_a_counter_there_is_a_reason_and_no_figure(conditions, says: str) -> None:
    found = energy_of(conditions, images=10)
    assert found.joules_per_image is None and found.images_per_joule is None and says in found.reason


def test_packages_are_summed_without_their_parts_and_over_a_wrap(tmp_path: Path) -> None:
    _domain(tmp_path, "intel-rapl:0", 260.0)
    _domain(tmp_path, "intel-rapl:1", 10.0)
    _domain(tmp_path, "intel-rapl:0:0", 5.0)  # the cores of package 0
    domains = packages(tmp_path)
    assert [domain.name for domain in domains] == ["intel-rapl:0", "intel-rapl:1"]
    before, zero = read_package_joules(domains)
    _domain(tmp_path, "intel-rapl:0", 3.0)  # went round at 262 J: 5 J since
    _domain(tmp_path, "intel-rapl:1", 12.5)
    assert zero == 0.0 and read_package_joules(domains, before)[1] == pytest.approx(7.5)


def test_domains_that_may_not_be_read_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    assert packages(tmp_path) == [] and packages(tmp_path / "nowhere") == []
