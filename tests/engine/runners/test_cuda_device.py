"""The thin part that only a GPU can run; everything above it is tested with `fake_device.py`."""

from __future__ import annotations

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from resnet_deploy.core.errors import EngineRunError, MissingDependencyError
from resnet_deploy.engine.runners import cuda_device
from resnet_deploy.engine.runners.cuda_device import CudaBuffer, CudaDevice, open_cuda_device
from tests.engine.fake_device import FakeDevice
from tests.engine.fake_trt import DRIVER


def test_the_stand_in_has_the_methods_of_the_device() -> None:
    public = {name for name in vars(CudaDevice) if not name.startswith("_")}
    assert public == {name for name in vars(FakeDevice) if not name.startswith("_")} - {"name", "enqueue"}


def test_a_pytorch_without_cuda_is_named_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_device, "query_cuda_driver", lambda: DRIVER)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        MissingDependencyError, match=re.escape(f"PyTorch {torch.__version__} can not use Fake GPU")
    ) as caught:
        open_cuda_device("running net.engine")
    assert "CUDA build of PyTorch" in caught.value.remedy


@pytest.fixture
def device() -> CudaDevice:
    return open_cuda_device("this test")


def doubled(device: CudaDevice, buffer: CudaBuffer) -> bool:
    """A kernel on the device's stream, as an engine would put one there."""
    with torch.cuda.stream(torch.cuda.ExternalStream(device.stream_handle)):
        buffer.device_tensor.mul_(2)
    return True


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8", "int32", "int64"])
def test_what_is_copied_there_and_back_is_the_same(device: CudaDevice, dtype: str) -> None:
    buffer = device.allocate((5, 7), np.dtype(dtype))
    values = np.arange(35).reshape(5, 7).astype(dtype)
    buffer.host[...] = values
    device.to_device(buffer)
    device.synchronize()
    buffer.host[...] = 0
    device.to_host(buffer)
    device.synchronize()
    np.testing.assert_array_equal(buffer.host, values)
    assert buffer.host_tensor.is_pinned() and buffer.address == buffer.device_tensor.data_ptr()


@pytest.mark.gpu
def test_the_stream_is_not_the_default_one_and_a_fork_has_another(device: CudaDevice) -> None:
    handles = {device.stream_handle, device.fork().stream_handle, torch.cuda.default_stream().cuda_stream}
    assert len(handles) == 3
    before = torch.cuda.current_stream()
    device.to_device(device.allocate((1,), np.dtype("float32")))
    assert torch.cuda.current_stream() == before


@pytest.mark.gpu
def test_a_graph_replays_what_was_captured_and_runs_nothing_before(device: CudaDevice) -> None:
    buffer = device.allocate((3,), np.dtype("float32"))
    buffer.host[...] = 1
    device.to_device(buffer)
    doubled(device, buffer)
    device.synchronize()
    graph = device.capture(lambda: doubled(device, buffer))
    for _ in range(3):
        device.replay(graph)
    device.to_host(buffer)
    device.synchronize()
    assert buffer.host.tolist() == [16.0] * 3  # one warm-up and three replays


@pytest.mark.gpu
def test_what_can_not_be_captured_raises_and_leaves_the_stream_usable(device: CudaDevice) -> None:
    def waits() -> bool:
        device.synchronize()  # forbidden while a stream is captured
        return True

    with pytest.raises(RuntimeError):
        device.capture(waits)
    with pytest.raises(RuntimeError, match="refused"):
        device.capture(lambda: False)
    buffer = device.allocate((2,), np.dtype("float32"))
    buffer.host[...] = 4
    device.to_device(buffer)
    device.to_host(buffer)
    device.synchronize()
    assert buffer.host.tolist() == [4.0, 4.0]


@pytest.mark.gpu
def test_passes_are_timed_one_by_one(device: CudaDevice) -> None:
    buffer = device.allocate((64, 1 << 20), np.dtype("float32"))
    buffer.host[...] = 1
    seconds = device.time_passes(lambda: doubled(device, buffer), 20)
    # 256 MiB read and written: no GPU does that in 10 us, none takes 0.1 s
    assert seconds.shape == (20,) and (seconds > 1e-5).all() and (seconds < 0.1).all()


@pytest.mark.gpu
def test_memory_that_is_not_there_is_an_error_of_ours(device: CudaDevice) -> None:
    with pytest.raises(EngineRunError, match="no memory on"):
        device.allocate((1 << 22, 1 << 20), np.dtype("float32"))  # 16 TiB


@pytest.mark.gpu
def test_devices_of_several_threads_do_not_disturb_each_other(device: CudaDevice) -> None:
    def work(seed: int) -> bool:
        mine = device.fork()
        buffer = mine.allocate((1000,), np.dtype("float32"))
        for value in range(seed, seed + 50):
            buffer.host[...] = value
            mine.to_device(buffer)
            doubled(mine, buffer)
            mine.to_host(buffer)
            mine.synchronize()
            if (buffer.host != 2 * value).any():
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(0, 400, 100)))


@pytest.mark.gpu
def test_an_address_is_one_of_the_gpu(device: CudaDevice) -> None:
    buffer = device.allocate((4,), np.dtype("int32"))
    buffer.host[...] = 3
    device.to_device(buffer)
    device.synchronize()
    driver, found = ctypes.CDLL("libcuda.so.1"), (ctypes.c_int * 4)()
    assert driver.cuMemcpyDtoH_v2(found, ctypes.c_uint64(buffer.address), ctypes.c_size_t(16)) == 0
    assert list(found) == [3, 3, 3, 3]
