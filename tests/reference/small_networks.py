"""Small networks as ONNX graphs, exported once per test process: every shortcut form in a second of work."""

from __future__ import annotations

__all__ = ["bottleneck_onnx", "copy_of", "make_table", "quantize_model", "resnet8_onnx", "small_preprocess"]

from functools import lru_cache

import numpy as np
import onnx
import torch

from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.export.onnx_export import onnx_from_torch
from resnet_deploy.nets.blocks import Bottleneck
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net
from resnet_deploy.nets.imagenet import ImageNetResNet
from resnet_deploy.quant.placement import Placement, find_placement
from resnet_deploy.quant.prepare import delivered, prepare
from resnet_deploy.quant.table import CalibrationTable, TensorScale


def small_preprocess() -> Preprocess:
    """64 x 64 px, no resize."""
    return Preprocess(height_px=64, width_px=64, resize_shorter_px=None, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@lru_cache
def _resnet8() -> onnx.ModelProto:
    spec = find_net("resnet8")
    return onnx_from_torch(fresh_net(spec), spec.preprocess)


@lru_cache
def _bottleneck() -> onnx.ModelProto:
    torch.manual_seed(0)
    net = ImageNetResNet(Bottleneck, (2, 1, 1, 1), num_classes=10)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(2, 3, 64, 64))
    return onnx_from_torch(net, small_preprocess())


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that a test may change."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def resnet8_onnx() -> onnx.ModelProto:
    """CIFAR resnet8: basic blocks, an identity shortcut and two of option A."""
    return copy_of(_resnet8())


def bottleneck_onnx() -> onnx.ModelProto:
    """ImageNet form with bottlenecks 2, 1, 1, 1: max-pool, projections with stride 1 and 2, an identity shortcut."""
    return copy_of(_bottleneck())


def make_table(model: onnx.ModelProto, amax: float = 4.0) -> CalibrationTable:
    """A table that gives every tensor the same range."""
    scale = TensorScale(
        amax=amax, scale=float(np.float32(amax / 127)), minimum=0.0, maximum=amax, num_values=1, num_zeros=0
    )
    return CalibrationTable(
        network_sha256="0" * 64,
        method="max",
        num_images=1,
        num_distinct=1,
        num_constant=0,
        tensors=dict.fromkeys(find_placement(model).tensors, scale),
        images=("0" * 64,),
    )


def quantize_model(
    model: onnx.ModelProto, table: CalibrationTable, *, float_precision: Precision, **options
) -> tuple[onnx.ModelProto, Placement]:
    """The form that `quantize` writes without refinement, and what was placed where; options as `prepare` has them."""
    steps = prepare(model, table, float_precision=float_precision, **options)
    return delivered(steps.quantized, float_precision), steps.placement
