from __future__ import annotations

from pathlib import Path

import pytest

from resnet_deploy.core.errors import ArtifactError, ConfigError, MissingDependencyError
from resnet_deploy.core.progress import NO_PROGRESS
from resnet_deploy.engine import products, targets
from resnet_deploy.engine.building import builder
from resnet_deploy.engine.building.options import BuildOptions, HardwareCompatibility
from resnet_deploy.engine.contract import ShapeProfile
from resnet_deploy.engine.cuda_driver import CudaDriver
from resnet_deploy.engine.products import PRODUCTS, collected_log, trt_logger
from tests.engine.fake_builder import CACHE_OF_ANOTHER_GPU
from tests.engine.fake_trt import DRIVER, PLAN, fake_tensorrt

CLASSIC, RTX = PRODUCTS["tensorrt"], PRODUCTS["tensorrt-rtx"]
NO_GPU = CudaDriver(version=None, gpus=(), reason="no CUDA device: a test says so")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (targets, builder):
        monkeypatch.setattr(module, "query_cuda_driver", lambda: DRIVER)


PROFILES = (ShapeProfile(min=(1, 3, 8, 8), opt=(2, 3, 8, 8), max=(4, 3, 8, 8)),)


def built(trt, *, profiles: tuple[ShapeProfile, ...] = PROFILES, **options) -> builder.BuiltEngine:
    return builder.run_builder(
        trt,
        BuildOptions(onnx=Path("net.onnx"), **options),
        input_name="images",
        profiles=profiles,
        progress=NO_PROGRESS,
    )


def test_tensorrt_is_asked_for_strong_typing_no_tf32_and_engines_that_tell(gpu: None) -> None:
    trt = fake_tensorrt()
    result = built(trt)
    assert ("network", 0b10) in trt.calls and ("clear", "TF32") in trt.calls
    assert ("set", "profiling_verbosity", "detailed") in trt.calls
    assert ("profile", "images", ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))) in trt.calls
    assert (result.data, result.targets, result.parsed_layers) == (PLAN, ("sm90",), 5)
    assert result.warnings == ("a warning", "another")
    assert result.log == (
        ("warning", "a warning"),
        ("warning", "another"),
        ("info", "Engine generation completed"),
    )


def test_every_profile_is_added_in_order_and_none_to_a_fixed_graph(gpu: None) -> None:
    trt = fake_tensorrt()
    built(trt, profiles=(*PROFILES, ShapeProfile(min=(8, 3, 8, 8), opt=(8, 3, 8, 8), max=(8, 3, 8, 8))))
    assert [call[2][2][0] for call in trt.calls if call[0] == "profile"] == [4, 8]
    assert trt.calls.count(("add profile",)) == 2
    fixed = fake_tensorrt()
    built(fixed, profiles=())
    assert ("add profile",) not in fixed.calls


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"tf32": True, "optimization_level": 5}, [("build", 5)]),
        ({"workspace_mib": 64}, [("pool", "workspace", 64 << 20)]),
        ({"strip": True}, [("flag", "STRIP_PLAN"), ("flag", "REFIT_IDENTICAL")]),
        ({"strip": True, "refit": True}, [("flag", "STRIP_PLAN"), ("flag", "REFIT")]),
        ({"refit": True}, [("flag", "REFIT")]),
        ({"version_compatible": True}, [("flag", "VERSION_COMPATIBLE")]),
        (
            {"hardware_compatibility": HardwareCompatibility.AMPERE_PLUS},
            [("set", "hardware_compatibility_level", "ampere plus")],
        ),
        (
            {"dla_core": 0},
            [
                ("parser flag", "adjust for DLA"),
                ("set", "default_device_type", "DLA"),
                ("set", "DLA_core", 0),
                ("flag", "GPU_FALLBACK"),
            ],
        ),
    ],
)
def test_an_option_reaches_the_builder_and_stays_away_unasked(gpu: None, options: dict, calls: list[tuple]) -> None:
    trt, plain = fake_tensorrt(), fake_tensorrt()
    built(trt, **options)
    built(plain)
    assert [call for call in trt.calls if call in calls] == calls
    assert not [call for call in plain.calls if call in calls]
    assert (("clear", "TF32") in trt.calls) is not options.get("tf32", False)


def test_what_a_version_lacks_is_named_with_the_version(gpu: None) -> None:
    level = HardwareCompatibility.SAME_COMPUTE_CAPABILITY  # not in every 10.x
    with pytest.raises(ConfigError, match=r"10\.16\.1\.11 has no hardware compatibility same-compute-capability"):
        built(fake_tensorrt(), hardware_compatibility=level)


def test_a_dla_core_that_is_not_there_is_missing_hardware(gpu: None) -> None:
    with pytest.raises(MissingDependencyError, match="DLA core 1 is asked for, .* finds 1 here"):
        built(fake_tensorrt(), dla_core=1)


def test_a_timing_cache_is_read_and_written(gpu: None, tmp_path: Path) -> None:
    file = tmp_path / "kernel.times"
    first = fake_tensorrt()
    built(first, timing_cache=file)
    assert ("timing cache", b"") in first.calls and file.read_bytes() == b"times"
    second = fake_tensorrt()
    built(second, timing_cache=file)
    assert ("timing cache", b"times") in second.calls and file.read_bytes() == b"timestimes"


def test_a_pinned_timing_cache_is_all_there_is_and_stays_as_it_is(gpu: None, tmp_path: Path) -> None:
    file = tmp_path / "kernel.times"
    with pytest.raises(ArtifactError, match="no such timing cache to pin"):
        built(fake_tensorrt(), timing_cache=file, pin_timing_cache=True)
    file.write_bytes(b"pinned")
    trt = fake_tensorrt()
    built(trt, timing_cache=file, pin_timing_cache=True)
    assert ("flag", "error on timing cache miss") in trt.calls and file.read_bytes() == b"pinned"


def test_a_timing_cache_of_another_gpu_is_refused(gpu: None, tmp_path: Path) -> None:
    file = tmp_path / "kernel.times"
    file.write_bytes(CACHE_OF_ANOTHER_GPU)
    with pytest.raises(ArtifactError, match="not a timing cache of this product, version and GPU"):
        built(fake_tensorrt(), timing_cache=file)
    assert file.read_bytes() == CACHE_OF_ANOTHER_GPU


def test_one_logger_serves_a_process_and_every_block_hears_what_is_said_inside_it() -> None:
    trt = fake_tensorrt()
    assert trt_logger(trt) is trt_logger(trt)
    with collected_log(trt) as outer:
        with collected_log(trt) as inner:
            trt_logger(trt).log(trt.ILogger.Severity.ERROR, "inside")
        trt_logger(trt).log(trt.ILogger.Severity.WARNING, "outside")
    assert [text for _, text in inner] == ["inside"]
    assert [text for _, text in outer] == ["inside", "outside"]


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(products.importlib.util, "find_spec", lambda module: object() if module in names else None)


def test_the_product_follows_the_machine(monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    installed(monkeypatch, "tensorrt_rtx")
    assert targets.choose_product(None) is RTX
    installed(monkeypatch, "tensorrt_rtx", "tensorrt")  # the GPU is an sm90, which TensorRT-RTX can not target
    assert targets.choose_product(None) is CLASSIC
    assert targets.choose_product("tensorrt-rtx") is RTX
    monkeypatch.setattr(targets, "query_cuda_driver", lambda: NO_GPU)
    assert targets.choose_product(None) is RTX
    installed(monkeypatch, "tensorrt")
    assert targets.choose_product(None) is CLASSIC


def test_tensorrt_builds_for_the_gpu_here_only(monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    targets.check_targets(CLASSIC, fake_tensorrt(), ())
    targets.check_targets(CLASSIC, fake_tensorrt(), ("current",))
    with pytest.raises(ConfigError, match="not for sm86"):
        targets.check_targets(CLASSIC, fake_tensorrt(), ("sm86",))
    monkeypatch.setattr(targets, "query_cuda_driver", lambda: NO_GPU)
    with pytest.raises(MissingDependencyError, match="a test says so"):
        targets.check_targets(CLASSIC, fake_tensorrt(), ())


def test_what_an_engine_runs_on_and_what_not_is_said_by_name() -> None:
    said = targets.explain_targets(("sm86", "sm89"))
    runs, others = said.split("; not on ")
    could, never = others.split("; nor on ")
    assert "sm89 (L4, L40S, RTX 40)" in runs and "sm86" not in could
    assert "sm75 (T4, RTX 20)" in could and "--target" in could
    assert "sm90 (H100, H200)" in never and "sm87 (Jetson Orin)" in never
    everything = targets.explain_targets(("sm75", "sm80", "sm86", "sm89", "sm120", "sm121"))
    assert "; not on" not in everything and "nor on sm87" in everything
    here = targets.explain_targets(("sm90",))  # built for the GPU of the machine, should TensorRT-RTX do so
    assert here.startswith("runs on sm90 (H100, H200); not on") and here.count("sm90") == 1
