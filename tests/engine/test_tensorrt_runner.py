from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.engine.tensorrt_runner import TensorRTRunner
from tests.engine.fake_trt import PLAN, FakeDevice, fake_tensorrt


def opened(folder: Path, **faults: bool) -> tuple[TensorRTRunner, list]:
    file = folder / "net.engine"
    file.write_bytes(PLAN)
    device = FakeDevice()
    trt = fake_tensorrt(device, **faults)
    return TensorRTRunner(file, PLAN, trt=trt, product="tensorrt", device=device), trt.calls


X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_a_pass_sets_shape_and_addresses_before_it_runs(tmp_path: Path) -> None:
    runner, calls = opened(tmp_path)
    calls.clear()
    np.testing.assert_array_equal(runner.run({"images": X})["logits"], X + 1)
    assert [call[0] for call in calls] == ["shape", "address", "address", "execute"]


def test_what_the_engine_says_becomes_the_info(tmp_path: Path) -> None:
    info = opened(tmp_path)[0].info
    assert (info.backend, info.version, info.device, info.max_batch) == ("tensorrt", "10.16.1.11", "Fake GPU", 3)
    assert (info.inputs[0].name, info.inputs[0].dtype, info.inputs[0].shape) == ("images", "float32", (-1, 4))
    assert info.outputs[0].name == "logits"


def test_a_timed_loop_binds_once_and_runs_each_iteration(tmp_path: Path) -> None:
    runner, calls = opened(tmp_path)
    calls.clear()
    assert runner.timed_loop({"images": X}, 5).shape == (5,)
    names = [call[0] for call in calls]
    assert names.count("execute") == 5 and names.count("shape") == 1


@pytest.mark.parametrize("fault", ["deserialize", "context"])
def test_an_engine_that_does_not_load_says_why(tmp_path: Path, fault: str) -> None:
    with pytest.raises(EngineRunError, match=f"{fault} went wrong"):
        opened(tmp_path, **{fault: True})


def test_an_engine_of_another_gpu_names_what_built_it(tmp_path: Path) -> None:
    with pytest.raises(EngineRunError, match=r"it was built by tensorrt 10\.16\.1\.11"):
        opened(tmp_path, deserialize=True)


@pytest.mark.parametrize("fault", ["shape", "address", "execute"])
def test_a_call_that_returns_false_is_an_error(tmp_path: Path, fault: str) -> None:
    runner, _ = opened(tmp_path, **{fault: True})
    with pytest.raises(EngineRunError, match=f"{fault} went wrong"):
        runner.run({"images": X})
    with pytest.raises(EngineRunError, match=f"{fault} went wrong"):
        runner.timed_loop({"images": X}, 2)


def test_a_batch_over_the_profile_never_reaches_the_engine(tmp_path: Path) -> None:
    runner, calls = opened(tmp_path)
    calls.clear()
    with pytest.raises(EngineRunError, match="batch of 4 in input images, at most 3"):
        runner.run({"images": np.zeros((4, 4), np.float32)})
    assert calls == []


@pytest.mark.gpu
def test_a_built_engine_computes_what_onnxruntime_computes(save_onnx, images: np.ndarray, rtx) -> None:
    from resnet_deploy.engine.build import BuildOptions, build_engine
    from resnet_deploy.engine.contract import logits_of
    from resnet_deploy.engine.open import open_runner

    source = save_onnx("fp32")
    engine = build_engine(BuildOptions(onnx=source, targets=("current",))).file
    with open_runner(engine) as runner, open_runner(source) as reference:
        # float32 both; sums of 27 products, then of 8: below 1e-5 relative
        np.testing.assert_allclose(logits_of(runner, images), logits_of(reference, images), rtol=1e-4, atol=1e-4)
        assert (runner.timed_loop({"images": images}, 5) > 0).all()


def test_a_type_that_numpy_has_not_is_named_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "net.engine"
    file.write_bytes(PLAN)
    device = FakeDevice()
    trt = fake_tensorrt(device)

    def no_such_type(kind: str) -> type:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")  # its words for BF16

    trt.nptype = no_such_type
    with pytest.raises(EngineRunError, match="images is FLOAT, which numpy can not hold") as caught:
        TensorRTRunner(file, PLAN, trt=trt, product="tensorrt", device=device)
    assert "--io fp32" in caught.value.remedy
