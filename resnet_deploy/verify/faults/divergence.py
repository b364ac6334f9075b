"""How far a candidate is from its reference at every layer, and how much of that each layer adds itself.

Three graphs run on the same images: the reference and the candidate with marked results, which gives the error as it
accumulates; and the candidate's layers each on its own, fed with the reference's results, which gives the error that a
layer introduces. An inherited error is not the layer's fault, and a fault behind an inherited error is still seen. A fourth
graph, the layers alone with scales made for what they are given, says how much of a quantised layer's error is due to
its eight bits, so that the rest is due to its scales.
"""

from __future__ import annotations

__all__ = ["BatchReader", "Opener", "compare_layers", "measure_output"]

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx

from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.engine.contract import Runner, RunnerInfo
from resnet_deploy.graph.correspondence import Layer
from resnet_deploy.graph.fresh_scales import with_fresh_scales
from resnet_deploy.graph.hybrid import GIVEN, GraphPair, marked_name
from resnet_deploy.graph.session import open_session
from resnet_deploy.verify.faults.divergence_result import LayerDivergence, TensorError
from resnet_deploy.verify.faults.divergence_rule import LayerError, find_reasons
from resnet_deploy.verify.faults.tensor_error import TensorErrorMeter

if TYPE_CHECKING:
    from typing_extensions import Self

Opener = Callable[[onnx.ModelProto], Runner]
"""Makes a runner of a graph on the backend that is looked at; its outputs are in the graph's order."""
BatchReader = Callable[[int], Iterator[np.ndarray]]
"""Batch size -> batches [N, 3, H, W] float32 of all images, from the first on, as often as it is called."""

_BUDGET_BYTES = 2**29
_COPIES = 5 * 4
"""Bytes a value takes: float32 in the reference, the candidate, the packed input, the layer's own result, float64."""
_PRODUCTS = ("Conv", "Gemm", "MatMul", "ConvTranspose")


class _Graph:
    """A graph that is running. Backends may call an output by any name its tensor has, so results go by place."""

    def __init__(self, model: onnx.ModelProto, opener: Opener) -> None:
        self._names = [value.name for value in model.graph.output]
        self._runner = opener(model)
        self.info = self._runner.info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def run(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Results by the graph's names, for its one input, cast to that input's type."""
        (spec,) = self.info.inputs
        found = self._runner.run({spec.name: values.astype(spec.dtype, copy=False)})
        return {name: found[spec.name] for name, spec in zip(self._names, self.info.outputs, strict=True)}


class OutputErrors(NamedTuple):
    """Attributes:
    output: The candidate as it is against the reference as it is.
    infos: What ran them.
    """

    output: TensorError
    infos: tuple[RunnerInfo, RunnerInfo]


def measure_output(pair: GraphPair, openers: tuple[Opener, Opener], read: BatchReader, limit_db: float) -> OutputErrors:
    """Both networks without marks: what a user of the two sees."""
    meter = TensorErrorMeter(limit_db)
    with _Graph(pair.reference, openers[0]) as first, _Graph(pair.candidate, openers[1]) as second:
        for images in read(16):
            meter.add(*(next(iter(graph.run(images).values())) for graph in (first, second)))
        return OutputErrors(meter.result(), (first.info, second.info))


def compare_layers(
    pair: GraphPair,
    openers: tuple[Opener, Opener],
    read: BatchReader,
    *,
    image_shape: tuple[int, int, int],
    limit_db: float,
    only_block: str | None = None,
    judge_scales: bool = False,
    num_threads: int = 0,
    progress: Progress = NO_PROGRESS,
) -> tuple[tuple[LayerDivergence, ...], float]:
    """Measure every layer of the pair, in batches and groups of layers whose results take at most half a gigabyte.

    The sessions that hold the graphs come on top; ResNet-50 at 224 px takes 2 to 3 GB in all.

    Args:
        openers: Of the reference's and the candidate's backend.
        image_shape: (C, H, W).
        limit_db: Of `divergence_rule.limit_of`.
        only_block: Measure the layers of this block alone; the others' results are then only inputs.
        judge_scales: Also find what the bits of quantised layers can do on these images, with ONNX Runtime. For images
            that are like those of the calibration.
        num_threads: Of that ONNX Runtime.
    Returns:
        The layers in order, and the SQNR of the candidate's output with marks against that without, the lowest there
        was; see `Divergence.marked_output_db`.
    """
    shapes = pair.shapes(image_shape)
    wanted = [layer for layer in pair.layers if only_block in (None, layer.block)]
    groups = _groups(wanted, shapes)
    progress.start(f"compare {len(wanted)} layers", len(groups))
    found: list[LayerDivergence] = []
    marked_db = math.inf
    threads_of_fresh = num_threads if judge_scales and not pair.is_shifted else None
    for group in groups:
        measured, output_db = _measure(pair, openers, read, group, shapes, limit_db, threads_of_fresh)
        found += measured
        marked_db = min(marked_db, output_db)
        progress.advance()
    return _judged(found, limit_db), marked_db


def _judged(layers: Sequence[LayerDivergence], limit_db: float) -> tuple[LayerDivergence, ...]:
    errors = [
        LayerError(
            layer.introduced.sqnr_db,
            layer.introduced.num_nonfinite,
            layer.explained_db,
            None if layer.is_quantized else "product" if layer.op_type in _PRODUCTS else "other",
        )
        for layer in layers
    ]
    reasons = find_reasons(errors, limit_db)
    return tuple(replace(layer, reason=reason) for layer, reason in zip(layers, reasons, strict=True))


def _groups(layers: Sequence[Layer], shapes: dict[str, tuple[int, ...]]) -> list[list[Layer]]:
    """Consecutive layers, as many as one image of them fits the budget."""
    groups: list[list[Layer]] = []
    used = 0
    for layer in layers:
        need = math.prod(shapes[layer.tensor]) * _COPIES
        if not groups or used + need > _BUDGET_BYTES:
            groups.append([])
            used = 0
        groups[-1].append(layer)
        used += need
    return groups


def _measure(
    pair: GraphPair,
    openers: tuple[Opener, Opener],
    read: BatchReader,
    layers: Sequence[Layer],
    shapes: dict[str, tuple[int, ...]],
    limit_db: float,
    threads_of_fresh: int | None,
) -> tuple[list[LayerDivergence], float]:
    given = pair.inputs_of(layers)
    needed = [layer for layer in dict.fromkeys((*given, *layers)) if layer != pair.image]
    per_image = sum(math.prod(shapes[layer.tensor]) for layer in needed) * _COPIES
    batch_size = max(1, min(32, _BUDGET_BYTES // per_image))
    meters = {layer: _Meters(*(TensorErrorMeter(limit_db) for _ in range(3))) for layer in layers}
    whole = TensorErrorMeter(limit_db)
    single = pair.layers_on_given(layers, shapes)
    fresh = None
    if threads_of_fresh is not None:
        fresh = open_session(with_fresh_scales(single), num_threads=threads_of_fresh)
    with (
        _Graph(pair.marked_reference(needed), openers[0]) as reference,
        _Graph(pair.marked_candidate(layers), openers[1]) as candidate,
        _Graph(pair.candidate, openers[1]) as unmarked,
        _Graph(single, openers[1]) as alone,
    ):
        for images in read(batch_size):
            wanted = reference.run(images)
            wanted[marked_name(pair.image.tensor)] = images
            got = candidate.run(images)
            rows = [wanted[marked_name(layer.tensor)].reshape(len(images), -1) for layer in given]
            packed = np.concatenate(rows, axis=1, dtype=np.float32)
            _add(wanted, got, {layer: m.accumulated for layer, m in meters.items()})
            _add(wanted, alone.run(packed), {layer: m.introduced for layer, m in meters.items()})
            if fresh is not None:
                names = [output.name for output in fresh.get_outputs()]
                best = dict(zip(names, fresh.run(names, {GIVEN: packed}), strict=True))
                _add(wanted, best, {layer: m.explained for layer, m in meters.items()})
            ((output, values), *_) = unmarked.run(images).items()
            whole.add(values, got[output])
    same = whole.result().sqnr_db
    return [_row(pair, layer, m) for layer, m in meters.items()], -math.inf if same is None else same


class _Meters(NamedTuple):
    accumulated: TensorErrorMeter
    introduced: TensorErrorMeter
    explained: TensorErrorMeter


def _add(wanted: dict[str, np.ndarray], got: dict[str, np.ndarray], meters: dict[Layer, TensorErrorMeter]) -> None:
    for layer, meter in meters.items():
        name = marked_name(layer.tensor)
        meter.add(wanted[name], got[name])


def _row(pair: GraphPair, layer: Layer, meters: _Meters) -> LayerDivergence:
    is_quantized = pair.is_quantized(layer)
    return LayerDivergence(
        layer=layer.node,
        op_type=layer.op_type,
        block=layer.block,
        tensor=layer.tensor,
        is_quantized=is_quantized,
        accumulated=meters.accumulated.result(),
        introduced=meters.introduced.result(),
        explained_db=meters.explained.result().sqnr_db if is_quantized else None,
    )
