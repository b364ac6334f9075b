"""Sets of float layers as graphs, as files, and as scores: what a search for a budget works with."""

from __future__ import annotations

__all__ = ["Candidates"]

from dataclasses import replace
from pathlib import Path

import onnx

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.progress import Progress
from resnet_deploy.core.score import Score
from resnet_deploy.core.score_log import ScoreLog, score_key
from resnet_deploy.graph.channel_classes import find_channel_classes, scale_channels
from resnet_deploy.graph.layer_cost import LayerCost, layer_cost
from resnet_deploy.graph.rounding_points import find_rounded_weights
from resnet_deploy.quant.budget_search import PathPoint, greedy_path
from resnet_deploy.quant.cost import COST_UNITS, float_costs, read_latencies
from resnet_deploy.quant.equalization import Equalized
from resnet_deploy.quant.network import read_network
from resnet_deploy.quant.noise import measure_noise
from resnet_deploy.quant.prepare import Prepared, delivered, prepare
from resnet_deploy.quant.quantize import QuantizeOptions, QuantizeResult, quantize_onnx
from resnet_deploy.quant.refine import open_refinement_images, refine_model
from resnet_deploy.quant.scoring import ScoringImages, logits_of_model, score_logits
from resnet_deploy.quant.table import CalibrationTable, TensorScale
from resnet_deploy.quant.trt_cache import read_scales
from resnet_deploy.quant.units import layer_units, reader_groups

_NOISE_IMAGES = 1024


class Candidates:
    """A network of which any set of nodes can stay in float.

    Attributes:
        layers: What every node costs.
        cost_unit, costs: The unit, and what every node costs more in float, as a share.
        noise: First-order effect of every rounding.
        log: Scores measured so far.
        written: Of the file that was delivered last.
    """

    def __init__(
        self,
        options: QuantizeOptions,
        cost: str,
        manifest: Manifest,
        images: ScoringImages,
        *,
        num_threads: int,
        progress: Progress,
    ) -> None:
        self._options, self._images, self._num_threads, self._progress = options, images, num_threads, progress
        self._manifest = manifest
        self._table = read_scales(options.table_file(), options.onnx, manifest)
        self._model = read_network(options.onnx, manifest).model
        self.layers = layer_cost(self._model)
        self.cost_unit, self.costs = _costs(self.layers, cost)
        self._refined = self._refine(self._prepared(()))
        whole = self._prepared(())
        self._original = whole.original
        self.noise = measure_noise(self._original, whole.table, images.batches(_NOISE_IMAGES), progress=progress)
        self.log = ScoreLog(options.file().with_name(f"{options.file().name}.scores.jsonl"))
        self.written: QuantizeResult | None = None

    def path(self) -> tuple[PathPoint, ...]:
        """The greedy path from what the user leaves in float on."""
        fixed = {refusal.node for refusal in self._prepared(self._options.exclude).placement.refusals}
        units = (*layer_units(self._original).values(), *reader_groups(self._original).values())
        return greedy_path(
            self.noise,
            list(dict.fromkeys(units)),
            self.costs,
            keep_one_of=[name for name, layer in self.layers.items() if layer.multiply_adds and name not in fixed],
            start=fixed & set(self.layers),
        )

    def measure(self, nodes: tuple[str, ...]) -> Score:
        """Of the graph that would be delivered, but for refinement, see `_refine`."""
        options = self._options
        key = score_key(
            self._manifest.sha256,
            self._table,
            self._images.fingerprint,
            nodes,
            options.keep_float,
            options.exact_input,
            options.unsigned_relu,
            options.refine,
            options.float_precision,
        )
        return self.log.score(
            key, lambda: self._score(delivered(self._with_refinement(nodes), options.float_precision))
        )

    def deliver(self, nodes: tuple[str, ...]) -> Score:
        """Write the file with `nodes` in float, read it back, and score that."""
        self.written = quantize_onnx(replace(self._options, exclude=nodes), self._progress)
        return self._score(read_network(self.written.file, self._manifest).model)

    def _prepared(self, nodes: tuple[str, ...]) -> Prepared:
        return prepare(
            self._model,
            self._table,
            float_precision=self._options.float_precision,
            exclude=nodes,
            keep_float=self._options.keep_float,
            preprocess=self._manifest.preprocess if self._options.exact_input else None,
            unsigned_relu=self._options.unsigned_relu,
        )

    def _refine(self, whole: Prepared) -> dict[str, onnx.TensorProto]:
        """Int8 weights and biases after refinement of the network with everything in int8; empty if none is asked for.

        Refining every set anew would take minutes each; int8 layers of a smaller set are scored with these constants,
        and the file that is delivered is refined for its own set. Where channels were equalised, every set is made
        from the equalised network and its scales: float layers pass the channels on as the others expect them.
        """
        refine = self._options.refine
        if refine is None:
            return {}
        refined = refine_model(
            whole.original,
            whole.quantized,
            open_refinement_images(refine),
            self._manifest.preprocess,
            refine,
            float_precision=self._options.float_precision,
            progress=self._progress,
        )
        if refined.equalized is not None:
            self._model, self._table = _equalized(self._model, self._table, refined.equalized, whole.unsigned.tensors)
        graph = refined.quantized.graph
        names = {use.values for use in find_rounded_weights(graph)}
        names |= {name for node in graph.node if node.op_type in ("Conv", "Gemm") for name in node.input[2:]}
        return {tensor.name: tensor for tensor in graph.initializer if tensor.name in names}

    def _with_refinement(self, nodes: tuple[str, ...]) -> onnx.ModelProto:
        quantized = self._prepared(nodes).quantized
        in_float = {name for node in quantized.graph.node if node.name in nodes for name in node.input}
        for tensor in quantized.graph.initializer:
            other = self._refined.get(tensor.name)
            if other is not None and tensor.name not in in_float:
                tensor.CopyFrom(other)
        return quantized

    def _score(self, model: onnx.ModelProto) -> Score:
        return score_logits(logits_of_model(model, self._images.batches(), self._num_threads), self._images)


def _costs(layers: dict[str, LayerCost], cost: str) -> tuple[str, dict[str, float]]:
    if cost in COST_UNITS and cost != "latency":
        return cost, float_costs(layers, cost)
    return "latency", float_costs(layers, "latency", latencies=read_latencies(Path(cost)))


def _equalized(
    model: onnx.ModelProto, table: CalibrationTable, equalized: Equalized, unsigned: tuple[str, ...]
) -> tuple[onnx.ModelProto, CalibrationTable]:
    """The FP32 network with the channels of `equalized`, which may have another input, and a table of its scales.

    Args:
        unsigned: Tensors that are rounded to 255 steps, see `quant.unsigned`.
    """
    tensors = dict(table.tensors)
    for name, scale in equalized.scales.items():
        if name in tensors:
            tensors[name] = _multiplied(
                tensors[name], scale / (tensors[name].scale_unsigned if name in unsigned else tensors[name].scale)
            )
    model = scale_channels(model, find_channel_classes(model), equalized.factors)
    return model, replace(table, tensors=tensors)


def _multiplied(tensor: TensorScale, ratio: float) -> TensorScale:
    unsigned = None if tensor.amax_unsigned is None else tensor.amax_unsigned * ratio
    return replace(tensor, amax=tensor.amax * ratio, scale=tensor.scale * ratio, amax_unsigned=unsigned)
