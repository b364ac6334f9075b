"""ONNX files of other exporters through `import`: what becomes of them, and what is refused."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import manifest_path, read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError, GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.export import foreign_onnx
from resnet_deploy.export.foreign_onnx import ForeignOnnxOptions, import_onnx
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session
from tests.reference.foreign_networks import foreign_bytes, foreign_net, old_style_onnx

RUNNER = CliRunner()
PIXELS = {"size_px": 32, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
OPTIONS = ["--size", "32", "--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25"]


@pytest.fixture
def imported(tmp_path):
    """Write a model as a foreign file and import it."""

    def do(model: onnx.ModelProto | bytes, **options):
        file = tmp_path / "foreign.onnx"
        file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return import_onnx(ForeignOnnxOptions(file=file, out=tmp_path / "net.fp32.onnx", **{**PIXELS, **options}))

    return do


def _kinds(file) -> Counter:
    return Counter(node.op_type for node in read_onnx(file).graph.node)


def _logits(file, images: np.ndarray) -> np.ndarray:
    return open_session(read_onnx(file)).run(["logits"], {"images": images})[0]


@pytest.mark.parametrize("options", [{}, {"dynamic": True}, {"opset": 17}, {"flat": True}, {"batch": 4}])
def test_torch_export_with_nothing_folded_becomes_plain(imported, options):
    result = imported(foreign_bytes(**options))
    assert result.passed and result.written and result.normalised.batch is None
    assert result.normalised.folded == 6 and result.normalised.not_folded == ()
    kinds = _kinds(result.file)
    pool = {} if options.get("flat") else {"GlobalAveragePool": 1}
    assert kinds == {"Conv": 6, "Relu": 5, "Add": 2, "MaxPool": 1, "Flatten": 1, "Gemm": 1, **pool}
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = foreign_net(flat=options.get("flat", False))(images).numpy()
    got = _logits(result.file, images.numpy())
    # The tolerance of the import itself, against torch instead of the original file.
    assert np.abs(got - expected).max() <= 2 * result.parity.tolerance * np.abs(expected).max()


def test_dynamo_export_with_weights_beside_it(tmp_path):
    file = tmp_path / "net.onnx"
    torch.onnx.export(
        foreign_net(),
        (torch.zeros(1, 3, 32, 32),),
        file,
        dynamo=True,
        optimize=False,
        verbose=False,
        external_data=True,
    )
    assert (tmp_path / "net.onnx.data").is_file()
    result = import_onnx(ForeignOnnxOptions(file=file, out=tmp_path / "net.fp32.onnx", **PIXELS))
    assert result.passed and result.normalised.folded == 6
    assert _kinds(result.file)["BatchNormalization"] == 0
    # The weights' file is among what the result was made from.
    assert {r.role for r in read_manifest(result.file).inputs} == {"onnx", "weights 1"}


def test_manifest_is_what_later_stages_read(imported):
    result = imported(foreign_bytes(), resize_px=36, labels=tuple("abcdefghij"), license="CC0, example.org")
    manifest = read_manifest(result.file, kind="onnx")
    assert (manifest.stage, manifest.precision) == ("import", Precision.FP32)
    assert manifest.labels == tuple("abcdefghij")
    assert manifest.preprocess.resize_shorter_px == 36 and manifest.preprocess.mean == (0.5, 0.5, 0.5)
    assert manifest.details["license"] == "CC0, example.org"
    (tensor,) = read_onnx(result.file).graph.input
    assert tensor.name == "images" and tensor.type.tensor_type.shape.dim[0].dim_param == "N"


def test_second_import_is_skipped_and_another_mean_is_not(imported):
    assert not imported(foreign_bytes()).skipped
    again = imported(foreign_bytes())
    assert again.skipped and again.passed and again.normalised.folded == 6
    assert not imported(foreign_bytes(), mean=(0.4, 0.5, 0.5)).skipped
    assert not imported(foreign_bytes(), mean=(0.4, 0.5, 0.5), force=True).skipped


def test_old_file_is_brought_up_to_date(imported):
    result = imported(old_style_onnx(), size_px=8)
    assert result.passed and result.normalised.opset == 9 and result.normalised.softmax
    assert result.parity.compared == "probabilities"
    kinds = _kinds(result.file)
    assert kinds == {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    model = read_onnx(result.file)
    assert model.opset_import[0].version == 20
    assert [tensor.name for tensor in model.graph.input] == ["images"]
    names = [node.name for node in model.graph.node]
    assert all(names) and len(set(names)) == len(names)
    images = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    probabilities = open_session(old_style_onnx()).run(None, {"data": images})[0]
    logits = _logits(result.file, images)
    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(softmax, probabilities, atol=1e-6)  # 10 roundoffs of a probability below 1


def test_softmax_at_the_end_is_taken_off(imported):
    result = imported(foreign_bytes(softmax=True))
    assert result.passed and result.normalised.softmax and "Softmax" not in _kinds(result.file)


def test_activation_that_is_no_relu_stays(imported):
    result = imported(foreign_bytes(activation=nn.Hardswish, opset=17))
    assert result.passed and _kinds(result.file)["HardSwish"] == 1


def test_one_of_several_outputs_is_chosen_by_name(imported):
    with pytest.raises(GraphError, match=r"has 2 outputs: 'y' float \[.*\], 'z'"):
        imported(foreign_bytes(two_outputs=True))
    with pytest.raises(GraphError, match="no output 'q'"):
        imported(foreign_bytes(two_outputs=True), output="q")
    result = imported(foreign_bytes(two_outputs=True), output="y")
    assert result.passed and "Mul" not in _kinds(result.file)


def test_batch_that_the_graph_insists_on_is_kept_and_said(imported):
    model = old_style_onnx()
    # It takes the first row of the batch, whatever the batch is.
    model.ir_version = 4
    model.graph.node.append(helper.make_node("Gather", ["a", "zero"], ["row"], axis=0))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    model.graph.output[0].name = "row"
    result = imported(model, size_px=8)
    assert result.passed and result.normalised.batch == 1
    assert "3 images give 1 rows" in result.normalised.batch_note
    assert read_onnx(result.file).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_nothing_is_written_where_the_result_differs(imported, monkeypatch, tmp_path):
    """Planted fault: a pass that changes one weight by a hundredth."""
    real = foreign_onnx.normalise

    def faulty(model, preprocess, **options):
        result, report = real(model, preprocess, **options)
        tensor = next(t for t in result.graph.initializer if len(t.dims) == 4)
        values = numpy_helper.to_array(tensor).copy()
        values[0] *= 1.01
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return result, report

    monkeypatch.setattr(foreign_onnx, "normalise", faulty)
    result = imported(foreign_bytes())
    assert not result.passed and not result.written
    assert result.parity.relative_error > result.parity.tolerance
    assert not result.file.exists() and not manifest_path(result.file).exists()


def _two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 5]))


def _bytes_as_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def _channels_last(model: onnx.ModelProto) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 8, 8, 3]))


def _quantised(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "QLinearConv"


def _foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node[2].op_type, model.graph.node[2].domain = "Swish", "com.example"
    model.graph.node[4].op_type, model.graph.node[4].domain = "FastPool", "com.example"


def _half_precision(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))


def _map_as_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 4, 8, 8]))


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (_two_inputs, "has 2 inputs ('data' float [1, 3, 8, 8], 'mask' float [1, 5]), expected one"),
        (_bytes_as_input, "'data' uint8 [1, 3, 8, 8], expected float32 [N, 3, 8, 8]"),
        (_channels_last, "'data' float [1, 8, 8, 3], expected float32 [N, 3, 8, 8]"),
        (_quantised, "is quantised already"),
        (_foreign_operator, "no stage can read: com.example.FastPool, com.example.Swish"),
        (_half_precision, "the weight 'w' is float16, expected float32"),
        (_map_as_output, "the output 'r' has shape [1, 4, 8, 8], expected float32 [N, classes]"),
    ],
)
def test_what_can_not_be_imported_is_refused_by_name(imported, plant, message):
    model = old_style_onnx()
    plant(model)
    with pytest.raises(GraphError) as error:
        imported(model, size_px=8)
    assert message in error.value.message and error.value.remedy


def test_other_size_is_refused_with_the_right_one(imported):
    with pytest.raises(GraphError) as error:
        imported(foreign_bytes(), size_px=224)
    assert "--size 32" in error.value.remedy


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../x", ""])
def test_weights_outside_of_the_folder_are_not_read(imported, location):
    model = old_style_onnx()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(GraphError, match="outside of the file's folder"):
        imported(model, size_px=8)


def test_link_as_weights_file_is_not_read(imported, tmp_path):
    (tmp_path / "real.bin").write_bytes(bytes(432))
    (tmp_path / "link.bin").symlink_to(tmp_path / "real.bin")
    model = old_style_onnx()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="link.bin")
    with pytest.raises(GraphError, match="'link.bin', outside"):
        imported(model, size_px=8)
    tensor.external_data[0].value = "absent.bin"
    with pytest.raises(ArtifactError, match=r"absent\.bin: no such file"):
        imported(model, size_px=8)


def test_wrong_options_are_refused(imported, tmp_path):
    with pytest.raises(ConfigError, match="2 labels were given, the network has 10 classes"):
        imported(foreign_bytes(), labels=("a", "b"))
    with pytest.raises(ConfigError, match="label 'a' occurs 2 times"):
        imported(foreign_bytes(), labels=("a", "a"))
    with pytest.raises(ConfigError, match="12 classes were asked for"):
        imported(foreign_bytes(), num_classes=12)
    with pytest.raises(ConfigError, match="smaller than the crop"):
        imported(foreign_bytes(), resize_px=16)
    with pytest.raises(ArtifactMismatchError, match="--sha256 says deadbeef"):
        imported(foreign_bytes(), sha256="deadbeef")
    result = imported(foreign_bytes())
    with pytest.raises(ConfigError, match="has a manifest already"):
        import_onnx(ForeignOnnxOptions(file=result.file, out=tmp_path / "again.onnx", **PIXELS))
    with pytest.raises(ConfigError, match="would overwrite"):
        ForeignOnnxOptions(file=result.file, out=result.file, **PIXELS)


def test_constants_keep_their_values(imported):
    result = imported(foreign_bytes())
    index = GraphIndex(read_onnx(result.file).graph)
    (classifier,) = (node for node in index.graph.node if node.op_type == "Gemm")
    np.testing.assert_array_equal(index.constant(classifier.input[1]), foreign_net().fc.weight.detach().numpy())


def test_chain_takes_the_imported_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign.onnx").write_bytes(foreign_bytes())
    steps = [
        ["import", "foreign.onnx", *OPTIONS],
        ["calibrate", "out/foreign.fp32.onnx", "--data", "noise", "--images", "2"],
        ["quantize", "out/foreign.fp32.onnx"],
        ["audit", "out/foreign.int8.onnx", "--json"],
        ["inspect", "out/foreign.int8.onnx"],
    ]
    results = [RUNNER.invoke(app, words) for words in steps]
    assert [result.exit_code for result in results] == [0] * 5, [result.output for result in results]
    assert "as the original: logits of 2 random images" in results[0].stdout
    summary = json.loads(results[3].stdout)["summary"]
    assert summary.startswith("6 of 6 convolutions int8 in, 6 int8 out; 1 of 1 matrix product int8 in; 2 of 2 residual")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["foreign.onnx"], "does not say which pixels it wants: --size, --mean, --std are missing"),
        (["foreign.onnx", *OPTIONS[:2], *OPTIONS[6:]], "--mean is missing"),
        (["foreign.onnx", *OPTIONS, "--net", "resnet20"], "--net has no effect"),
        (["foreign.onnx", *OPTIONS, "--out", "net.safetensors"], "must end in .onnx"),
        (["weights.pth", "--size", "32"], "weights.pth is no ONNX file: --size has no effect"),
        (["absent.onnx", *OPTIONS], "no such file"),
    ],
)
def test_wrong_usage_is_one_message(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign.onnx").write_bytes(foreign_bytes())
    result = RUNNER.invoke(app, ["import", *words])
    assert result.exit_code == 2 and message in " ".join(result.stderr.split()), result.output
    assert not (tmp_path / "out").exists()
