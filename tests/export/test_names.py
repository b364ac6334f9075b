from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.export.onnx_export import onnx_from_torch
from resnet_deploy.export.parity import parity_with_torch


class SmallVGG(nn.Module):
    """VGG's end: an adaptive pool that is the identity at one input size, flattened over its positions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, kernel_size=3, stride=2, padding=1)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(nn.Linear(4 * 7 * 7, 6), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(6, 5))

    def forward(self, x):
        return self.classifier(self.avgpool(self.conv(x)).flatten(1))


@pytest.mark.parametrize(
    "side, operators",
    [
        (14, ["Conv", "Flatten", "Gemm", "Relu", "Gemm"]),
        (28, ["Conv", "AveragePool", "Flatten", "Gemm", "Relu", "Gemm"]),
    ],
)
def test_a_pool_of_one_value_is_left_out_and_a_real_one_kept(side, operators):
    preprocess = Preprocess(
        height_px=side, width_px=side, resize_shorter_px=None, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    torch.manual_seed(0)
    net = SmallVGG().eval()
    model = onnx_from_torch(net, preprocess)
    assert [node.op_type for node in model.graph.node] == operators
    assert [node.name for node in model.graph.node if node.op_type == "Gemm"] == ["classifier.0", "classifier.3"]
    assert parity_with_torch(model, net, preprocess, name="small.onnx")


def test_the_files_bytes_do_not_hold_the_exporters_or_our_version():
    """A calibration table belongs to the bytes of the ONNX file, which a release that changes nothing must keep."""
    preprocess = Preprocess(
        height_px=14, width_px=14, resize_shorter_px=None, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    model = onnx_from_torch(SmallVGG().eval(), preprocess)
    assert (model.producer_name, model.producer_version, model.doc_string) == ("resnet-deploy", "", "")
    assert not model.metadata_props and not any(node.metadata_props for node in model.graph.node)
