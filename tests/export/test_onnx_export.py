from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError, ExportError
from resnet_deploy.core.specs import Precision
from resnet_deploy.export import parity
from resnet_deploy.export.batch_norm import fold_batch_norms
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx, onnx_from_torch
from resnet_deploy.graph.bfloat16 import BF16_NOTE
from resnet_deploy.graph.float16 import BF16_OPSET, bf16_from_fp32
from resnet_deploy.graph.float_io import IO_TYPES
from resnet_deploy.graph.session import open_session
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net, save_checkpoint
from tests.reference.small_networks import bottleneck_onnx, resnet8_onnx

SPEC = find_net("resnet8")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    labels = tuple("abcdefghij")
    save_checkpoint(
        path,
        fresh_net(SPEC, seed=3),
        spec=SPEC,
        preprocess=SPEC.preprocess,
        labels=labels,
        stage="train",
        inputs={},
        options={},
        details={},
    )
    return path


def test_interface_of_the_graph():
    model = resnet8_onnx()
    (images,), (logits,) = model.graph.input, model.graph.output
    assert images.name == "images" and logits.name == "logits"
    shape = [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim]
    assert shape == ["N", 3, 32, 32]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]


def test_names_come_from_the_modules():
    names = [node.name for node in bottleneck_onnx().graph.node]
    assert names[:3] == ["conv1", "relu", "maxpool"]
    assert {"layer1.0.conv1", "layer1.0.conv3", "layer1.0.downsample.0", "layer1.0.add", "layer1.1.relu_2"} <= set(
        names
    )
    assert names[-3:] == ["avgpool", "flatten", "fc"]
    assert len(set(names)) == len(names)
    for node in bottleneck_onnx().graph.node[:-1]:
        assert list(node.output) == [node.name]


def test_batch_norm_is_folded_and_nothing_of_the_machine_is_left():
    model = bottleneck_onnx()
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Conv", "Relu", "MaxPool", "Add", "GlobalAveragePool", "Flatten", "Gemm"}
    texts = onnx.ModelProto.FromString(model.SerializeToString())
    for weight in texts.graph.initializer:
        weight.ClearField("raw_data")  # 32 MB of random weights hold any three bytes by chance
    assert b"site-packages" not in texts.SerializeToString() and b".py" not in texts.SerializeToString()


def test_folding_keeps_the_function():
    net = fresh_net(SPEC)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-2, 2)  # a negative gamma must survive
                module.bias.normal_()
    x = torch.randn(2, 3, 32, 32)
    folded = fold_batch_norms(net)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    with torch.no_grad():
        # Same sums in another order: 8 layers * sqrt(576 terms) * 2^-24, see export.parity.
        torch.testing.assert_close(folded(x), net(x), rtol=0, atol=8 * 24 * 2.0**-24 * float(net(x).abs().max()))


def test_batch_norm_without_its_convolution_is_refused():
    with pytest.raises(ExportError, match="'1' does not follow a convolution"):
        fold_batch_norms(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_size_runs(batch):
    images = np.zeros((batch, 3, 32, 32), dtype=np.float32)
    assert open_session(resnet8_onnx()).run(None, {"images": images})[0].shape == (batch, 10)


def test_same_network_gives_the_same_bytes():
    model = onnx_from_torch(fresh_net(SPEC), SPEC.preprocess)
    assert model.SerializeToString(deterministic=True) == resnet8_onnx().SerializeToString(deterministic=True)


def test_checkpoint_to_fp32_and_fp16_with_manifests(checkpoint):
    fp16 = export_onnx(ExportOptions(checkpoint=checkpoint, precision=Precision.FP16))
    assert fp16.file == checkpoint.with_name("small.fp16.onnx") and fp16.weights == "trained" and not fp16.skipped
    fp32_file = checkpoint.with_name("small.fp32.onnx")
    manifest = read_manifest(fp16.file, kind="onnx")
    assert manifest.precision is Precision.FP16 and manifest.labels == tuple("abcdefghij")
    assert manifest.preprocess == SPEC.preprocess and manifest.net.name == "resnet8"
    assert manifest.input_sha256("onnx") == read_manifest(fp32_file).sha256
    assert read_manifest(fp32_file).input_sha256("checkpoint") == read_manifest(checkpoint).sha256
    for file in (fp32_file, fp16.file):
        onnx.checker.check_model(onnx.load(file), full_check=True)
    assert export_onnx(ExportOptions(checkpoint=checkpoint, precision=Precision.FP16)).skipped
    assert not export_onnx(ExportOptions(checkpoint=checkpoint, precision=Precision.FP16, force=True)).skipped


def test_fp16_follows_its_fp32_file(checkpoint):
    """A changed FP32 file must be made again before FP16 is taken from it."""
    options = ExportOptions(checkpoint=checkpoint, precision=Precision.FP16)
    good = export_onnx(options).file.read_bytes()
    fp32_file = checkpoint.with_name("small.fp32.onnx")
    fp32_file.write_bytes(fp32_file.read_bytes()[:1000])
    assert export_onnx(options).file.read_bytes() == good


def test_untrained_network_says_so(tmp_path):
    result = export_onnx(ExportOptions(net="resnet8", seed=5, out=tmp_path / "r.onnx"))
    assert result.weights == "random, seed 5"
    assert read_manifest(result.file).details["weights"] == "random, seed 5"


def test_a_changed_weight_fails_the_parity_check():
    """Planted fault: one weight of one convolution is 1 % off."""
    model = resnet8_onnx()
    net = fresh_net(SPEC)
    assert parity.parity_with_torch(model, net, SPEC.preprocess, name="m")
    tensor = next(t for t in model.graph.initializer if t.name == "layer2.0.conv2.weight")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[np.abs(values).argmax()] *= 1.01
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(ExportError, match="disagree"):
        parity.parity_with_torch(model, net, SPEC.preprocess, name="m")


def test_fp16_overflow_inside_the_network_fails_the_parity_check():
    model = resnet8_onnx()
    tensor = next(t for t in model.graph.initializer if t.name == "conv1.bias")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(16, 6e4, dtype=np.float32), tensor.name))
    from resnet_deploy.graph.float16 import fp16_from_fp32

    with pytest.raises(ExportError, match="NaN or infinite"):
        parity.parity_with_fp32(fp16_from_fp32(model), model, SPEC.preprocess, name="m")


def test_bf16_is_checked_by_a_run_with_roundings_and_says_so(checkpoint):
    options = ExportOptions(checkpoint=checkpoint, precision=Precision.BF16)
    bf16 = export_onnx(options)
    assert bf16.file.name == "small.bf16.onnx" and bf16.parity.note == BF16_NOTE
    # The 8 layers of resnet8: 2 * 8 * 2^-8 from inside; the edges stay FP32.
    assert 2.0**-12 < bf16.parity.relative_error <= bf16.parity.tolerance == pytest.approx(16 * 2.0**-8, rel=1e-4)
    manifest = read_manifest(bf16.file, kind="onnx")
    assert manifest.precision is Precision.BF16 and manifest.details["parity"]["note"] == BF16_NOTE
    assert manifest.options["opset"] == onnx.load(bf16.file).opset_import[0].version == BF16_OPSET
    assert export_onnx(options).skipped
    fp16 = export_onnx(ExportOptions(checkpoint=checkpoint, precision=Precision.FP16))
    assert fp16.parity.note == "" and fp16.parity.relative_error < bf16.parity.relative_error


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("io", [Precision.FP16, Precision.BF16])
def test_other_edges_are_another_file_with_the_same_fp32_file_behind_it(checkpoint, precision, io):
    options = ExportOptions(checkpoint=checkpoint, precision=precision, io=io)
    result = export_onnx(options)
    graph = onnx.load(result.file).graph
    assert {t.type.tensor_type.elem_type for t in (*graph.input, *graph.output)} == {IO_TYPES[io]}
    assert result.io is io and read_manifest(result.file).options["io"] == str(io)
    fp32 = onnx.load(checkpoint.with_name("small.fp32.onnx")).graph
    assert fp32.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert export_onnx(options).skipped
    assert not export_onnx(replace(options, io=Precision.FP32)).skipped


def test_a_changed_weight_fails_the_bf16_parity_check():
    """Planted fault: the classifier's weights halved."""
    model = resnet8_onnx()
    half = bf16_from_fp32(model)
    assert parity.parity_with_fp32(half, model, SPEC.preprocess, name="m", precision=Precision.BF16)
    tensor = next(t for t in half.graph.initializer if t.name == "fc.weight")
    values = onnx.numpy_helper.to_array(tensor).astype(np.float32) / 2
    tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(ml_dtypes.bfloat16), tensor.name))
    with pytest.raises(ExportError, match="disagree"):
        parity.parity_with_fp32(half, model, SPEC.preprocess, name="m", precision=Precision.BF16)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "neither"),
        ({"net": "resnet8", "checkpoint": "a.safetensors"}, "a.safetensors and resnet8"),
        ({"net": "resnet8", "precision": Precision.INT8}, "not int8"),
        ({"net": "resnet8", "precision": Precision.FP16, "io": Precision.FP8}, "io is fp8, expected fp32, fp16, bf16"),
        ({"net": "resnet8", "io": Precision.FP16}, "io is fp16, but an FP32 file keeps"),
        ({"net": "resnet8", "seed": -1}, "-1"),
    ],
)
def test_wrong_options(options, match):
    with pytest.raises(ConfigError, match=match):
        ExportOptions(**options)


def test_unusable_checkpoints(tmp_path, checkpoint):
    with pytest.raises(ArtifactError, match="no such file"):
        export_onnx(ExportOptions(checkpoint=tmp_path / "absent.safetensors"))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(checkpoint.read_bytes()[:5000])
    (tmp_path / "cut.safetensors.json").write_bytes(checkpoint.with_name("small.safetensors.json").read_bytes())
    with pytest.raises(ArtifactMismatchError, match="cut off"):
        export_onnx(ExportOptions(checkpoint=cut))
