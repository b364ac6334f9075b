"""Other outputs than logits, and other axes than the usual; made by surgery on one exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from resnet_deploy.core.artifacts import NetRecord, read_manifest
from resnet_deploy.core.errors import ConfigError, ExportError
from resnet_deploy.core.specs import OutputKind, Precision
from resnet_deploy.export import forms
from resnet_deploy.export.forms import ExportForm, LoadedNet, make_exportable
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.export.outputs import OutputChoice, read_output
from resnet_deploy.export.parity import parity_with_fp32, parity_with_torch
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.float16 import fp16_from_fp32
from resnet_deploy.graph.session import open_session
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net
from resnet_deploy.nets.mean_image import MeanImage
from tests.reference.small_networks import copy_of, resnet8_onnx

SPEC = find_net("resnet8")
OWN = SPEC.preprocess
EVERY = ("softmax", "topk", "features", "c0,c1,c2", "c1")


@pytest.fixture(autouse=True)
def _traced_once(monkeypatch):
    """Tracing takes seconds and is tested elsewhere; the graph is that of `fresh_net(SPEC)`."""
    monkeypatch.setattr(forms, "onnx_from_torch", lambda net, preprocess: resnet8_onnx())


def _loaded(net: torch.nn.Module | None = None) -> LoadedNet:
    record = NetRecord(name="resnet8", num_classes=10)
    net = fresh_net(SPEC) if net is None else net
    return LoadedNet(net=net, source="resnet8", record=record, preprocess=OWN, manifest=None, weights="random")


def _made(output: str, top: int | None = None, **options):
    return make_exportable([_loaded()], ExportForm.CLASSIFIER, output=read_output(output, top), **options)


def _shapes(model: onnx.ModelProto) -> dict[str, list]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }


@pytest.mark.parametrize("output", EVERY)
@pytest.mark.parametrize("any_size", [False, True])
def test_every_output_computes_what_torch_does_at_every_size(output, any_size):
    made = _made(output, any_size=any_size, batch=3 if any_size else None)
    check_model(made.model, name=output)
    assert len(made.probes) == (3 if any_size else 1)
    for probe in made.probes:
        assert parity_with_torch(made.model, made.reference, probe, name=output)
    assert made.record.output is read_output(output).kind


@pytest.mark.parametrize(
    ("output", "shapes"),
    [
        ("logits", {"logits": ["N", 10]}),
        ("softmax", {"probabilities": ["N", 10]}),
        ("topk", {"scores": ["N", 5], "classes": ["N", 5]}),
        ("features", {"features": ["N", 64]}),
        ("c0,c1,c2", {"c0": ["N", 16, 32, 32], "c1": ["N", 32, 16, 16], "c2": ["N", 64, 8, 8]}),
        ("c1", {"c1": ["N", 32, 16, 16]}),
    ],
)
def test_names_and_shapes_are_complete(output, shapes):
    assert _shapes(_made(output).model) == shapes
    free = _shapes(_made(output, any_size=True, batch=4).model)
    for name, shape in shapes.items():
        grown = [f"{name}.H", f"{name}.W"] if len(shape) == 4 else []
        assert free[name] == [4, shape[1], *grown]


def test_layers_behind_the_output_are_gone():
    def left(output: str) -> tuple[set[str], set[str]]:
        graph = _made(output).model.graph
        return {node.name for node in graph.node}, {tensor.name for tensor in graph.initializer}

    nodes, weights = left("features")
    assert "fc" not in nodes and "flatten" in nodes and not any(name.startswith("fc.") for name in weights)
    nodes, weights = left("c0")
    assert all(name.split(".")[0] in ("conv1", "relu", "layer1") for name in nodes)
    assert all(name.split(".")[0] in ("conv1", "layer1") for name in weights if not name.startswith("int64"))
    nodes, _ = left("c0,c1,c2")
    assert "avgpool" not in nodes and "layer3.0.conv2" in nodes


def _swapped_maps(model: onnx.ModelProto) -> None:
    graph = model.graph
    node = next(node for node in graph.node if node.output[0] == "c1")
    weights = next(t for t in graph.initializer if t.name == "layer2.0.conv1.weight")
    weights.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weights), weights.name))
    assert node.op_type == "Relu"


def _without_pool(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "GlobalAveragePool").op_type = "GlobalMaxPool"


def _over_images(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Softmax").attribute[0].i = 0


def _of_logits(model: onnx.ModelProto) -> None:
    """The largest logits, not probabilities, come out as scores."""
    top = next(node for node in model.graph.node if node.op_type == "TopK")
    top.input[0] = next(node for node in model.graph.node if node.op_type == "Softmax").input[0]


def _smallest(model: onnx.ModelProto) -> None:
    top = next(node for node in model.graph.node if node.op_type == "TopK")
    top.attribute.append(onnx.helper.make_attribute("largest", 0))


def _next_class(model: onnx.ModelProto) -> None:
    """Right scores, but each class is called by the number of the next one."""
    graph = model.graph
    cast = next(node for node in graph.node if node.name == "classes.cast")
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "one"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([10], np.int64), "ten"))
    place = list(graph.node).index(cast)
    graph.node.insert(place, onnx.helper.make_node("Mod", ["top_k.more", "ten"], ["top_k.next"], name="mod"))
    graph.node.insert(place, onnx.helper.make_node("Add", ["top_k.classes", "one"], ["top_k.more"], name="more"))
    graph.node[place + 2].input[0] = "top_k.next"


@pytest.mark.parametrize(
    ("output", "fault", "match"),
    [
        ("c0,c1,c2", _swapped_maps, "difference of c[12]"),
        ("features", _without_pool, "difference of features"),
        ("softmax", _over_images, "difference of probabilities"),
        ("topk", _of_logits, "scores are NaN or infinite|difference of (scores|classes)"),
        ("topk", _smallest, "difference of scores"),
        ("topk", _next_class, "difference of classes"),
    ],
)
def test_planted_faults_fail_the_check_against_torch(output, fault, match):
    made = _made(output)
    fault(made.model)
    with pytest.raises(ExportError, match=match):
        parity_with_torch(made.model, made.reference, OWN, name="m")


def test_a_class_named_twice_fails_the_check():
    """Planted fault: of a k-best answer whose classes are not different ones."""
    made = _made("topk", 2)
    graph = made.model.graph
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), "zero"))
    cast = next(node for node in graph.node if node.name == "classes.cast")
    place = list(graph.node).index(cast)
    graph.node.insert(place, onnx.helper.make_node("Mul", ["top_k.classes", "zero"], ["none"], name="none"))
    graph.node[place + 1].input[0] = "none"
    with pytest.raises(ExportError, match="2 different ones below 10"):
        parity_with_torch(made.model, made.reference, OWN, name="m")


def test_a_fault_in_fp16_fails_the_check_against_fp32():
    """Planted fault: the first map's last layer halved."""
    made = _made("c0,c1,c2")
    half = fp16_from_fp32(made.model)
    assert parity_with_fp32(half, made.model, OWN, name="m")
    wrong = copy_of(half)
    tensor = next(t for t in wrong.graph.initializer if t.name == "layer1.0.conv2.weight")
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) / 2, tensor.name))
    with pytest.raises(ExportError, match="disagree"):
        parity_with_fp32(wrong, made.model, OWN, name="m")


@pytest.mark.parametrize("output", EVERY)
def test_files_in_fp16_and_bf16_with_other_edges_say_what_they_give(tmp_path, output):
    for precision, io in ((Precision.FP16, Precision.FP32), (Precision.BF16, Precision.FP16)):
        choice = read_output(output)
        file = tmp_path / f"net.{io}.{precision}.onnx"
        options = ExportOptions(net="resnet8", output=choice, precision=precision, io=io, batch=2, out=file)
        result = export_onnx(options)
        assert result.parity and export_onnx(options).skipped
        manifest = read_manifest(file, kind="onnx")
        assert manifest.net.output is choice.kind and manifest.net.name == "resnet8"
        graph = onnx.load(file).graph
        kinds = {onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name for v in graph.output}
        floats = "float32" if io is Precision.FP32 else "float16"
        assert kinds == ({floats, "int32"} if choice.kind is OutputKind.TOPK else {floats})
        softmax = [node for node in graph.node if node.op_type == "Softmax"]
        types = {
            v.name: v.type.tensor_type.elem_type
            for v in onnx.shape_inference.infer_shapes(onnx.load(file)).graph.value_info
        }
        assert all(types.get(node.input[0]) == onnx.TensorProto.FLOAT for node in softmax)


def test_probabilities_of_averaged_forms_are_the_mean():
    """Ten crops: the softmax of the mean's logarithm is the mean of the softmaxes."""
    member = _loaded()
    made = make_exportable([member], ExportForm.TEN_CROP, output=read_output("softmax"), resize_px=37)
    assert parity_with_torch(made.model, made.reference, made.probes[0], name="ten-crop")
    images = np.random.default_rng(0).standard_normal((2, 3, 37, 37), dtype=np.float32)
    found = open_session(made.model).run(None, {"images": images})[0]
    with torch.no_grad():
        views = [
            member.net.eval()(torch.from_numpy(np.ascontiguousarray(images[:, :, a : a + 32, b : b + 32][..., ::step])))
            for a, b in ((0, 0), (0, 5), (5, 0), (5, 5), (2, 2))
            for step in (1, -1)
        ]
    wanted = torch.stack([view.softmax(dim=1) for view in views]).mean(dim=0).numpy()
    # as for logits (8 layers, sums of 576): 8 * 24 * 2^-24 of logits below 4, twice behind a softmax
    np.testing.assert_allclose(found, wanted, rtol=2 * 4 * 8 * 24 * 2.0**-24)


@pytest.mark.parametrize("form", [ExportForm.TEN_CROP, ExportForm.FULLY_CONVOLUTIONAL])
def test_averaged_forms_in_16_bits_average_and_choose_in_fp32(tmp_path, form):
    for precision in (Precision.FP16, Precision.BF16):
        file = tmp_path / f"net.{precision}.onnx"
        output = read_output("topk", 3)
        result = export_onnx(ExportOptions(net="resnet8", form=form, output=output, precision=precision, out=file))
        assert result.parity and result.net == f"resnet8 {form}"
        model = onnx.shape_inference.infer_shapes(onnx.load(file))
        types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
        assert types["probabilities"] == types["logits"] == onnx.TensorProto.FLOAT
        assert types["conv1"] != onnx.TensorProto.FLOAT


def test_a_mean_image_is_replaced_for_any_size_and_the_file_says_so():
    net = fresh_net(SPEC)
    net.center = MeanImage(torch.rand(3, 32, 32))
    for any_size in (False, True):
        made = make_exportable([_loaded(net)], ExportForm.CLASSIFIER, any_size=any_size)
        assert ("mean per channel" in made.note) is any_size


@pytest.mark.parametrize(
    ("text", "top", "choice", "part"),
    [
        ("logits", None, OutputChoice(), ""),
        (" Softmax ", None, OutputChoice(kind=OutputKind.SOFTMAX), "softmax"),
        ("topk", None, OutputChoice(kind=OutputKind.TOPK, top=5), "top5"),
        ("topk", 1, OutputChoice(kind=OutputKind.TOPK, top=1), "top1"),
        ("c5, c3", None, OutputChoice(kind=OutputKind.MAPS, maps=("c3", "c5")), "c3-c5"),
    ],
)
def test_what_an_output_is_called(text, top, choice, part):
    assert read_output(text, top) == choice and str(choice) == part


def test_names_of_files_say_what_is_not_usual():
    options = {"checkpoint": Path("x/a.safetensors"), "output": read_output("c2,c3"), "any_size": True, "batch": 8}
    assert ExportOptions(**options).file() == Path("x/a.c2-c3.dynamic-size.batch8.fp32.onnx")


@pytest.mark.parametrize(
    ("text", "top", "match"),
    [
        ("boxes", None, "'boxes', expected logits, softmax, topk, features"),
        ("maps", None, "'maps'"),
        ("c2,c2", None, "'c2,c2'"),
        ("c2,features", None, "'c2,features'"),
        ("features", 3, "--top 3 is for --output topk"),
    ],
)
def test_outputs_that_do_not_exist_are_refused(text, top, match):
    with pytest.raises(ConfigError, match=match):
        read_output(text, top)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"kind": OutputKind.TOPK, "top": 0}, "top is 0"),
        ({"kind": OutputKind.TOPK}, "top is None"),
        ({"top": 3}, "top is 3 with output logits"),
        ({"kind": OutputKind.MAPS}, "maps are .. with output maps"),
    ],
)
def test_choices_that_contradict_themselves_are_refused(fields, match):
    with pytest.raises(ConfigError, match=match):
        OutputChoice(**fields)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"output": read_output("c0"), "form": ExportForm.TEN_CROP}, "--output c0 does not go with the form ten-crop"),
        ({"any_size": True, "form": ExportForm.FULLY_CONVOLUTIONAL}, "images of any size already"),
        ({"any_size": True, "form": ExportForm.TEN_CROP}, "a square input of one size"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        ExportOptions(net="resnet8", **options)
    with pytest.raises(ConfigError, match="2 networks have as many features each"):
        ExportOptions(ensemble=(Path("a"), Path("b")), output=read_output("features"))


def test_outputs_that_a_network_does_not_have_are_refused():
    with pytest.raises(ConfigError, match="resnet8 has no map c3"):
        _made("c2,c3")
    with pytest.raises(ConfigError, match="--top is 11, resnet8 knows 10 classes"):
        _made("topk", 11)
    net = fresh_net(SPEC)
    net.avgpool = torch.nn.AdaptiveAvgPool2d(2)
    with pytest.raises(ConfigError, match="the first linear layer reads maps of one size"):
        make_exportable([_loaded(net)], ExportForm.CLASSIFIER, any_size=True)
