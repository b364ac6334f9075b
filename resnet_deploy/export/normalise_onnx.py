"""Turns the graph of any exporter into the form that calibration, placement, conversion and building expect."""

from __future__ import annotations

__all__ = ["Normalised", "normalise"]

import re
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, inliner, version_converter

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.export.names import drop_metadata
from resnet_deploy.export.tracing import OPSET
from resnet_deploy.graph.constant_folding import fold_constants
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.fold_batch_norm import NotFolded, fold_batch_norms
from resnet_deploy.graph.interface import (
    choose_output,
    image_input,
    make_batch_dynamic,
    rename_tensor,
    set_input_shape,
)
from resnet_deploy.graph.plain_operators import drop_unread, settle_types, use_plain_operators
from resnet_deploy.graph.session import open_session
from resnet_deploy.graph.tidy import TidyReport, tidy_graph

_IR_VERSION = 10
_PROBE_BATCH = 3
_OTHER_FLOATS = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
_FAILED_NODE = re.compile(r"while running (\w+) node\. Name:'([^']*)'")
"""In what ONNX Runtime says when a node fails."""
_SUBGRAPHS = ("If", "Loop", "Scan")
_INTEGER_PREFIXES = ("QLinear", "QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "ConvInteger", "MatMulInteger")


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalised:
    """What was done to a foreign graph.

    Attributes:
        input, output: Their names in the original.
        opset: The original's.
        batch: None where any number of images can be given; else the number that the graph insists on.
        batch_note: Why it insists; "" where it does not.
        tidied: Constants, no-operations and names.
        folded_constants: Nodes that computed something from constants alone.
        rewritten: Operators brought to a plain form, in words.
        folded: Batch normalisations folded into the layer before them.
        not_folded: Those that stay, and why.
        softmax: The network ended in softmax, which was taken off: its input are the logits.
    """

    input: str
    output: str
    opset: int
    num_classes: int
    batch: int | None
    batch_note: str
    tidied: TidyReport
    folded_constants: int
    rewritten: tuple[str, ...]
    folded: int
    not_folded: tuple[NotFolded, ...]
    softmax: bool


def normalise(
    model: onnx.ModelProto, preprocess: Preprocess, *, output: str | None, name: str
) -> tuple[onnx.ModelProto, Normalised]:
    """`images` [N, 3, H, W] -> `logits` [N, K], opset 20, batch normalisation folded, plain operators, names.

    Args:
        output: The output that holds the logits; None where there is only one.
        name: Of the file, for messages.
    Raises:
        GraphError: Quantised, not FP32, another input or output, unknown operators (all of them are listed), or
            a graph that ONNX's own tools can not convert.
    """
    _refuse_what_no_stage_reads(model, name)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    result = _copy_without_functions(model)
    image = image_input(result, height_px=preprocess.height_px, width_px=preprocess.width_px, name=name)
    original_input, original_output = image.name, choose_output(result, output, name=name)
    given_batch = image.type.tensor_type.shape.dim[0].dim_value
    set_input_shape(result, (given_batch or 1, *preprocess.input_shape))
    drop_unread(result.graph)
    result, tidied = tidy_graph(_converted(result, opset, name))
    result = _with_shapes(result, name)
    settle_types(result)
    folded_constants = fold_constants(result)
    result = _with_shapes(result, name)
    softmax = _take_off_softmax(result)
    rewritten = use_plain_operators(result)
    result, folds = fold_batch_norms(result)
    rename_tensor(result, original_input, "images")
    num_classes = _finish_output(result, name)
    result, batch, note = _any_batch(result, given_batch, name)
    drop_metadata(result)
    check_model(result, name=name)
    return result, Normalised(
        input=original_input,
        output=original_output,
        opset=opset,
        num_classes=num_classes,
        batch=batch,
        batch_note=note,
        tidied=tidied,
        folded_constants=folded_constants,
        rewritten=tuple(rewritten),
        folded=len(folds.folded),
        not_folded=folds.refused,
        softmax=softmax,
    )


def _refuse_what_no_stage_reads(model: onnx.ModelProto, name: str) -> None:
    flat = inliner.inline_local_functions(model) if model.functions else model
    nodes = flat.graph.node
    if any(node.op_type.startswith(_INTEGER_PREFIXES) for node in nodes):
        raise GraphError(
            f"{name} is quantised already",
            remedy="import the FP32 file it was made from; `resnet-deploy audit` says what this one is worth",
        )
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        raise GraphError(f"{name} names no opset of ONNX", remedy="export it again")
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in ("", "ai.onnx")})
    inner = sorted({node.op_type for node in nodes if node.op_type in _SUBGRAPHS})
    if foreign or inner:
        raise GraphError(
            f"{name} holds operators that no stage can read: {', '.join([*foreign, *inner])}",
            remedy="export it with the operators of ONNX only, and without control flow",
        )
    half = next((t for t in flat.graph.initializer if t.data_type in _OTHER_FLOATS), None)
    if half is not None:
        kind = onnx.TensorProto.DataType.Name(half.data_type).lower()
        raise GraphError(
            f"{name}: the weight {half.name!r} is {kind}, expected float32",
            remedy="import the FP32 file; `resnet-deploy quantize` and `export` make the others from it",
        )


def _copy_without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose local functions are inlined: ONNX's converter does not look into them."""
    result = onnx.ModelProto()
    result.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
    result.ir_version = _IR_VERSION
    return result


def _converted(model: onnx.ModelProto, opset: int, name: str) -> onnx.ModelProto:
    """The model in the chain's opset."""
    if opset != OPSET:
        try:
            known = onnx.shape_inference.infer_shapes(model)  # the converter needs the shapes before a Softmax
            model = version_converter.convert_version(known, OPSET)
        except Exception as error:  # the converter raises RuntimeError and types of its own
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise GraphError(
                f"{name} has opset {opset}, and ONNX can not convert it to {OPSET}: {reason}",
                remedy=f"export it with opset {OPSET}",
            ) from error
    model.ir_version = _IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    return model


def _with_shapes(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise GraphError(f"{name}: the shapes do not fit together: {reason}", remedy="check --size") from error


def _take_off_softmax(model: onnx.ModelProto) -> bool:
    """Softmax over the classes keeps their order, so its input are the logits that the other stages want."""
    graph = model.graph
    result = graph.output[0]
    node = next((n for n in graph.node if result.name in n.output), None)
    rank = len(result.type.tensor_type.shape.dim)
    if node is None or node.op_type not in ("Softmax", "LogSoftmax"):
        return False
    axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
    if rank != 2 or axis not in (1, -1):
        return False
    result.name = node.input[0]
    drop_unread(graph)
    return True


def _finish_output(model: onnx.ModelProto, name: str) -> int:
    """Call the output `logits`; [N, K, 1, 1] loses its last axes. Returns K."""
    graph = model.graph
    result = graph.output[0]
    dims = [dim.dim_value for dim in result.type.tensor_type.shape.dim]
    is_row = len(dims) == 2 or (len(dims) == 4 and dims[2:] == [1, 1])
    if not is_row or result.type.tensor_type.elem_type != onnx.TensorProto.FLOAT or not dims[1]:
        raise GraphError(
            f"{name}: the output {result.name!r} has shape {dims}, expected float32 [N, classes]",
            remedy="name the logits with --output NAME, or export the classifier alone",
        )
    if len(dims) == 4:
        graph.node.append(helper.make_node("Flatten", [result.name], [f"{result.name}.row"], name="logits_row", axis=1))
        result.CopyFrom(helper.make_tensor_value_info(f"{result.name}.row", onnx.TensorProto.FLOAT, dims[:2]))
    rename_tensor(model, result.name, "logits")
    return dims[1]


def _any_batch(model: onnx.ModelProto, batch: int, name: str) -> tuple[onnx.ModelProto, int | None, str]:
    """The model for any number of images, where its operators allow that; else for `batch`, with the reason."""
    dynamic = onnx.ModelProto()
    dynamic.CopyFrom(model)
    make_batch_dynamic(dynamic, batch or 1)
    dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    images = np.zeros((_PROBE_BATCH, *dims), np.float32)
    try:
        check_model(dynamic, name=name)
        rows = len(_logits(dynamic, images))
        reason = "" if rows == len(images) else f"{len(images)} images give {rows} rows"
    except GraphError as error:
        reason = error.message
    return (dynamic, None, "") if not reason else (model, batch or 1, reason)


def _logits(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = open_session(model)
    try:
        return session.run(["logits"], {"images": images})[0]
    except Exception as error:  # the classes of onnxruntime's errors are private and have no common base
        text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        failed = _FAILED_NODE.search(text)
        reason = f"{failed[1]} {failed[2]!r} does not take {len(images)} images" if failed else text
        raise GraphError(reason) from error
