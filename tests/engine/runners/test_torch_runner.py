from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_deploy.core.errors import EngineRunError, MissingDependencyError
from resnet_deploy.engine.open import open_runner
from resnet_deploy.engine.runners import torch_runner
from resnet_deploy.engine.runners.torch_runner import TorchRunner
from tests.reference.checkpoints import save_resnet8

X = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def resnet8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("resnet8") / "resnet8.safetensors"
    save_resnet8(file)
    return file


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict]]:
    """torch.compile as it is seen from here, without the 20 s it takes: (batch, options) of every compilation."""
    made: list[tuple[int, dict]] = []

    def compile_(net: torch.nn.Module, **options: object) -> torch.nn.Module:
        sizes: set[int] = set()

        def run(images: torch.Tensor) -> torch.Tensor:
            if len(images) not in sizes:
                sizes.add(len(images))
                made.append((len(images), options))
            return net(images)

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    return made


def test_fp16_computes_in_fp16_between_float32_ends(resnet8: Path) -> None:
    with open_runner(resnet8) as exact, open_runner(resnet8, backend="torch-fp16") as half:
        want, got = exact.run({"images": X})["logits"], half.run({"images": X})["logits"]
        assert half.info.backend == "torch-fp16" and half.info.inputs == exact.info.inputs
        assert got.dtype == np.float32
        # eight layers of rounding to 11 bits: 8 * 2^-11 of the largest value at most, and not the FP32 result
        assert 0 < np.abs(got - want).max() < 8 * 2**-11 * np.abs(want).max()
        assert (half.timed_loop({"images": X}, 2) > 0).all()


def test_a_compiled_net_is_compiled_for_a_size_once_and_smaller_batches_use_it(
    resnet8: Path, compilations: list[tuple[int, dict]]
) -> None:
    with open_runner(resnet8) as eager, open_runner(resnet8, backend="torch-compile") as runner:
        want = eager.run({"images": X})["logits"]
        for count in (3, 2, 1, 5, 4):
            # float32 in batches of other sizes: sums of up to 576 products in another order
            np.testing.assert_allclose(runner.run({"images": X[:count]})["logits"], want[:count], rtol=1e-4, atol=1e-5)
        assert [size for size, _ in compilations] == [3, 5]
        assert runner.info.backend == "torch-compile"
        assert compilations[0][1]["dynamic"] is False and compilations[0][1]["fullgraph"] is True


def test_a_compiled_net_is_timed_at_the_very_size(resnet8: Path, compilations: list[tuple[int, dict]]) -> None:
    with open_runner(resnet8, backend="torch-compile-fp16") as runner:
        runner.run({"images": X})
        runner.timed_loop({"images": X[:2]}, 2)
        assert [size for size, _ in compilations] == [5, 2]
        assert runner.info.backend == "torch-compile-fp16"


def test_what_the_compiler_raises_is_an_error_of_ours(resnet8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class CompilerError(Exception):
        pass

    def broken(images: torch.Tensor) -> torch.Tensor:
        raise CompilerError("no graph\ndetails")

    monkeypatch.setattr(torch, "compile", lambda net, **_: broken)
    runner = open_runner(resnet8, backend="torch-compile")
    with pytest.raises(EngineRunError, match=r"PyTorch failed: no graph\n") as caught:
        runner.run({"images": X})
    assert "torch" in caught.value.remedy


def test_without_a_compiler_it_is_refused_before_the_work(resnet8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match=r"needs a C\+\+ compiler"):
        open_runner(resnet8, backend="torch-compile")


@pytest.mark.slow
def test_the_real_compiler_gives_the_eager_result(resnet8: Path) -> None:
    with open_runner(resnet8) as eager, open_runner(resnet8, backend="torch-compile") as runner:
        want = eager.run({"images": X})["logits"]
        np.testing.assert_allclose(runner.run({"images": X})["logits"], want, rtol=1e-4, atol=1e-5)


def test_forks_run_in_threads_and_tf32_is_off_until_the_last_is_done(resnet8: Path) -> None:
    runner = TorchRunner(resnet8, num_threads=1)
    want = runner.run({"images": X})["logits"]
    before, inside, wrong = torch.backends.cudnn.allow_tf32, [], []
    first_is_done, second_is_in = threading.Event(), threading.Event()

    def first() -> None:
        with torch_runner._without_tf32():
            assert second_is_in.wait(10)
        first_is_done.set()

    def second() -> None:
        with torch_runner._without_tf32():
            second_is_in.set()
            assert first_is_done.wait(10)
            inside.append(torch.backends.cudnn.allow_tf32)

    def work() -> None:
        with runner.fork() as fork:
            wrong.extend(i for i in range(5) if (fork.run({"images": X})["logits"] != want).any())

    threads = [threading.Thread(target=target) for target in (first, second, work, work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before is True and inside == [False] and torch.backends.cudnn.allow_tf32 is before
    assert wrong == []
