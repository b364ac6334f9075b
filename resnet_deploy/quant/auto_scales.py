"""Scales chosen by what they do to the answer: the threshold of a tensor that moves the logits' margin least.

Entropy and mean squared error look at a tensor alone. But values are not equally dear: of two tensors with the same
histogram one may sit in front of a steep part of the network, and clipping, which moves many values of one image
the same way, does more harm than rounding of the same size. So the error e_i(threshold) = quantised x_i - x_i of
every value is weighted with the gradient g_i of the margin (best logit minus second best), which says to first order
what rounding this tensor does to the decision: r = sum of g_i e_i for an image. The threshold with the smallest mean
of r^2 over the images wins.

A network that gives features or maps decides nothing. What counts there is the energy of the outputs' errors, each
output measured by its own energy: y^ is a sum of all outputs with random signs, and the mean of (sum of g_i e_i)^2
with g the gradient of y^ is that energy (Hutchinson's estimator: what the signs mix cancels).

One forward and one backward pass an image serve all tensors and all thresholds: e is a function of x alone, so the
gradients are summed into a histogram over x first.
"""

from __future__ import annotations

__all__ = ["NUM_CANDIDATES", "auto_amax"]

import math
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import torch
from torch import Tensor

from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.quant.scales import SIGNED_LEVELS, UNSIGNED_LEVELS, Amax
from resnet_deploy.quant.statistics import NUM_BINS, TensorStatistics

NUM_CANDIDATES = 33
_SMALLEST_SHARE = 0.2


class _Thresholds:
    """Candidate thresholds of one tensor, and the rounding error of every bin's middle under each of them.

    The candidates stand twice for a tensor that is never negative: rounded to SIGNED_LEVELS and to UNSIGNED_LEVELS.
    """

    def __init__(self, statistics: TensorStatistics) -> None:
        self.bin_width = statistics.bin_width
        self.amax = statistics.largest * np.linspace(1.0, _SMALLEST_SHARE, NUM_CANDIDATES)
        middles = (np.arange(-NUM_BINS, NUM_BINS) + 0.5) * self.bin_width
        errors = []
        for levels in (SIGNED_LEVELS, UNSIGNED_LEVELS)[: 1 + (statistics.minimum >= 0)]:
            scales = self.amax[:, None] / (levels - 1)
            lowest = -SIGNED_LEVELS if levels == SIGNED_LEVELS else 0
            errors.append(np.clip(np.rint(middles / scales), lowest, levels - 1) * scales - middles)
        self.errors = np.concatenate(errors)

    def responses(self, values: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """r of one image for every row of `errors`; exact zeros are not rounded at all."""
        places = np.floor(values / self.bin_width).astype(np.int64) + NUM_BINS
        gradients = np.where(values == 0, 0, gradients)
        sums = np.bincount(np.clip(places, 0, 2 * NUM_BINS - 1), weights=gradients, minlength=2 * NUM_BINS)
        return self.errors @ sums

    def best(self, mean_squares: list[float]) -> Amax:
        """Of the means over all images of the squared responses."""
        signed, *unsigned = np.array(mean_squares).reshape(-1, NUM_CANDIDATES)
        chosen = [float(self.amax[int(np.argmin(row))]) for row in (signed, *unsigned)]
        return Amax(chosen[0], chosen[1] if unsigned else None)


def auto_amax(
    model: onnx.ModelProto,
    statistics: Mapping[str, TensorStatistics],
    images: Iterable[np.ndarray],
    *,
    num_images: int,
    decides: bool = True,
    num_threads: int = 0,
    progress: Progress = NO_PROGRESS,
) -> dict[str, Amax]:
    """The largest magnitude that int8 shall represent, for every tensor of `statistics`.

    Every image is a pass of its own on one thread, and the sum over images is exact, so their order leaves no trace.

    Args:
        model: FP32, batch norm folded.
        statistics: Of the tensors, over images that include these; their names are tensors of `model`.
        images: [3, H, W] float32 each, preprocessed.
        num_images: How many there are, for the progress.
        decides: The model gives logits, of which the margin counts; else features or maps, which count themselves.
        num_threads: Images at a time; 0 takes the number of processors. Has no effect on the result.
    Raises:
        GraphError: An operator that can not be run in PyTorch here; lists them.
    """
    graph = TorchGraph(model)
    candidates = {name: _Thresholds(seen) for name, seen in statistics.items() if seen.largest > 0}
    squares: dict[str, list[np.ndarray]] = {name: [] for name in candidates}
    progress.start(f"auto: {'margins' if decides else 'outputs'} and their gradients", num_images)

    def squares_of(image: np.ndarray) -> dict[str, np.ndarray]:
        found = _gradients(graph, image, list(candidates), decides=decides)
        progress.advance()
        return {name: candidates[name].responses(*pair) ** 2 for name, pair in found.items()}

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
            for of_image in pool.map(squares_of, images):
                for name, row in of_image.items():
                    squares[name].append(row)
    finally:
        torch.set_num_threads(before)
    chosen = dict.fromkeys(statistics, Amax(0.0, 0.0))
    for name, rows in squares.items():
        chosen[name] = candidates[name].best([math.fsum(column) for column in np.array(rows).T])
    return chosen


def _gradients(
    graph: TorchGraph, image: np.ndarray, names: Sequence[str], *, decides: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of one image: every tensor's values and the gradient of what counts with respect to them, flat."""
    kept: dict[str, Tensor] = {}

    def keeper(name: str):
        def keep(value: Tensor) -> Tensor:
            value = value if value.requires_grad else value.requires_grad_(True)
            value.retain_grad()
            kept[name] = value
            return value

        return keep

    batch = torch.from_numpy(np.ascontiguousarray(image))[None].to(memory_format=torch.channels_last)
    batch.requires_grad_(True)
    outputs = graph.run({graph.input_names[0]: batch}, change={name: keeper(name) for name in names})
    counts = _margin(outputs) if decides else _signed_sum(outputs, seed=zlib.crc32(image.tobytes()))
    counts.backward()
    return {
        name: (value.detach().numpy().ravel(), value.grad.numpy().ravel())
        for name, value in kept.items()
        if value.grad is not None
    }


def _margin(outputs: list[Tensor]) -> Tensor:
    """Best logit minus second best."""
    (logits,) = outputs
    best = logits.flatten(1).topk(min(2, logits.flatten(1).shape[1]), dim=1).values
    return (best[:, 0] - best[:, -1]).sum()


def _signed_sum(outputs: list[Tensor], *, seed: int) -> Tensor:
    """All outputs with random signs, each divided by the root of its energy."""
    source = torch.Generator().manual_seed(seed)
    parts = []
    for output in outputs:
        signs = torch.randint(0, 2, output.shape, generator=source).mul_(2).sub_(1)
        parts.append((output * signs).sum() / output.detach().norm().clamp_min(torch.finfo(torch.float32).tiny))
    return torch.stack(parts).sum()
