from __future__ import annotations

from pathlib import Path

import pytest

from resnet_deploy.core.errors import ConfigError, MissingDependencyError
from resnet_deploy.core.progress import NO_PROGRESS
from resnet_deploy.engine import builder, products, targets
from resnet_deploy.engine.cuda_driver import CudaDriver
from resnet_deploy.engine.products import PRODUCTS, collected_log, trt_logger
from tests.engine.fake_trt import DRIVER, PLAN, fake_tensorrt

CLASSIC, RTX = PRODUCTS["tensorrt"], PRODUCTS["tensorrt-rtx"]
NO_GPU = CudaDriver(version=None, gpus=(), reason="no CUDA device: a test says so")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (targets, builder):
        monkeypatch.setattr(module, "query_cuda_driver", lambda: DRIVER)


def built(trt, **changes) -> builder.BuiltEngine:
    options = {
        "input_name": "images",
        "shapes": ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8)),
        "targets": (),
        "tf32": False,
        "optimization_level": None,
        "timing_cache": None,
        "progress": NO_PROGRESS,
    }
    return builder.run_builder(trt, Path("net.onnx"), **{**options, **changes})


def test_tensorrt_is_asked_for_strong_typing_and_no_tf32(gpu: None) -> None:
    trt = fake_tensorrt()
    result = built(trt)
    assert ("network", 0b10) in trt.calls and ("clear", "TF32") in trt.calls
    assert ("profile", "images", ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))) in trt.calls
    assert (result.data, result.targets, result.parsed_layers) == (PLAN, ("sm90",), 5)
    assert result.warnings == ("a warning", "another")


def test_tf32_and_the_optimization_level_are_handed_on(gpu: None) -> None:
    trt = fake_tensorrt()
    built(trt, tf32=True, optimization_level=5)
    assert ("clear", "TF32") not in trt.calls and ("build", 5) in trt.calls


def test_a_timing_cache_is_read_and_written(gpu: None, tmp_path: Path) -> None:
    file = tmp_path / "kernel.times"
    first = fake_tensorrt()
    built(first, timing_cache=file)
    assert ("timing cache", b"") in first.calls and file.read_bytes() == b"times"
    second = fake_tensorrt()
    built(second, timing_cache=file)
    assert ("timing cache", b"times") in second.calls


def test_one_logger_serves_a_process_and_logs_do_not_mix() -> None:
    trt = fake_tensorrt()
    assert trt_logger(trt) is trt_logger(trt)
    with collected_log(trt) as outer:
        with collected_log(trt) as inner:
            trt_logger(trt).log(trt.ILogger.Severity.ERROR, "inside")
        trt_logger(trt).log(trt.ILogger.Severity.WARNING, "outside")
    assert [text for _, text in inner] == ["inside"]
    assert [text for _, text in outer] == ["outside"]


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
