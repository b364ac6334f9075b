"""The program in TensorRT-RTX's engines: of real ones, built here, and of one written down by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import onnx
import pytest

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.inspection.program_text import read_program_text
from tests.engine.fake_trt import PLAN
from tests.reference.qdq_graphs import int8_residual

# one convolution that a later kernel requantises, and a fusion whose inside has a program of its own
_OUTER = """header {
  version = 5
  inputs={ "images.1" "{ForeignNode[a...b]}_shapeInput.1" }
  outputs={ "logits.1" }
}
descriptors {
  tensor={ alignment=128 dims={ "n" 3 8 8 } name="images.1" type=int8 }
  tensor={ alignment=128 dims={ "n" 4 8 8 } name="y" type=float }
  tensor={ const_payload_size=108 dims={ 4 3 3 3 } name="w" type=int8 }
  tensor={ const_payload_size=16 dims={ 1 4 1 1 } name="s" type=float }
  tensor={ dims={ "n" 4 8 8 } name="q" type=half }
  tensor={ dims={ 1 } name="{ForeignNode[a...b]}_shapeInput.1" type=int64 }
  tensor={ dims={ "n" 10 } name="logits.1" type=float }
}
main {
 label bb1:
  shape_call={ name="__mye1" stream=0 layers="" }
  corrltn={ name="conv1_U7" output={"y" } input={"images.1" "w" "s" } relu=false layers="[ONNX Layer: conv1]" }
  signal={ name="__mye2" stream=0 }
  function={ name=__myl_Cast fqn=__myl_Cast_0x12 input_args={ "s" "y" "{ForeignNode[a...b]}_shapeInput.1" } \
output_args={ "q" } layers="[ONNX Layer: relu]\x1f[ONNX Layer: conv1]" }
  runtime_fusion={ name=__myl_Fc input_args={ "q" } output_args={ "logits.1" } layers="[ONNX Layer: fc]" backbone=gemm }
}
"""
_INNER = """header {
  inputs={ "q" }
  outputs={ "logits.1" }
}
descriptors {
  tensor={ dims={ "n" 4 } name="q" type=half }
  tensor={ dims={ "n" 10 } name="logits.1" type=float }
}
main {
  fully_connected={ name="inside" output={"logits.1" } input={"q" } layers="[ONNX Layer: fc]" }
}
"""


def _engine(file: Path, *texts: str, length: int | None = None) -> Path:
    body = b"".join(
        b"NLYM\x01\x02\x03\x04" + struct.pack("<Q", len(text) if length is None else length) + text.encode()
        for text in texts
    )
    size = 64 + len(body)
    head = bytearray(64)
    head[:4], head[16:24], head[24:28] = b"vtrt", struct.pack("<Q", size), bytes((1, 7, 1, 116))
    file.write_bytes(bytes(head) + body)
    return file


def test_tensors_constants_kernels_and_nodes_are_read(tmp_path: Path) -> None:
    found = read_program_text(_engine(tmp_path / "net.engine", _OUTER, _INNER))
    assert (found.product, found.version, found.num_profiles) == ("tensorrt-rtx", "1.7.1.116", 1)
    conv, cast, fusion = found.layers  # neither calls nor signals, nor what is inside of the fusion
    assert (conv.kind, conv.reads, conv.weights, conv.writes) == ("convolution", "int8", "int8", "fp32")
    assert [tensor.name for tensor in conv.inputs] == ["images.1"] and conv.nodes == ("conv1",)
    assert conv.moved_bytes == 3 * 64 * 1 + 4 * 64 * 4
    assert cast.converts and (cast.main_input, cast.main_output) == ("fp32", "fp16")
    assert cast.nodes == ("relu", "conv1") and cast.tactic == "__myl_Cast_0x12"
    assert (fusion.kind, fusion.reads, fusion.writes) == ("matrix product", "fp16", "fp32")
    assert [(tensor.name, tensor.shape) for tensor in found.io] == [
        ("images.1", (-1, 3, 8, 8)),
        ("logits.1", (-1, 10)),
    ]


def test_the_inside_of_a_fusion_is_left_out_where_the_program_renames_its_result(tmp_path: Path) -> None:
    outer = _OUTER.replace("version = 5", "version = 5\n  accelerators={sm86 }")
    inner = _INNER.replace("header {", "header {\n  accelerators={*}").replace("logits.1", "__mye12")
    found = read_program_text(_engine(tmp_path / "net.engine", outer, inner))
    assert [layer.name for layer in found.layers] == ["conv1_U7", "__myl_Cast", "__myl_Fc"]
    assert found.targets == ("sm86",)


def test_a_result_in_blocks_of_channels_is_read_like_another(tmp_path: Path) -> None:
    text = _OUTER.replace('name="q" type=half }', 'name="q" tile_size={ 1 8 } type=half user_dims={ "n" 4 8 8 } }')
    assert text != _OUTER
    cast = read_program_text(_engine(tmp_path / "net.engine", text)).layers[1]
    assert (cast.main_output, cast.outputs[0].shape) == ("fp16", (-1, 4, 8, 8))


def test_a_later_profiles_program_is_counted_and_not_read(tmp_path: Path) -> None:
    later = _OUTER.replace("images.1", "images [profile 1].1").replace("logits.1", "logits [profile 1].1")
    found = read_program_text(_engine(tmp_path / "net.engine", _OUTER, later))
    assert (found.num_profiles, len(found.layers)) == (2, 3)


@pytest.mark.parametrize(
    "texts", [(), ("header {\n}\nmain {\n}\n",), (_OUTER.replace("corrltn", "gather").replace("backbone=gemm", ""),)]
)
def test_an_engine_without_such_text_is_refused(tmp_path: Path, texts: tuple[str, ...]) -> None:
    with pytest.raises(ArtifactError, match="expected one with convolutions"):
        read_program_text(_engine(tmp_path / "net.engine", *texts))


def test_a_length_beyond_the_file_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="0 program texts"):
        read_program_text(_engine(tmp_path / "net.engine", _OUTER, length=1 << 40))


@pytest.mark.parametrize("dims", ["1" * 5000, " ".join("1" * 40) + " x", '"n" 3 8'])
def test_a_shape_that_is_none_is_not_known_and_takes_no_time(tmp_path: Path, dims: str) -> None:
    text = _OUTER.replace('dims={ "n" 3 8 8 } name="images.1"', f'dims={{ {dims} }} name="images.1"')
    conv = read_program_text(_engine(tmp_path / "net.engine", text)).layers[0]
    assert conv.inputs[0].shape == ((-1, 3, 8) if "n" in dims else None)


def test_an_engine_of_the_other_product_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.engine").write_bytes(PLAN)
    with pytest.raises(ArtifactError, match="engine of tensorrt, only TensorRT-RTX"):
        read_program_text(tmp_path / "net.engine")


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "fp32"), ("fp16", "fp16"), ("int8", "int8")])
def test_a_real_engine_tells_the_precision_of_its_convolution(save_onnx, rtx, precision: str, dtype: str) -> None:
    engine = build_engine(BuildOptions(onnx=save_onnx(precision), targets=("sm89",))).file
    found = read_program_text(engine)
    conv = next(layer for layer in found.layers if "stem" in layer.nodes and layer.multiplies)
    assert conv.reads == dtype and conv.weights == dtype
    assert found.version == rtx.__version__
    assert {tensor.name.split(".")[0] for tensor in found.io} == {"images", "logits"}


def test_every_convolution_of_a_real_residual_engine_is_found_once(tmp_path: Path, rtx) -> None:
    onnx.save(int8_residual(), tmp_path / "net.onnx")
    found = read_program_text(build_engine(BuildOptions(onnx=tmp_path / "net.onnx", targets=("sm86",))).file)
    asked = [node.name for node in int8_residual().graph.node if node.op_type in ("Conv", "Gemm")]
    computing = [node for layer in found.layers if layer.multiplies for node in layer.nodes if node in asked]
    assert sorted(computing) == sorted(asked)
    assert all(layer.moved_bytes for layer in found.layers)
