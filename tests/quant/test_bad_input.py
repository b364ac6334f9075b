"""What a user gets wrong around INT8: one message that names it, exit code 2, and no file; or what is done instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest, write_manifest
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.table import read_table
from tests.reference.small_networks import make_table, quantize_model, resnet8_onnx

RUNNER = CliRunner()
WEIGHT = "layer2.0.conv1.weight"


@pytest.fixture
def broken(exported, tmp_path, monkeypatch) -> Callable[..., Path]:
    """broken(change) writes `net.fp32.onnx` as `export` would, with `change` done to its graph."""
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest(exported)

    def make(change: Callable[[onnx.ModelProto], object] = lambda model: None) -> Path:
        model = read_onnx(exported)
        model = change(model) or model
        Path("net.fp32.onnx").write_bytes(model.SerializeToString())
        write_manifest(
            Path("net.fp32.onnx"),
            kind="onnx",
            stage="export",
            parent=manifest,
            precision=Precision.FP32,
            details=manifest.details,
        )
        return Path("net.fp32.onnx")

    return make


def _weight(value: float, place=(3, 0, 0, 0)) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = GraphIndex(model.graph).initializer(WEIGHT)
        values = numpy_helper.to_array(tensor).copy()
        values[place] = value
        tensor.CopyFrom(numpy_helper.from_array(values, WEIGHT))

    return change


def _operator(op_type: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        next(node for node in model.graph.node if node.op_type == "Relu").op_type = op_type

    return change


def _quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    return quantize_model(model, make_table(model), float_precision=Precision.FP32)[0]


def _input_size(axis: int, size: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size

    return change


def _pooling_alone(_: onnx.ModelProto) -> onnx.ModelProto:
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["logits"], name="rows"),
    ]
    value = helper.make_tensor_value_info
    ends = [value("images", 1, ["N", 3, 32, 32])], [value("logits", 1, ["N", 3])]
    return helper.make_model(helper.make_graph(nodes, "g", *ends), opset_imports=[helper.make_opsetid("", 20)])


def _refused(words: list[str], *messages: str) -> None:
    before = set(Path().iterdir())
    done = RUNNER.invoke(app, words)
    said = " ".join(done.stderr.split())
    assert done.exit_code == 2, (done.exit_code, done.output)
    assert said.count("error:") == 1 and "Traceback" not in said, done.output
    assert all(message in said for message in messages), said
    assert {file for file in set(Path().iterdir()) - before if file.suffix != ".partial"} == set()


_NAN = f"initializer '{WEIGHT}' holds NaN or infinity, first in channel 3"
_CALIBRATE = ["calibrate", "net.fp32.onnx", "--data", "noise", "--images", "3", "--threads", "1"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_or_infinity_in_a_weight(broken, value: float) -> None:
    broken()
    table = RUNNER.invoke(app, [*_CALIBRATE, "--method", "max", "--out", "good.calib.json"])
    assert table.exit_code == 0, table.output
    file = broken(_weight(value))
    _refused(["scan", str(file)], _NAN)
    _refused(_CALIBRATE, "error: noise[", "tensor 'layer2.0.relu':", "are NaN or infinite")
    good = Path("good.calib.json")
    sha256 = read_manifest(file).sha256
    good.write_text(good.read_text().replace(read_table(good).network_sha256, sha256))  # as if it had been finite
    _refused(["quantize", str(file), "--table", "good.calib.json"], _NAN)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (_quantized, ["the graph is quantised already", "give the FP32 file"]),
        (_pooling_alone, ["nothing to quantise: the graph has no Conv or Gemm"]),
    ],
    ids=["quantised", "nothing to quantise"],
)
def test_a_graph_that_is_no_start(broken, change, messages) -> None:
    file = broken(change)
    for words in (["scan", str(file)], _CALIBRATE):
        _refused(words, *messages)


@pytest.mark.parametrize(
    ("change", "shape"),
    [(_input_size(1, 1), "['N', 1, 32, 32]"), (_input_size(2, 64), "['N', 3, 64, 32]")],
    ids=["channels", "size"],
)
def test_a_network_of_another_size_or_channel_count_than_its_images(broken, change, shape: str) -> None:
    broken(change)
    _refused(_CALIBRATE, f"the network's input 'images' is {shape}, its preprocessing gives ['N', 3, 32, 32]")


def test_an_operator_without_a_gradient_is_found_before_the_images_are_read(broken, monkeypatch) -> None:
    from resnet_deploy.data.noise import NoiseSource

    broken(_operator("Mish"))
    with monkeypatch.context() as patch:
        patch.setattr(NoiseSource, "image", lambda self, index: pytest.fail("an image was read"))
        _refused(_CALIBRATE, "method auto needs the gradients of operators", "Mish", "--method entropy")
    assert RUNNER.invoke(app, [*_CALIBRATE, "--method", "entropy"]).exit_code == 0
    _refused(["quantize", "net.fp32.onnx"], "the FP16 pass does not know: Mish (1, first 'relu')", "--float fp32")
    assert RUNNER.invoke(app, ["quantize", "net.fp32.onnx", "--float", "fp32"]).exit_code == 0


def test_weights_of_an_all_zero_channel_stay_zero_with_scale_one(broken) -> None:
    """Documented handling: the channel's result is its bias, in the FP32 file and in the INT8 file."""
    file = broken(_weight(0.0, place=3))
    for words in (_CALIBRATE, ["quantize", str(file), "--float", "fp32"]):
        done = RUNNER.invoke(app, words)
        assert done.exit_code == 0, done.output
    quantized = read_onnx(Path("net.int8.onnx"))
    index = GraphIndex(quantized.graph)
    assert index.constant(f"{WEIGHT}.scale")[3] == 1.0 and not index.constant(f"{WEIGHT}.int8")[3].any()
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    assert np.isfinite(open_session(quantized).run(None, {"images": images})[0]).all()


def _folder(name: str, *images: Image.Image) -> str:
    Path(name).mkdir()
    for number, image in enumerate(images):
        image.save(Path(name) / f"{number}.png")
    return name


def _noise(mode: str = "RGB", size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.effect_noise(size, 60).convert(mode)


@pytest.mark.parametrize("stage", ["calibrate", "scan", "ranges", "sensitivity"])
def test_no_images(broken, stage: str) -> None:
    broken()
    table = RUNNER.invoke(app, [*_CALIBRATE, "--method", "max"])
    assert table.exit_code == 0, table.output
    Path("empty").mkdir()
    _refused([stage, "net.fp32.onnx", "--data", "empty"], "empty holds no image")
    _refused([stage, "net.fp32.onnx", "--data", "absent"], "absent: no such folder or archive")


def test_one_image_is_taken_with_a_warning(broken) -> None:
    broken()
    done = RUNNER.invoke(app, ["calibrate", "net.fp32.onnx", "--data", _folder("one", _noise()), "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert (
        "1 image, 1 distinct" in done.stderr and "warning: one image: its ranges are not representative" in done.stderr
    )


def test_grey_images_are_taken_as_rgb_with_equal_channels(broken) -> None:
    broken()
    grey = [_noise("L") for _ in range(3)]
    tables = []
    for name, images in (("grey", grey), ("rgb", [image.convert("RGB") for image in grey])):
        done = RUNNER.invoke(app, ["calibrate", "net.fp32.onnx", "--data", _folder(name, *images), "--method", "max"])
        assert done.exit_code == 0, done.output
        tables.append(read_table(Path("net.calib.json")))
    assert tables[0] == tables[1]


def test_images_of_another_size_are_resized_as_the_preprocessing_says_or_refused(broken, exported) -> None:
    file = broken()
    large = _folder("large", _noise(size=(80, 60)), _noise(size=(60, 80)))
    assert RUNNER.invoke(app, ["calibrate", str(file), "--data", large]).exit_code == 0  # resize_shorter_px is 32
    Path("net.calib.json").unlink()
    Path("net.calib.json.json").unlink()
    manifest = Path("net.fp32.onnx.json")
    manifest.write_text(manifest.read_text().replace('"resize_shorter_px": 32', '"resize_shorter_px": null'))
    small = _folder("small", _noise(size=(32, 32)), _noise(size=(24, 32)))
    _refused(["calibrate", str(file), "--data", small], "small/1.png", "is 24x32 px")


def test_the_wrong_file_for_a_table_or_a_network(broken) -> None:
    file = broken()
    _refused(["quantize", str(file)], "net.calib.json: no such calibration table", "or name it with --table")
    _refused(["quantize", str(file), "--table", str(file)], "net.fp32.onnx is not a calibration table")
    Path("a.cache").write_text("TRT-8601-EntropyCalibration2\nimages: 3c010a14\n")
    lacks = "a.cache has 1 tensors, but not 8 of the 9 that this network needs: relu, layer1.0.relu"
    _refused(["quantize", str(file), "--table", "a.cache"], lacks)
    assert RUNNER.invoke(app, [*_CALIBRATE, "--method", "max"]).exit_code == 0
    assert RUNNER.invoke(app, ["quantize", str(file)]).exit_code == 0
    Path("net.calib.json").rename("first.calib.json")
    broken(_weight(0.5))
    for stage in (["quantize"], ["sensitivity", "--data", "noise"]):
        words = [stage[0], str(file), *stage[1:], "--table", "first.calib.json"]
        _refused(words, "first.calib.json was made for the network with SHA-256", "calibrate this ONNX file")
    for stage in ("calibrate", "scan", "quantize", "sensitivity", "ranges"):
        _refused(
            [stage, "net.int8.onnx", *([] if stage == "quantize" else ["--data", "noise"])], "net.int8.onnx is int8"
        )


def test_audit_of_what_is_no_onnx_file(broken) -> None:
    file = broken()
    _refused(["audit", "absent.onnx"], "absent.onnx: no such file")
    _refused(["audit", f"{file}.json"], "is not an ONNX file")
    done = RUNNER.invoke(app, ["audit", str(file)])
    assert done.exit_code == 0 and "holds no Q/DQ: nothing was to be INT8" in done.stderr


def test_the_planted_networks_are_like_the_good_one_but_for_the_fault(broken) -> None:
    assert RUNNER.invoke(app, [*_CALIBRATE[:1], str(broken()), *_CALIBRATE[2:]]).exit_code == 0
    assert {node.name for node in read_onnx(Path("net.fp32.onnx")).graph.node} == {
        node.name for node in resnet8_onnx().graph.node
    }
