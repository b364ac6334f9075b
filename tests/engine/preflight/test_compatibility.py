from __future__ import annotations

import pytest

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.engine.header import EngineHeader
from resnet_deploy.engine.preflight.check import State
from resnet_deploy.engine.preflight.compatibility import (
    BuiltFor,
    PossibleGpu,
    built_for,
    check_driver,
    check_gpu,
    check_library,
    check_memory,
    check_platform,
    parse_gpu,
)
from resnet_deploy.engine.preflight.installed import InstalledProduct

ADA = PossibleGpu(sm=89, name="NVIDIA L4")


def rtx(**changes: object) -> BuiltFor:
    return BuiltFor(product="tensorrt-rtx", version="1.7.1.116", **changes)


def trt(**changes: object) -> BuiltFor:
    return BuiltFor(product="tensorrt", version=changes.pop("version", "10.13.3.9"), **changes)


def here(version: str, product: str = "tensorrt", cuda_major: int | None = None) -> tuple[InstalledProduct, ...]:
    return (InstalledProduct(product=product, version=version, source="Python package", cuda_major=cuda_major),)


@pytest.mark.parametrize(("text", "sm"), [("sm89", 89), ("8.9", 89), ("SM_120", 120), ("12.0", 120), (" 75 ", 75)])
def test_a_gpu_is_read_as_target_or_as_compute_capability(text: str, sm: int) -> None:
    assert parse_gpu(text) == PossibleGpu(sm=sm)


@pytest.mark.parametrize("text", ["H100", "", "sm91", "sm", "8.9.1", "sm89a", "1.75", "None"])
def test_what_is_no_compute_capability_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no compute capability") as error:
        parse_gpu(text)
    assert "sm75" in error.value.remedy


@pytest.mark.parametrize(
    ("targets", "open_ended", "sm", "state", "says"),
    [
        ((86, 89), False, 89, State.GOOD, "built for sm86, sm89"),
        ((86, 89), False, 80, State.MISFIT, "not for sm80"),
        ((86,), False, 75, State.MISFIT, "sm75 has to be asked for"),
        ((80, 86, 89, 120, 121), True, 75, State.MISFIT, "sm75 has to be asked for"),
        ((80, 86, 89, 120, 121), True, 86, State.GOOD, "built for"),
        ((80, 86, 89, 120, 121), True, 90, State.NOT_CHECKED, "none that TensorRT-RTX lists"),
        ((80, 86, 89, 120, 121), True, 130, State.NOT_CHECKED, "and later"),
        ((80, 86, 89, 120, 121), False, 90, State.MISFIT, "not for sm90"),
        ((), False, 89, State.NOT_CHECKED, "names no GPU that is known"),
    ],
)
def test_a_tensorrt_rtx_engine_runs_on_its_targets(
    targets: tuple[int, ...], open_ended: bool, sm: int, state: State, says: str
) -> None:
    check = check_gpu(rtx(targets=targets, open_ended=open_ended), PossibleGpu(sm=sm))
    assert check.state is state and says in check.text and check.subject == f"GPU sm{sm}"


def test_a_tensorrt_rtx_engine_for_the_gpu_it_was_built_on_runs_there() -> None:
    built = rtx(gpu=PossibleGpu(sm=90, name="NVIDIA H200"))
    assert check_gpu(built, PossibleGpu(sm=90)).state is State.GOOD
    elsewhere = check_gpu(built, ADA)
    assert elsewhere.state is State.MISFIT and "NVIDIA H200" in elsewhere.text


@pytest.mark.parametrize(
    ("level", "built_on", "gpu", "state"),
    [
        ("none", ADA, ADA, State.GOOD),
        ("none", ADA, PossibleGpu(sm=89), State.GOOD),
        ("none", ADA, PossibleGpu(sm=89, name="NVIDIA L40S"), State.NOT_CHECKED),
        ("none", ADA, PossibleGpu(sm=86), State.MISFIT),
        ("none", None, ADA, State.NOT_CHECKED),
        ("same-compute-capability", ADA, PossibleGpu(sm=89, name="NVIDIA L40S"), State.GOOD),
        ("same-compute-capability", ADA, PossibleGpu(sm=120), State.MISFIT),
        ("ampere-plus", ADA, PossibleGpu(sm=120), State.GOOD),
        ("ampere-plus", None, PossibleGpu(sm=80), State.GOOD),
        ("ampere-plus", ADA, PossibleGpu(sm=75), State.MISFIT),
    ],
)
def test_a_tensorrt_engine_runs_where_its_hardware_compatibility_says(
    level: str, built_on: PossibleGpu | None, gpu: PossibleGpu, state: State
) -> None:
    assert check_gpu(trt(gpu=built_on, hardware_compatibility=level), gpu).state is state


@pytest.mark.parametrize(
    ("built", "compatible", "installed", "state"),
    [
        ("10.13.3.9", False, "10.13.3.9", State.GOOD),
        ("10.13.3.9", False, "10.13.3.9.post1", State.GOOD),
        ("10.13.3.9", False, "10.13.3.10", State.MISFIT),
        ("10.13.3.9", False, "10.16.1.11", State.MISFIT),
        ("10.13.3.9", True, "10.16.1.11", State.GOOD),
        ("10.13.3.9", True, "10.9.0.34", State.MISFIT),  # 9 is before 13, though "9" is after "1"
        ("10.13.3.9", True, "11.4.0.106", State.GOOD),
        ("11.0.0.114", True, "10.16.1.11", State.MISFIT),
        ("8.6.1.6", True, "10.13.3.9", State.GOOD),
        ("8.6.1.6", True, "11.4.0.106", State.MISFIT),
    ],
)
def test_the_library_must_be_the_same_or_a_later_one_that_is_promised(
    built: str, compatible: bool, installed: str, state: State
) -> None:
    check = check_library(trt(version=built, version_compatible=compatible), here(installed))
    assert check.state is state
    assert built in check.text and installed in check.text


def test_one_fitting_library_of_several_is_enough_and_none_is_not_checked() -> None:
    both = (*here("1.6.0.50", "tensorrt-rtx"), *here("1.7.1.116", "tensorrt-rtx"))
    assert check_library(rtx(), both).text == "needs tensorrt-rtx 1.7.1.116: 1.7.1.116 (Python package)"
    assert check_library(rtx(), ()).state is State.NOT_CHECKED


@pytest.mark.parametrize(
    ("needs", "driver", "state"),
    [
        (13, "13.0", State.GOOD),
        (12, "13.0", State.GOOD),
        (13, "12.8", State.MISFIT),
        (13, None, State.NOT_CHECKED),
        (None, "13.0", State.NOT_CHECKED),
    ],
)
def test_the_driver_must_serve_the_cuda_of_the_library(needs: int | None, driver: str | None, state: State) -> None:
    assert check_driver(here("1.7.1.116", cuda_major=needs), driver).state is state


def test_weights_larger_than_the_memory_do_not_fit() -> None:
    built = rtx(weights_bytes=2**30)
    assert check_memory(built, PossibleGpu(sm=89, memory_bytes=2**30 - 1)).state is State.MISFIT
    assert check_memory(built, PossibleGpu(sm=89, memory_bytes=2**30)).state is State.GOOD
    assert check_memory(built, PossibleGpu(sm=89)) is None
    assert check_memory(trt(), PossibleGpu(sm=89, memory_bytes=1)) is None


def header(**changes: object) -> EngineHeader:
    told = {
        "product": "tensorrt",
        "version": "10.13.3.9",
        "size_bytes": 100,
        "target_mask": None,
        "targets": (),
        "unnamed_bits": 0,
        "weights_bytes": None,
    }
    return EngineHeader(**{**told, **changes})


def test_header_and_manifest_are_joined() -> None:
    details = {
        "gpu": {"name": "NVIDIA L4", "compute_capability": "8.9", "memory_bytes": 1},
        "hardware_compatibility": "ampere-plus",
        "version_compatible": True,
    }
    assert built_for(header(), details) == trt(gpu=ADA, hardware_compatibility="ampere-plus", version_compatible=True)
    told = header(product="tensorrt-rtx", version="1.7.1.116", target_mask=0x48, targets=("sm89",), unnamed_bits=0x40)
    assert built_for(told, {}) == rtx(targets=(89,), open_ended=True)


@pytest.mark.parametrize("gpu", [None, "L4", {}, {"compute_capability": "99.9"}, {"compute_capability": 3}, ["8.9"]])
def test_a_manifest_that_names_no_known_gpu_tells_none(gpu: object) -> None:
    assert built_for(header(), {"gpu": gpu}).gpu is None


def test_a_tensorrt_engine_stays_on_its_platform_and_a_tensorrt_rtx_engine_does_not() -> None:
    linux = "Linux x86_64"
    assert check_platform(trt(platform=linux), linux).state is State.GOOD
    moved = check_platform(trt(platform=linux), "Windows AMD64")
    assert moved.state is State.MISFIT and moved.text == "built on Linux x86_64, here is Windows AMD64"
    assert check_platform(rtx(platform=linux), "Windows AMD64") is None
    assert check_platform(trt(), linux) is None
