from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.engine.contract import ShapeProfile
from resnet_deploy.engine.runners import tensorrt_runner
from resnet_deploy.engine.runners.loaded_engine import EngineSettings
from resnet_deploy.engine.runners.tensorrt_runner import TensorRTRunner
from tests.engine.fake_device import FakeDevice
from tests.engine.fake_trt import PLAN, fake_tensorrt

SMALL_AND_LARGE = (((1, 4), (1, 4), (2, 4)), ((8, 4), (8, 4), (16, 4)))


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., tuple[TensorRTRunner, list]]:
    """opened(faults of the device, plain=..., **options and faults of fake_tensorrt) -> runner and list of calls."""
    file = tmp_path / "net.engine"
    file.write_bytes(PLAN)
    runners = []

    def open_it(*device_faults: str, plain: bool = False, **options: object) -> tuple[TensorRTRunner, list]:
        device = FakeDevice(*device_faults)
        trt = fake_tensorrt(device, **options)
        product = "tensorrt-rtx" if options.get("rtx") else "tensorrt"
        settings = EngineSettings(cuda_graphs=not plain)
        runner = TensorRTRunner(file, PLAN, trt=trt, product=product, device=device, manifest=None, settings=settings)
        runners.append(runner)
        return runner, device.calls

    yield open_it
    for runner in runners:
        runner.close()


def rows(count: int) -> np.ndarray:
    return np.arange(count * 4, dtype=np.float32).reshape(count, 4)


def names(calls: list[tuple]) -> list[str]:
    return [call[0] for call in calls]


def shapes(calls: list[tuple]) -> list[int]:
    """Batches of the inputs that memory was allocated for; every other allocation is the output's."""
    return [call[1][0] for call in calls if call[0] == "allocate"][::2]


def test_the_first_pass_binds_before_it_runs_and_waits_before_it_reads(opened) -> None:
    runner, calls = opened(plain=True)
    calls.clear()
    np.testing.assert_array_equal(runner.run({"images": rows(2)})["logits"], rows(2) + 1)
    assert names(calls) == [
        *("context", "shape", "allocate", "allocate", "address", "address"),
        *("to device", "execute", "to host", "synchronize"),
    ]


@pytest.mark.parametrize("plain", [True, False])
def test_a_later_pass_allocates_nothing_and_binds_nothing(opened, plain: bool) -> None:
    runner, calls = opened(plain=plain)
    runner.run({"images": rows(2)})
    calls.clear()
    np.testing.assert_array_equal(runner.run({"images": rows(2) * 3})["logits"], rows(2) * 3 + 1)
    assert names(calls) == ["to device", "execute" if plain else "replay", "to host", "synchronize"]


def test_what_came_out_is_not_written_by_the_next_pass(opened) -> None:
    runner, _ = opened()
    first = runner.run({"images": rows(2)})["logits"]
    runner.run({"images": rows(2) * 5})
    np.testing.assert_array_equal(first, rows(2) + 1)


def test_a_graph_is_captured_after_a_pass_was_run_and_waited_for(opened) -> None:
    runner, calls = opened()
    calls.clear()
    np.testing.assert_array_equal(runner.run({"images": rows(2)})["logits"], rows(2) + 1)
    assert names(calls)[6:] == [
        *("to device", "to device", "execute", "to host", "synchronize"),  # a launched pass,
        *("execute", "capture"),
        *("to device", "replay", "to host", "synchronize"),  # a replayed one to compare with it,
        *("to device", "replay", "to host", "synchronize"),  # and the pass that was asked for
    ]
    assert runner.info.cuda_graphs and runner.info.note == ""


def test_every_captured_graph_has_a_context_of_its_own(opened) -> None:
    runner, calls = opened()
    for count in (1, 2, 3):
        np.testing.assert_array_equal(runner.run({"images": rows(count)})["logits"], rows(count) + 1)
    assert names(calls).count("context") == names(calls).count("capture") == 3
    calls.clear()
    for count in (3, 1, 2):
        np.testing.assert_array_equal(runner.run({"images": rows(count)})["logits"], rows(count) + 1)
    assert set(names(calls)) == {"to device", "replay", "to host", "synchronize"}


def test_without_graphs_nothing_is_captured_and_the_info_says_so(opened) -> None:
    runner, calls = opened(plain=True)
    runner.run({"images": rows(2)})
    runner.timed_loop({"images": rows(2)}, 3)
    assert "capture" not in names(calls) and not runner.info.cuda_graphs


def test_a_capture_that_fails_leaves_plain_passes_and_a_note(opened) -> None:
    runner, calls = opened("capture")
    np.testing.assert_array_equal(runner.run({"images": rows(2)})["logits"], rows(2) + 1)
    assert not runner.info.cuda_graphs
    assert "CUDA graphs could not be captured" in runner.info.note and "not permitted" in runner.info.note
    calls.clear()
    np.testing.assert_array_equal(runner.run({"images": rows(3)})["logits"], rows(3) + 1)
    assert "capture" not in names(calls) and "execute" in names(calls)


def test_a_graph_that_missed_a_kernel_is_not_used(opened) -> None:
    runner, _ = opened("empty graph")
    np.testing.assert_array_equal(runner.run({"images": rows(2)})["logits"], rows(2) + 1)
    assert not runner.info.cuda_graphs and "gives other numbers than a launched one" in runner.info.note


def test_what_the_engine_says_becomes_the_info(opened) -> None:
    info = opened(profiles=SMALL_AND_LARGE)[0].info
    assert (info.backend, info.version, info.device, info.max_batch) == ("tensorrt", "10.16.1.11", "Fake GPU", 16)
    assert (info.inputs[0].name, info.inputs[0].dtype, info.inputs[0].shape) == ("images", "float32", (-1, 4))
    assert info.outputs[0].name == "logits" and info.min_batch == 1
    assert info.profiles == (
        ShapeProfile(min=(1, 4), opt=(1, 4), max=(2, 4)),
        ShapeProfile(min=(8, 4), opt=(8, 4), max=(16, 4)),
    )


def test_an_engine_of_one_shape_has_no_profiles_and_takes_any_number_of_rows(opened) -> None:
    runner, calls = opened(io_shape=(2, 4))
    assert (runner.info.profiles, runner.info.fixed_batch, runner.info.max_batch) == ((), 2, 2)
    np.testing.assert_array_equal(runner.run({"images": rows(5)})["logits"], rows(5) + 1)
    assert shapes(calls) == [2]


@pytest.mark.parametrize(
    ("count", "sizes", "profiles"),
    [(2, [2], []), (5, [8], [1]), (16, [16], [1]), (18, [16, 2], [1]), (40, [16, 8], [1, 1])],
)
def test_each_pass_takes_the_profile_that_holds_it(opened, count: int, sizes: list[int], profiles: list[int]) -> None:
    runner, calls = opened(profiles=SMALL_AND_LARGE)
    np.testing.assert_array_equal(runner.run({"images": rows(count)})["logits"], rows(count) + 1)
    assert shapes(calls) == sizes
    assert [call[1] for call in calls if call[0] == "profile"] == profiles


def test_the_profile_is_chosen_on_the_runners_stream_and_waited_for(opened) -> None:
    runner, calls = opened(profiles=SMALL_AND_LARGE)
    calls.clear()
    runner.run({"images": rows(8)})
    assert names(calls)[:4] == ["context", "profile", "synchronize", "shape"]


def test_few_rows_are_filled_up_to_a_size_with_a_graph_and_many_are_not(opened) -> None:
    runner, calls = opened(profiles=(((1, 4), (4, 4), (64, 4)),))
    for count in (3, 5, 33):
        np.testing.assert_array_equal(runner.run({"images": rows(count)})["logits"], rows(count) + 1)
    assert shapes(calls) == [4, 8, 33]
    assert names(calls).count("capture") == 2
    plain, calls = opened(plain=True, profiles=(((1, 4), (4, 4), (64, 4)),))
    np.testing.assert_array_equal(plain.run({"images": rows(3)})["logits"], rows(3) + 1)
    assert shapes(calls) == [3]


def test_a_timed_loop_makes_exactly_what_it_is_given(opened) -> None:
    runner, calls = opened()
    calls.clear()
    assert runner.timed_loop({"images": rows(3)}, 5).shape == (5,)
    assert shapes(calls) == [3] and names(calls).count("replay") == 1 + 5  # one to check the graph
    calls.clear()
    runner.timed_loop({"images": rows(3)}, 5)
    assert names(calls) == ["to device", *("replay",) * 5, "synchronize"]
    with pytest.raises(EngineRunError, match="batch 4 is over this file's largest, 3"):
        runner.timed_loop({"images": rows(4)}, 1)
    gap, _ = opened(profiles=SMALL_AND_LARGE)
    with pytest.raises(EngineRunError, match=r"batch 5 is in no optimization profile of this file \(1 to 2, 8 to 16\)"):
        gap.timed_loop({"images": rows(5)}, 1)


def test_only_so_many_shapes_are_kept_and_the_oldest_goes(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_runner, "_MAX_SLOTS", 2)
    runner, calls = opened()
    for count in (1, 2, 1, 3):
        runner.run({"images": rows(count)})
    assert names(calls).count("free context") == 1
    calls.clear()
    runner.run({"images": rows(1)})
    assert "allocate" not in names(calls)
    runner.run({"images": rows(2)})
    assert "allocate" in names(calls)


def test_images_of_a_size_without_a_profile_are_refused_by_size(opened) -> None:
    profile = (((1, 4), (2, 4), (3, 8)),)
    runner, _ = opened(io_shape=(-1, -1), profiles=profile)
    runner.run({"images": np.zeros((1, 6), np.float32)})
    with pytest.raises(
        EngineRunError, match=r"no optimization profile holds images of \[9\], they hold \[4\] to \[8\]"
    ):
        runner.run({"images": np.zeros((1, 9), np.float32)})


def test_everything_is_freed_from_the_graph_to_the_runtime(opened) -> None:
    runner, calls = opened()
    runner.run({"images": rows(2)})
    calls.clear()
    runner.close()
    gc.collect()
    assert names(calls) == [
        *("synchronize", "free graph", "free context", "free buffer", "free buffer"),
        *("free engine", "free runtime"),
    ]


@pytest.mark.parametrize("fault", ["deserialize", "context"])
def test_an_engine_that_does_not_load_says_why(opened, fault: str) -> None:
    with pytest.raises(EngineRunError, match=f"{fault} went wrong"):
        opened(**{fault: True})[0].run({"images": rows(1)})


def test_an_engine_of_another_gpu_names_what_built_it(opened) -> None:
    with pytest.raises(EngineRunError, match=r"it was built by tensorrt 10\.16\.1\.11"):
        opened(deserialize=True)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("fault", ["shape", "address", "execute", "profile"])
def test_a_call_that_returns_false_is_an_error(opened, fault: str, plain: bool) -> None:
    profiles = (((1, 4), (1, 4), (1, 4)), ((1, 4), (2, 4), (3, 4)))
    runner, _ = opened(plain=plain, profiles=profiles, **{fault: True})
    for _ in range(2):
        with pytest.raises(EngineRunError, match=f"{fault} went wrong"):
            runner.run({"images": rows(2)})
    with pytest.raises(EngineRunError, match=f"{fault} went wrong"):
        runner.timed_loop({"images": rows(2)}, 2)


@pytest.mark.parametrize(("fault", "says"), [("allocate", "no memory on Fake GPU"), ("synchronize", "illegal memory")])
def test_a_gpu_that_fails_is_an_error_and_can_still_be_closed(opened, fault: str, says: str) -> None:
    runner, _ = opened(fault, plain=True)
    with pytest.raises(EngineRunError, match=says), runner:
        runner.run({"images": rows(2)})


def test_threads_run_forks_of_one_engine_each_with_its_own_context(opened) -> None:
    """Every context and every stream of the stand-in refuses a second thread."""
    runner, calls = opened()
    together = threading.Barrier(4)

    def work(seed: int) -> int:
        images = np.random.default_rng(seed).normal(size=(100, 3, 4)).astype(np.float32)
        with runner.fork() as mine:
            together.wait(10)
            return sum((mine.run({"images": x})["logits"] != x + 1).any() for x in images)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [0] * 4
    assert names(calls).count("context") == 4 and names(calls).count("deserialize") == 1


def test_the_engine_lives_until_the_last_fork_is_closed(opened) -> None:
    runner, calls = opened()
    fork = runner.fork()
    runner.run({"images": rows(2)})
    runner.close()
    gc.collect()
    assert "free engine" not in names(calls)
    np.testing.assert_array_equal(fork.run({"images": rows(2)})["logits"], rows(2) + 1)
    with pytest.raises(EngineRunError, match="closed"):
        runner.fork()
    fork.close()
    fork.close()
    gc.collect()
    assert names(calls)[-2:] == ["free engine", "free runtime"]


def test_a_runner_that_shares_memory_between_threads_would_be_noticed(opened) -> None:
    """The planted fault for the two tests above: one runner, two threads."""
    runner, _ = opened()
    runner.run({"images": rows(2)})
    seen: list[BaseException] = []

    def work() -> None:
        try:
            runner.timed_loop({"images": rows(1)}, 1)
            runner._slots[((2, 4),)]._graph = None
            runner.run({"images": rows(2)})
        except AssertionError as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [str(error).splitlines()[0] for error in seen] == ["a context is for one thread"]


def test_a_type_that_numpy_has_not_is_named_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "net.engine"
    file.write_bytes(PLAN)
    device = FakeDevice()
    trt = fake_tensorrt(device)

    def no_such_type(kind: str) -> type:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")  # its words for BF16

    trt.nptype = no_such_type
    with pytest.raises(EngineRunError, match="images is FLOAT, which numpy can not hold") as caught:
        TensorRTRunner(file, PLAN, trt=trt, product="tensorrt", device=device, manifest=None, settings=EngineSettings())
    assert "--io fp32" in caught.value.remedy
