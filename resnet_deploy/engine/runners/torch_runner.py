"""Running a checkpoint in PyTorch itself: the reference that everything later is compared with."""

from __future__ import annotations

__all__ = ["TorchRunner"]

import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from resnet_deploy.core.errors import EngineRunError, MissingDependencyError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.engine.runners.base import BaseRunner
from resnet_deploy.engine.runners.compiler import why_no_compiler
from resnet_deploy.nets.checkpoint import load_checkpoint
from resnet_deploy.nets.fully_convolutional import fully_convolutional

_COMPILE_MODE = "max-autotune-no-cudagraphs"
"""On a GPU: the fastest kernels torch.compile finds. Without its CUDA graphs, which do not bear threads; what it saves
in launches at batch 1 is therefore not in the times of torch-compile, and is in those of an engine."""

_MAX_COMPILED = 64

_tf32_lock = threading.Lock()
_tf32_users: list[bool] = []  # the setting found by the first of those that compute now, once for each


class TorchRunner(BaseRunner):
    """PyTorch in channels_last, on the first GPU where there is one; TF32 is off.

    Images go in and logits come out as float32 in every form, as of an engine.

    Args:
        any_size: Run the fully convolutional form, which takes images of the network's own size and larger and
            averages the softmax over window positions; see `nets.fully_convolutional`.
        half: Compute in FP16, casting inside the pass.
        compiled: By torch.compile, once for each batch size; the first pass of a size takes long, so `run` fills a
            smaller batch up to a size that is compiled already.
    Raises:
        MissingDependencyError: There is no compiler for `compiled`.
    """

    def __init__(
        self, file: Path, *, num_threads: int = 0, any_size: bool = False, half: bool = False, compiled: bool = False
    ) -> None:
        checkpoint = load_checkpoint(file)
        preprocess = checkpoint.manifest.preprocess or checkpoint.spec.preprocess
        net, (height, width) = checkpoint.net, preprocess.input_shape[1:]
        shape: tuple[int | str, ...] = ("N", *preprocess.input_shape)
        if any_size:
            net, shape = fully_convolutional(net, height_px=height, width_px=width), ("N", 3, "H", "W")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._net = (_InHalf(net) if half else net).to(self._device, memory_format=torch.channels_last)
        self._compiled_sizes: set[int] | None = None
        if compiled:
            missing, install = why_no_compiler(on_gpu=self._device.type == "cuda")
            if missing:
                raise MissingDependencyError(missing, remedy=f"{install}, or run the backend torch")
            mode = _COMPILE_MODE if self._device.type == "cuda" else "default"
            # fullgraph: without it, PyTorch runs one batch size too many eagerly and says nothing
            self._net = torch.compile(self._net, dynamic=False, fullgraph=True, mode=mode)
            self._compiled_sizes = set()
        self._num_threads = num_threads
        classes = checkpoint.manifest.net.num_classes if checkpoint.manifest.net else checkpoint.spec.num_classes
        self.info = RunnerInfo(
            backend="torch" + "-compile" * compiled + "-fp16" * half,
            version=torch.__version__,
            device=torch.cuda.get_device_name() if self._device.type == "cuda" else "cpu",
            file=str(file),
            inputs=(TensorSpec(name="images", dtype="float32", shape=shape),),
            outputs=(TensorSpec(name="logits", dtype="float32", shape=("N", classes)),),
        )

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self._computing():
            return {"logits": self._net(self._upload(feeds)).cpu().numpy()}

    def _timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        with self._computing():
            images = self._upload(feeds)
            if self._device.type == "cuda":
                return self._timed_by_events(images, iterations)
            seconds = np.empty(iterations)
            for index in range(iterations):
                start = time.perf_counter()
                self._net(images)
                seconds[index] = time.perf_counter() - start
            return seconds

    def _timed_by_events(self, images: torch.Tensor, iterations: int) -> np.ndarray:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(iterations + 1)]
        torch.cuda.synchronize()
        events[0].record()
        for event in events[1:]:
            self._net(images)
            event.record()
        torch.cuda.synchronize()
        return np.array([a.elapsed_time(b) for a, b in itertools.pairwise(events)]) / 1e3

    def _upload(self, feeds: Mapping[str, np.ndarray]) -> torch.Tensor:
        # a copy: numpy arrays may be read-only, which torch.from_numpy warns of
        images = torch.tensor(feeds["images"], device=self._device)
        if self._compiled_sizes is not None:
            self._compiled_sizes.add(len(images))
        return images.contiguous(memory_format=torch.channels_last)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        if self._num_threads:
            torch.set_num_threads(self._num_threads)
        try:
            with _without_tf32(), torch.inference_mode(), self._compiling():
                yield
        except Exception as error:
            if self._compiled_sizes is None and not isinstance(error, RuntimeError):
                raise
            # what the compiler raises has no common base
            remedy = None if self._compiled_sizes is None else "run it in the backend torch, which does not compile"
            raise EngineRunError(f"{self.info.file}: PyTorch failed: {_first_line(error)}", remedy=remedy) from error
        finally:
            if self._num_threads:
                torch.set_num_threads(threads)

    def _compiling(self) -> AbstractContextManager[object]:
        if self._compiled_sizes is None:
            return nullcontext()
        # by default eight shapes for one forward method, and all depths of a family share theirs
        return torch._dynamo.config.patch(recompile_limit=_MAX_COMPILED)

    def _filled_size(self, size: int, row: Sequence[int]) -> int:
        return min((known for known in self._compiled_sizes or () if known >= size), default=size)

    def _release(self) -> None:
        del self._net


class _InHalf(torch.nn.Module):
    """A network in FP16 between float32 images and float32 logits."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net.half()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] float32 -> [N, K] float32."""
        return self.net(images.half()).float()


@contextmanager
def _without_tf32() -> Iterator[None]:
    """cuDNN convolutions use TF32 unless told otherwise; the reference must not, in any of its threads.

    The setting is the process's: the last of several threads to leave puts it back.
    """
    with _tf32_lock:
        _tf32_users.append(_tf32_users[0] if _tf32_users else torch.backends.cudnn.allow_tf32)
        torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        with _tf32_lock:
            before = _tf32_users.pop()
            if not _tf32_users:
                torch.backends.cudnn.allow_tf32 = before


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
