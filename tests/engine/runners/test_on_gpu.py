"""Real engines of each product that is installed, on the GPU that is here: what the stand-ins can not show."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.engine.building.build import build_engine
from resnet_deploy.engine.building.options import BatchProfile, BuildOptions
from resnet_deploy.engine.contract import logits_of
from resnet_deploy.engine.open import open_runner
from resnet_deploy.engine.products import PRODUCTS
from resnet_deploy.engine.runners import tensorrt_runner

pytestmark = pytest.mark.gpu

# float32 sums of 27 products, then of 8, in another order: 35 * 2^-24 of order-one values is 2e-6
SAME = {"rtol": 1e-4, "atol": 1e-4}
MANY = np.random.default_rng(3).normal(size=(40, 3, 16, 16)).astype(np.float32)


@pytest.fixture(params=list(PRODUCTS))
def product(request: pytest.FixtureRequest) -> str:
    if not PRODUCTS[request.param].installed:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def built(save_onnx, product: str) -> Callable[..., Path]:
    """built(precision, name=, batch=, **BuildOptions) -> an engine of that product for this GPU."""

    def build(precision: str = "fp32", *, name: str = "net.onnx", batch: str | int = "N", **options: object) -> Path:
        source = save_onnx(precision, name=name, batch=batch)
        targets = ("current",) if PRODUCTS[product].ahead_of_time else ()
        build_options = BuildOptions(onnx=source, product=product, targets=targets, sanity=False, **options)
        return build_engine(build_options).file

    return build


@pytest.fixture
def reference(save_onnx) -> np.ndarray:
    with open_runner(save_onnx("fp32", name="reference.onnx"), backend="onnxruntime-cpu") as runner:
        return logits_of(runner, MANY)


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_an_engine_computes_what_the_processor_computes_at_every_batch(built, reference, cuda_graphs: bool) -> None:
    with open_runner(built(), cuda_graphs=cuda_graphs) as runner:
        for count in (1, 2, 3, 5, 8, 31, 32, 33, 40, 3):
            np.testing.assert_allclose(logits_of(runner, MANY[:count]), reference[:count], **SAME)
        assert runner.info.cuda_graphs is cuda_graphs and runner.info.note == ""
        assert (runner.timed_loop({"images": MANY[:7]}, 20) > 0).all()


def test_each_of_several_profiles_is_used_and_right(built, reference) -> None:
    batches = (
        BatchProfile(min=1, opt=1, max=1),
        BatchProfile(min=2, opt=8, max=8),
        BatchProfile(min=16, opt=16, max=32),
    )
    with open_runner(built(batches=batches)) as runner:
        assert [(p.min[0], p.max[0]) for p in runner.info.profiles] == [(1, 1), (2, 8), (16, 32)]
        for count in (1, 2, 8, 9, 16, 32, 40):
            np.testing.assert_allclose(logits_of(runner, MANY[:count]), reference[:count], **SAME)
        with pytest.raises(EngineRunError, match="in no optimization profile"):
            runner.timed_loop({"images": MANY[:9]}, 1)


def test_an_engine_of_one_batch_takes_any_number_of_images(built, reference) -> None:
    with open_runner(built(batch=4)) as runner:
        assert runner.info.fixed_batch == 4
        np.testing.assert_allclose(logits_of(runner, MANY[:10]), reference[:10], **SAME)


def test_a_graph_gives_bit_for_bit_what_the_launches_give(built) -> None:
    engine = built("fp16")
    with open_runner(engine) as graphs, open_runner(engine, cuda_graphs=False) as plain:
        for count in (1, 8, 32):
            for _ in range(3):
                np.testing.assert_array_equal(logits_of(graphs, MANY[:count]), logits_of(plain, MANY[:count]))


def test_more_shapes_than_are_kept_ready_stay_right(built, reference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_runner, "_MAX_SLOTS", 2)
    with open_runner(built()) as runner:
        for count in (1, 2, 8, 1, 32, 2, 1):
            np.testing.assert_allclose(logits_of(runner, MANY[:count]), reference[:count], **SAME)


def test_threads_with_a_fork_each_give_what_one_gives(built, reference) -> None:
    runner = open_runner(built())

    def work(seed: int) -> bool:
        order = np.random.default_rng(seed)
        with runner.fork() as mine:
            for _ in range(50):
                start, count = order.integers(0, 20), order.integers(1, 20)
                rows = slice(start, start + count)
                if not np.allclose(logits_of(mine, MANY[rows]), reference[rows], **SAME):
                    return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    runner.close()


def test_opening_and_closing_many_times_leaks_no_memory(built) -> None:
    import torch

    engine, free = built(), []
    for _ in range(12):
        with open_runner(engine) as runner:
            logits_of(runner, MANY[:32])
        torch.cuda.empty_cache()
        free.append(torch.cuda.mem_get_info()[0])
    # libraries and kernels are loaded in the first openings and stay; 8 MiB is less than one of these openings takes
    assert free[3] - free[-1] < 8 * 2**20


@pytest.mark.parametrize("option", ["strip", "refit"])
def test_a_stripped_and_a_refittable_engine_run(built, reference, option: str) -> None:
    engine = built(**{option: True})
    with open_runner(engine) as runner:
        np.testing.assert_allclose(logits_of(runner, MANY[:8]), reference[:8], **SAME)


def test_kernels_of_rtx_are_kept_in_a_file(built, product: str, tmp_path: Path) -> None:
    if product != "tensorrt-rtx":
        pytest.skip("tensorrt compiles no kernels at run time")
    engine, cache, seconds, found = built(), tmp_path / "kernels", [], []
    for _ in range(2):
        start = time.perf_counter()
        with open_runner(engine, runtime_cache=cache) as runner:
            found.append(logits_of(runner, MANY[:8]))
            seconds.append(time.perf_counter() - start)
            assert runner.info.note == ""
        assert cache.stat().st_size > 1000
    np.testing.assert_array_equal(*found)
    assert seconds[1] < seconds[0]
    cache.write_bytes(cache.read_bytes()[:-10])
    with open_runner(engine, runtime_cache=cache) as runner:
        assert "damaged" in runner.info.note
        np.testing.assert_array_equal(logits_of(runner, MANY[:8]), found[0])


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_onnxruntime_computes_on_the_gpu_what_it_computes_on_the_processor(save_onnx, reference, backend: str) -> None:
    from resnet_deploy.engine.availability import available_backends

    status = next(status for status in available_backends() if status.name == backend)
    if not status.available:
        pytest.skip(status.reason)
    with open_runner(save_onnx("fp32", name="on_gpu.onnx"), backend=backend) as runner:
        assert runner.info.device != "cpu"
        # TensorRT 10 under ONNX Runtime may use TF32, 10 bits of mantissa
        tolerance = {"rtol": 5e-3, "atol": 5e-3} if backend.endswith("tensorrt") else SAME
        np.testing.assert_allclose(logits_of(runner, MANY), reference, **tolerance)
        assert (runner.timed_loop({"images": MANY[:8]}, 5) > 0).all()
