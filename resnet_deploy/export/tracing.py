"""A torch module as an ONNX graph: batch normalisation folded, names from the modules."""

from __future__ import annotations

__all__ = ["OPSET", "onnx_from_torch"]

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from torch import nn

from resnet_deploy.core.errors import ExportError, ResnetDeployError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.export.batch_norm import fold_batch_norms
from resnet_deploy.export.names import canonical_from_torch

OPSET = 20
"""The newest that every TensorRT 10.x parser reads; Q/DQ in FP16 needs 19."""


def onnx_from_torch(net: nn.Module, preprocess: Preprocess) -> onnx.ModelProto:
    """The graph of `net` in evaluation mode: `images` [N, 3, H, W] -> `logits` [N, K], N dynamic, float32.

    Raises:
        ExportError: torch's exporter failed; carries its words.
    """
    folded = fold_batch_norms(net)
    images = torch.zeros(2, *preprocess.input_shape)  # not 1: the exporter takes 1 for a constant
    try:
        with _quiet():
            program = torch.onnx.export(
                folded,
                (images,),
                input_names=["images"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: "N"},),
                verbose=False,
            )
        model = program.model_proto
    except ResnetDeployError:
        raise
    except Exception as error:  # the exporter raises many types; none is documented
        raise ExportError(f"torch's ONNX exporter failed: {type(error).__name__}: {error}") from error
    canonical_from_torch(model)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings about its own internals and absent packages off the user's terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
