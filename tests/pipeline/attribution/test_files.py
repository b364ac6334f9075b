"""What is made again is what the stage made."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.progress import NO_PROGRESS
from resnet_deploy.core.specs import Precision, UnsignedRelu
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.pipeline.attribution.files import FromCheckpoint, InHalf, Requantised
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx


@pytest.mark.parametrize(
    "options",
    [{}, {"exclude": ("fc",), "exact_input": False}, {"unsigned_relu": UnsignedRelu.ALL}],
    ids=["as usual", "with options", "unsigned"],
)
def test_a_quantised_file_is_made_again_from_its_manifest(chain: Path, options) -> None:
    network, table = chain / "net.fp32.onnx", chain / "net.calib.json"
    names = [node.name for node in onnx.load(network).graph.node if node.op_type == "Gemm"]
    if "exclude" in options:
        options = options | {"exclude": tuple(names)}
    delivered = quantize_onnx(QuantizeOptions(onnx=network, **options)).file
    again = Requantised(network=network, table=table, manifest=read_manifest(delivered), floats=Precision.FP16)
    assert again.make(chain / "again", NO_PROGRESS).read_bytes() == delivered.read_bytes()
    wide = Requantised(network=network, table=table, manifest=read_manifest(delivered), floats=Precision.FP32)
    types = {one.data_type for one in onnx.load(wide.make(chain / "again", NO_PROGRESS)).graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in types and onnx.TensorProto.INT8 in types


def test_an_unquantised_file_in_fp16_is_the_one_that_export_writes(chain: Path) -> None:
    exported = export_onnx(ExportOptions(checkpoint=chain / "net.safetensors", precision=Precision.FP16)).file
    made = InHalf(network=chain / "net.fp32.onnx", precision=Precision.FP16).make(chain / "again", NO_PROGRESS)
    assert made.read_bytes() == exported.read_bytes() and read_manifest(made).precision is Precision.FP16


@pytest.mark.slow
def test_the_fp32_file_of_a_checkpoint_is_exported_again(chain: Path) -> None:
    made = FromCheckpoint(checkpoint=chain / "net.safetensors").make(chain / "again", NO_PROGRESS)
    assert onnx.load(made).graph == onnx.load(chain / "net.fp32.onnx").graph
