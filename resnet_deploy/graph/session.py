"""ONNX Runtime on the processor, for what export and calibration compute themselves."""

from __future__ import annotations

__all__ = ["open_session"]

import onnx
import onnxruntime

from resnet_deploy.core.errors import GraphError

_ERRORS_ONLY = 3


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
            model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the classes of onnxruntime's errors are private and have no common base
        raise GraphError(f"ONNX Runtime can not load the graph: {error}") from error
