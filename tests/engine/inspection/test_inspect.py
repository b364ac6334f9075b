from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from resnet_deploy.core.artifacts import manifest_path, write_manifest
from resnet_deploy.core.errors import ArtifactError, GraphError
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.inspection.inspect import inspect_file
from resnet_deploy.engine.onnx_file import onnx_precision
from tests.reference.checkpoints import save_resnet8


@pytest.fixture
def engine(save_onnx, rtx) -> Path:
    return build_engine(BuildOptions(onnx=save_onnx("int8", manifest=True), targets=("sm89",))).file


def test_an_engine_tells_its_product_targets_and_origin(engine: Path, rtx) -> None:
    found = inspect_file(engine)
    assert (found.kind, found.manifest_state, found.sound) == ("engine", "matches", True)
    assert found.facts["product"] == f"tensorrt-rtx {rtx.__version__}"
    assert (found.facts["runs on"], found.facts["target mask"]) == ("sm89", "0x8")
    assert found.facts["precision"] == "int8"
    assert found.facts["shapes"] == "1x3x16x16 to 32x3x16x16, tuned for 8x3x16x16"
    assert found.facts["inputs"] == "images float32 [N, 3, 16, 16]"
    assert [(o.depth, o.role, o.name, o.state) for o in found.origins] == [(1, "onnx", "small.int8.onnx", "unchanged")]


def test_a_changed_origin_and_a_lost_one_are_told(engine: Path) -> None:
    source = engine.with_suffix(".onnx")
    source.write_bytes(source.read_bytes() + b"\0")
    assert [o.state for o in inspect_file(engine).origins] == ["changed since"]
    source.unlink()
    assert [o.state for o in inspect_file(engine).origins] == ["not here"]


def test_origins_are_followed_to_the_first(engine: Path, tmp_path: Path) -> None:
    source = engine.with_suffix(".onnx")
    (tmp_path / "net.safetensors").write_bytes(b"weights")
    inputs = {"checkpoint": tmp_path / "net.safetensors", "images": ("noise", "ab" * 32)}
    write_manifest(source, kind="onnx", stage="export", inputs=inputs)
    assert [(o.depth, o.role, o.state) for o in inspect_file(engine).origins] == [
        (1, "onnx", "unchanged"),
        (2, "checkpoint", "unchanged"),
        (2, "images", "not a file"),
    ]


def test_one_changed_byte_in_an_engine_is_told(engine: Path) -> None:
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)
    found = inspect_file(engine)
    assert not found.sound and "SHA-256" in found.manifest_state


def test_a_manifest_stands_for_its_file(engine: Path) -> None:
    assert inspect_file(manifest_path(engine)) == inspect_file(engine)
    engine.unlink()
    with pytest.raises(ArtifactError, match="which is not here"):
        inspect_file(manifest_path(engine))


@pytest.mark.parametrize(("precision", "quantized"), [("fp32", "no"), ("fp16", "no"), ("int8", "2 Q, 2 DQ")])
def test_an_onnx_file_tells_its_precision_and_nodes(save_onnx, precision: str, quantized: str) -> None:
    found = inspect_file(save_onnx(precision))
    assert (found.kind, found.manifest_state) == ("onnx", "none")
    assert (found.facts["precision"], found.facts["quantized"]) == (precision, quantized)
    assert found.facts["opset"] == "ai.onnx 20"
    assert found.facts["layers with weights"] == 2
    assert "1 Conv" in found.facts["nodes"]
    assert found.facts["outputs"] == "logits float32 [N, 10]"


def test_weights_cast_on_their_way_count_as_what_they_become(save_onnx) -> None:
    model = onnx.load(save_onnx("fp32"))
    for name in ("w", "fc_w"):
        node = onnx.helper.make_node("Cast", [name], [f"{name}16"], to=onnx.TensorProto.FLOAT16)
        model.graph.node.insert(0, node)
        for user in model.graph.node:
            if user.op_type in ("Conv", "Gemm"):
                user.input[1] = user.input[1].replace(name, f"{name}16") if user.input[1] == name else user.input[1]
    assert str(onnx_precision(model)) == "fp16"


def test_a_checkpoint_tells_its_net_and_parameters(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    net = save_resnet8(file, details={"val_error_percent": 8.75})
    found = inspect_file(file)
    assert found.facts["net"] == "resnet8, 10 classes"
    assert found.facts["labels"] == "10: 0, 1, 2, 3, 4, ..."
    assert found.facts["parameters"] == f"{sum(p.numel() for p in net.parameters()):,}"
    assert found.details == {"val_error_percent": 8.75}
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="not a safetensors file, or was cut off"):
        inspect_file(file)


def test_any_other_file_with_a_manifest_is_told_by_its_kind(tmp_path: Path) -> None:
    file = tmp_path / "net.calib.json"
    file.write_text(json.dumps({"tensors": {}}))
    write_manifest(file, kind="calibration", stage="calibrate")
    assert inspect_file(file).kind == "calibration"


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("net.engine", b"", ArtifactError, "is empty"),
        ("net.engine", b"\x89PNG\r\n\x1a\n" + bytes(99), ArtifactError, "not a TensorRT engine"),
        ("net.png", b"\x89PNG\r\n\x1a\n" + bytes(99), ArtifactError, "no engine, ONNX file or checkpoint"),
        ("net.onnx", b"\x89PNG\r\n\x1a\n" + bytes(99), GraphError, "net.onnx"),
        ("net.safetensors", b"\x89PNG\r\n\x1a\n" + bytes(99), ArtifactError, "not a safetensors file"),
        ("net.engine.json", b'{"schema": "resn', ArtifactError, "not JSON, or was cut off"),
    ],
)
def test_what_can_not_be_inspected_is_refused(
    tmp_path: Path, name: str, content: bytes, error: type, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=says):
        inspect_file(tmp_path / name)
    with pytest.raises(ArtifactError, match="no such file"):
        inspect_file(tmp_path / "gone")
