"""ONNX Runtime on the graphs of the chain: what it has to be kept from doing wrong."""

from __future__ import annotations

__all__ = ["WRONG_PASSES", "open_session", "with_exact_quantize"]

from functools import cache

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import GraphError

_ERRORS_ONLY = 3

# This pass rounds float biases to int32 in steps of input scale * weight scale. The step of a weak channel is so
# small that the bias is clipped (or, with FP16 scales, that the step is 0): silently wrong logits, measured on
# resnet56 INT8 as 88 % top-1 agreement with the unoptimised graph, 100 % without the pass. TensorRT keeps biases
# in float, as the graph says. See microsoft/onnxruntime pull requests 22889 and 22020.
WRONG_PASSES = ["WeightBiasQuantization"]


def open_session(model: onnx.ModelProto, *, num_threads: int = 0) -> onnxruntime.InferenceSession:
    """Load a model into ONNX Runtime's CPU provider.

    Args:
        num_threads: Threads inside one operator; 0 takes all processors.
    Raises:
        GraphError: ONNX Runtime refuses the model; carries its words.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = num_threads
    try:
        return onnxruntime.InferenceSession(
            with_exact_quantize(model).SerializeToString(),
            sess_options=options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=WRONG_PASSES,
        )
    except Exception as error:  # the classes of onnxruntime's errors are private and have no common base
        raise GraphError(f"ONNX Runtime can not load the graph: {error}") from error


def with_exact_quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` itself, or, where this ONNX Runtime needs it, a copy whose FP16 QuantizeLinear nodes work in FP32.

    The CPU provider of ONNX Runtime 1.21 to 1.25 (1.23 is the newest for Python 3.10) truncates in an FP16
    QuantizeLinear where ONNX asks for rounding. Between two casts the node gives what the graph says: FP32
    holds every FP16 value and scale.
    """
    half = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    wrong = [node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[1] in half]
    if not wrong or _fp16_quantize_rounds():
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = []
    for node in result.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[1] in half:
            source, scale = node.input[0], node.input[1]
            value, wide = f"{node.output[0]}.fp32", f"{node.output[0]}.scale_fp32"
            nodes.append(helper.make_node("Cast", [source], [value], name=value, to=TensorProto.FLOAT))
            numbers = numpy_helper.to_array(half[scale]).astype(np.float32)
            result.graph.initializer.append(numpy_helper.from_array(numbers, wide))
            node.input[0], node.input[1] = value, wide
        nodes.append(node)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


@cache
def _fp16_quantize_rounds() -> bool:
    """Whether 0.9 at scale 1 becomes 1 here, as ONNX defines it, and not 0."""
    operands = [np.array(1, np.float16), np.array(0, np.int8)]
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [64])],
        [helper.make_tensor_value_info("q", TensorProto.INT8, [64])],
        [numpy_helper.from_array(a, name) for a, name in zip(operands, ("scale", "zero"), strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return bool((session.run(None, {"x": np.full(64, 0.9, np.float16)})[0] == 1).all())
