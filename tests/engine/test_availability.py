from __future__ import annotations

import sys

import pytest

from resnet_deploy.engine import availability, machine
from resnet_deploy.engine.availability import available_backends
from resnet_deploy.engine.cuda_driver import CudaDriver, query_cuda_driver
from resnet_deploy.engine.machine import examine_machine
from resnet_deploy.engine.open import BACKENDS
from tests.engine.fake_trt import DRIVER, fake_tensorrt


def test_every_backend_has_a_status_and_every_refusal_a_reason() -> None:
    found = available_backends()
    assert [status.name for status in found] == list(BACKENDS)
    for status in found:
        assert status.available == (status.device is not None) == (status.reason == "")
        assert status.available or status.reason.startswith("not run: ")
    ready = {status.name for status in found if status.available}
    assert {"torch", "torch-fp16", "onnxruntime", "onnxruntime-cpu"} <= ready


def test_a_backend_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = availability.importlib.util.find_spec
    monkeypatch.setattr(
        availability.importlib.util, "find_spec", lambda name: None if name in ("openvino", "tensorrt") else real(name)
    )
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    status = {entry.name: entry for entry in available_backends()}
    assert (status["openvino"].reason, status["openvino"].install) == ("not run: not installed", "pip install openvino")
    assert status["tensorrt"].reason == "not run: not installed" and "tensorrt" in status["tensorrt"].install


def test_without_onnxruntime_all_its_backends_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = availability.importlib.util.find_spec
    monkeypatch.setattr(
        availability.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name)
    )
    mine = [status for status in available_backends() if status.name.startswith("onnxruntime")]
    assert len(mine) == 4 and {(s.available, s.install) for s in mine} == {(False, "pip install onnxruntime")}


def test_without_a_compiler_only_what_compiles_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    status = {entry.name: entry for entry in available_backends()}
    assert status["torch-compile-fp16"].reason == "not run: torch.compile needs a C++ compiler on a processor"
    assert status["torch-fp16"].available


def test_with_a_gpu_an_installed_product_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "query_cuda_driver", lambda: DRIVER)
    monkeypatch.setattr(availability, "import_product", lambda product: fake_tensorrt())
    status = {entry.name: entry for entry in available_backends()}
    assert (status["tensorrt"].available, status["tensorrt"].device) == (True, "Fake GPU")
    no_gpu = CudaDriver(version="12.9", gpus=(), reason="no CUDA device: the driver lists none")
    monkeypatch.setattr(availability, "query_cuda_driver", lambda: no_gpu)
    status = {entry.name: entry for entry in available_backends()}
    assert status["tensorrt"].reason == "not run: no CUDA device: the driver lists none"


def test_the_driver_gives_gpus_or_a_reason() -> None:
    driver = query_cuda_driver()
    assert bool(driver.gpus) == (driver.reason == "")
    for gpu in driver.gpus:
        assert gpu.name and gpu.memory_bytes > 0 and "." in gpu.compute_capability


def test_the_machine_is_examined() -> None:
    found = examine_machine()
    assert found.missing == () and {"torch", "onnx", "onnxruntime"} <= set(found.packages)
    assert found.cpu_count >= 1 and found.disk_free_bytes > 0
    names = [capability.name for capability in found.capabilities]
    assert names[:2] == ["train and export", "calibrate and quantize"]
    assert [f"run in {name}" for name in BACKENDS] == names[-len(BACKENDS) :]


def test_a_missing_required_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine._REQUIRED, "no_such_module_here", "no-such-package")
    found = examine_machine()
    assert found.missing == ("no-such-package: No module named 'no_such_module_here'",)
    assert found.backends == () and found.capabilities == ()
