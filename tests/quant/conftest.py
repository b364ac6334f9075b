from __future__ import annotations

import pytest

from resnet_deploy.export.onnx_export import ExportOptions, export_onnx


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """resnet8 with random weights as an FP32 file with its manifest; tests must not write beside it."""
    return export_onnx(ExportOptions(net="resnet8", out=tmp_path_factory.mktemp("net") / "net.fp32.onnx")).file
