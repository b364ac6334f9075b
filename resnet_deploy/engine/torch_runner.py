"""Running a checkpoint in PyTorch itself: the reference that everything later is compared with."""

from __future__ import annotations

__all__ = ["TorchRunner"]

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.base import BaseRunner
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.nets.checkpoint import load_checkpoint
from resnet_deploy.nets.fully_convolutional import fully_convolutional


class TorchRunner(BaseRunner):
    """Eager PyTorch in float32 and channels_last, on the first GPU where there is one; TF32 is off.

    Args:
        any_size: Run the fully convolutional form, which takes images of the network's own size and larger and
            averages the softmax over window positions; see `nets.fully_convolutional`.
    """

    def __init__(self, file: Path, *, num_threads: int = 0, any_size: bool = False) -> None:
        checkpoint = load_checkpoint(file)
        preprocess = checkpoint.manifest.preprocess or checkpoint.spec.preprocess
        net, (height, width) = checkpoint.net, preprocess.input_shape[1:]
        shape: tuple[int | str, ...] = ("N", *preprocess.input_shape)
        if any_size:
            net, shape = fully_convolutional(net, height_px=height, width_px=width), ("N", 3, "H", "W")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._net = net.to(self._device, memory_format=torch.channels_last)
        self._num_threads = num_threads
        classes = checkpoint.manifest.net.num_classes if checkpoint.manifest.net else checkpoint.spec.num_classes
        self.info = RunnerInfo(
            backend="torch",
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
        return images.contiguous(memory_format=torch.channels_last)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        threads, tf32 = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
        if self._num_threads:
            torch.set_num_threads(self._num_threads)
        # cuDNN convolutions use TF32 unless told otherwise; the reference must not
        torch.backends.cudnn.allow_tf32 = False
        try:
            with torch.inference_mode():
                yield
        except RuntimeError as error:
            raise EngineRunError(f"{self.info.file}: PyTorch failed: {_first_line(error)}") from error
        finally:
            torch.backends.cudnn.allow_tf32 = tf32
            if self._num_threads:
                torch.set_num_threads(threads)

    def _release(self) -> None:
        del self._net


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
