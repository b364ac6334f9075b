from __future__ import annotations

import pytest

from resnet_deploy.core.errors import ArtifactError, GraphError
from resnet_deploy.graph.files import read_onnx, write_onnx
from tests.reference.small_networks import resnet8_onnx


def test_round_trip_gives_the_same_bytes(tmp_path):
    write_onnx(resnet8_onnx(), tmp_path / "a.onnx")
    write_onnx(read_onnx(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.999])
def test_truncated_file_is_one_clear_error(tmp_path, keep):
    data = resnet8_onnx().SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(GraphError, match="cut.onnx"):
        read_onnx(tmp_path / "cut.onnx")


def test_foreign_and_missing_files(tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(GraphError, match="not an ONNX file"):
        read_onnx(tmp_path / "text.onnx")
    with pytest.raises(ArtifactError, match="no such file"):
        read_onnx(tmp_path / "absent.onnx")


def test_weights_in_another_file_are_refused(tmp_path):
    model = resnet8_onnx()
    tensor = model.graph.initializer[0]
    tensor.data_location = tensor.EXTERNAL
    (tmp_path / "external.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match="lies in another file"):
        read_onnx(tmp_path / "external.onnx")


def test_invalid_graph_is_not_written(tmp_path):
    model = resnet8_onnx()
    model.graph.node[3].input[0] = "nobody makes this"
    with pytest.raises(GraphError, match="nobody makes this"):
        write_onnx(model, tmp_path / "bad.onnx")
    assert not list(tmp_path.iterdir())
