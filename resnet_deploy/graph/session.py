"""ONNX Runtime on the graphs of the chain: what it has to be kept from doing wrong."""

from __future__ import annotations

__all__ = ["open_session", "runnable", "with_exact_quantize", "wrong_passes"]

from functools import cache

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.bfloat16 import fp32_from_bf16

_FATAL_ONLY = 4  # what ONNX Runtime has to say comes as an exception as well

# This pass rounds float biases to int32 in steps of input scale * weight scale. The step of a weak channel is so
# small that the bias is clipped (or, with FP16 scales, that the step is 0): silently wrong logits, measured on
# resnet56 INT8 as 88 % top-1 agreement with the unoptimised graph, 100 % without the pass. TensorRT keeps biases
# in float, as the graph says. See microsoft/onnxruntime pull requests 22889 and 22020.
_ALWAYS_WRONG = "WeightBiasQuantization"

# The first two move DequantizeLinear behind Slice and the like, which then read FP8, a type that ONNX does not give
# them: the session does not open. The third takes a Relu before an FP8 QuantizeLinear for done by its saturation, which is
# so for an integer whose smallest value is its zero point; here negative values come through (seen in 1.31).
_WRONG_IN_FP8 = ("QDQPropagationTransformer", "QDQSelectorActionTransformer", "ReluQuantRewrite")


def open_session(model: onnx.ModelProto, *, num_threads: int = 0) -> onnxruntime.InferenceSession:
    """Load a model into ONNX Runtime's CPU provider.

    Args:
        num_threads: Threads inside one operator; 0 takes all processors.
    Raises:
        GraphError: ONNX Runtime refuses the model; carries its words.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = num_threads
    try:
        return onnxruntime.InferenceSession(
            runnable(model).SerializeToString(),
            sess_options=options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=wrong_passes(model),
        )
    except Exception as error:  # the classes of onnxruntime's errors are private and have no common base
        raise GraphError(f"ONNX Runtime can not load the graph: {error}") from error


def wrong_passes(model: onnx.ModelProto) -> list[str]:
    """ONNX Runtime's graph optimisations that would spoil `model`, by the names it knows them by."""
    if any(tensor.data_type == TensorProto.FLOAT8E4M3FN for tensor in model.graph.initializer):
        return [_ALWAYS_WRONG, *_WRONG_IN_FP8]
    return [_ALWAYS_WRONG]


def runnable(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, or what ONNX Runtime must be given in its place to compute what `model` says.

    A BF16 graph becomes FP32 operations with rounding (see `graph.bfloat16`): the CPU provider has no BF16
    operators. Where it rounds wrongly, it is kept from it (see `with_exact_quantize`).
    """
    return with_exact_quantize(fp32_from_bf16(model))


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
    options.log_severity_level = _FATAL_ONLY
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return bool((session.run(None, {"x": np.full(64, 0.9, np.float16)})[0] == 1).all())
