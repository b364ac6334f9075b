"""Ensembles, ten-crop and the fully convolutional form as ONNX: made by surgery, so no test here exports twice."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from resnet_deploy.core.artifacts import NetRecord, read_manifest
from resnet_deploy.core.errors import ConfigError, ExportError
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.export import forms
from resnet_deploy.export.ensemble import ensemble_onnx
from resnet_deploy.export.forms import ExportForm, LoadedNet, make_exportable
from resnet_deploy.export.fully_convolutional import fully_convolutional_onnx
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.export.parity import parity_with_fp32, parity_with_torch
from resnet_deploy.export.ten_crop import ten_crop_onnx
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.float16 import fp16_from_fp32
from resnet_deploy.graph.session import open_session
from resnet_deploy.nets.averaging import Ensemble, TenCrop
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net, save_checkpoint
from resnet_deploy.nets.fully_convolutional import fully_convolutional
from resnet_deploy.quant.placement import find_placement
from tests.reference.small_networks import copy_of, resnet8_onnx
from tests.reference.ten_crops import plain_mean_softmax

SPEC = find_net("resnet8")
OWN = SPEC.preprocess


def _sized(height: int, width: int) -> Preprocess:
    return Preprocess(height_px=height, width_px=width, resize_shorter_px=None, mean=OWN.mean, std=OWN.std)


def _pair() -> tuple[list[onnx.ModelProto], list[torch.nn.Module]]:
    """resnet8 and the same net with another, sharper classifier."""
    net, model = fresh_net(SPEC), resnet8_onnx()
    other, sharper = copy.deepcopy(net), copy_of(model)
    with torch.no_grad():
        other.fc.weight.copy_(4 * net.fc.weight.flip(0))
    weight = next(t for t in sharper.graph.initializer if t.name == "fc.weight")
    values = np.ascontiguousarray(4 * numpy_helper.to_array(weight)[::-1])
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return [model, sharper], [net, other]


def _run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return open_session(model).run(["logits"], {"images": images})[0]


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def test_an_ensemble_is_the_mean_of_its_members_softmax() -> None:
    models, nets = _pair()
    merged = ensemble_onnx(models)
    check_model(merged, name="ensemble")
    assert parity_with_torch(merged, Ensemble(nets), OWN, name="ensemble")
    images = _noise(5, 3, 32, 32)
    votes = [_run(model, images).tolist() for model in models]
    wanted = np.log([plain_mean_softmax(list(pair)) for pair in zip(*votes, strict=True)])
    # the same float32 logits; logarithm and exponential cost a few roundoffs of numbers below 64
    np.testing.assert_allclose(_run(merged, images), wanted, rtol=0, atol=8 * 64 * 2.0**-24)
    by_logits = np.mean(votes, axis=0)
    assert np.abs(_run(merged, images) - (by_logits - by_logits.max())).max() > 0.1


def test_an_ensemble_of_one_is_that_graph() -> None:
    model = resnet8_onnx()
    assert ensemble_onnx([model]) is model


def test_wrong_averages_fail_the_parity_check() -> None:
    """Planted faults: a mean of logits; one member counted twice; a ten-crop without mirror images."""
    models, nets = _pair()

    class MeanOfLogits(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return ((nets[0](x) + nets[1](x)) / 2).log_softmax(1)

    class CropsOnly(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            crops = [x[:, :, a : a + 32, b : b + 32] for a, b in ((0, 0), (0, 5), (5, 0), (5, 5), (2, 2))]
            return torch.stack([nets[0](crop).softmax(1) for crop in crops]).mean(0).log()

    merged = ensemble_onnx(models)
    for wrong in (MeanOfLogits(), Ensemble([nets[0], nets[0], nets[1]])):
        with pytest.raises(ExportError, match="disagree"):
            parity_with_torch(merged, wrong, OWN, name="m")
    with pytest.raises(ExportError, match="disagree"):
        parity_with_torch(ten_crop_onnx(models[0], OWN, 37), CropsOnly(), _sized(37, 37), name="m")


def test_ten_crop_and_ten_crop_of_an_ensemble() -> None:
    models, nets = _pair()
    for model, net in ((models[0], nets[0]), (ensemble_onnx(models), Ensemble(nets))):
        cropped = ten_crop_onnx(model, OWN, 37)
        check_model(cropped, name="ten-crop")
        assert parity_with_torch(cropped, TenCrop(net, height_px=32, width_px=32), _sized(37, 37), name="t")
        assert _run(cropped, _noise(1, 3, 37, 37)).shape == (1, 10)


def test_fully_convolutional_at_three_sizes() -> None:
    models, nets = _pair()
    dense = fully_convolutional(nets[0], height_px=32, width_px=32)
    model = fully_convolutional_onnx(models[0], window=dense.window)
    check_model(model, name="dense")
    for size in ((32, 32), (40, 33), (51, 64)):
        assert parity_with_torch(model, dense, _sized(*size), name="dense")
    # planted fault: windows of another size
    wrong = fully_convolutional_onnx(models[0], window=(7, 7))
    with pytest.raises(ExportError, match="disagree"):
        parity_with_torch(wrong, dense, _sized(40, 33), name="dense")
    with pytest.raises(ExportError, match="0 Flatten nodes"):
        fully_convolutional_onnx(model, window=(8, 8))


def test_fp16_averages_in_fp32() -> None:
    models, _ = _pair()
    merged = ensemble_onnx(models)
    half = fp16_from_fp32(merged)
    check_model(half, name="half")
    assert parity_with_fp32(half, merged, OWN, name="half")
    types = {v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(half).graph.value_info}
    assert types["votes"] == onnx.TensorProto.FLOAT16 and types["members.1.conv1"] == onnx.TensorProto.FLOAT16
    averaging = ("logsoftmax", "reducemax", "exp", "reducemean", "log", "sum")
    assert {types[f"votes.{name}"] for name in averaging} == {onnx.TensorProto.FLOAT}
    # 200 more for one class: the others' probabilities underflow even in FP32, their logarithms must be numbers
    for model in (half, merged):
        for member in (0, 1):
            bias = next(t for t in model.graph.initializer if t.name == f"members.{member}.fc.bias")
            values = numpy_helper.to_array(bias).copy()
            values[0] += 200
            bias.CopyFrom(numpy_helper.from_array(values, bias.name))
        logits = _run(model, _noise(2, 3, 32, 32))
        assert np.isfinite(logits).all() and logits.min() < -150


def test_the_average_gets_no_quantisation_and_no_refusal() -> None:
    models, _ = _pair()
    single = find_placement(models[0])
    for model, times in ((ensemble_onnx(models), 2), (ten_crop_onnx(models[0], OWN, 37), 1)):
        placement = find_placement(model)
        assert len(placement.weights) == times * len(single.weights) and not placement.refusals
        assert all("votes" not in read.node for read in placement.reads)


def _loaded(net: torch.nn.Module, name: str, preprocess: Preprocess = OWN) -> LoadedNet:
    record = NetRecord(name="resnet8", num_classes=10)
    return LoadedNet(net=net, source=name, record=record, preprocess=preprocess, manifest=None, weights="trained")


def test_members_that_want_different_pixels_are_refused_by_name() -> None:
    net = fresh_net(SPEC)
    with pytest.raises(ConfigError, match=r"a\.st and b\.st.*\n.*shorter side 32.*\n.*shorter side None"):
        make_exportable([_loaded(net, "a.st"), _loaded(net, "b.st", _sized(32, 32))], ExportForm.CLASSIFIER)


def test_resize_smaller_than_a_crop_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(forms, "onnx_from_torch", lambda net, preprocess: resnet8_onnx())
    with pytest.raises(ConfigError, match="--resize is 20"):
        make_exportable([_loaded(fresh_net(SPEC), "a.st")], ExportForm.TEN_CROP, resize_px=20)


def _save(path: Path, net: torch.nn.Module) -> Path:
    given = {"stage": "train", "inputs": {}, "options": {}, "details": {}, "labels": tuple("abcdefghij")}
    save_checkpoint(path, net, spec=SPEC, preprocess=OWN, **given)
    return path


def test_an_ensemble_file_lists_its_members_and_is_made_again_when_one_changes(tmp_path, monkeypatch) -> None:
    models, nets = _pair()

    def traced(net: torch.nn.Module, preprocess: Preprocess) -> onnx.ModelProto:
        """Tracing takes seconds and is tested elsewhere: the graph of the net with this classifier."""
        return next(m for m, n in zip(models, nets, strict=True) if torch.equal(n.fc.weight, net.fc.weight))

    monkeypatch.setattr(forms, "onnx_from_torch", traced)
    members = tuple(_save(tmp_path / f"m{i}.safetensors", net) for i, net in enumerate(nets))
    options = ExportOptions(ensemble=members, precision=Precision.FP16)
    result = export_onnx(options)
    assert result.file.name == "m0.ensemble.fp16.onnx" and result.net == "resnet8+resnet8" and result.parity
    fp32 = read_manifest(result.file.with_name("m0.ensemble.fp32.onnx"), kind="onnx")
    assert [(r.role, r.file) for r in fp32.inputs] == [("member 1", members[0].name), ("member 2", members[1].name)]
    assert [r.sha256 for r in fp32.inputs] == [read_manifest(file).sha256 for file in members]
    assert fp32.labels == tuple("abcdefghij") and fp32.preprocess == OWN and fp32.details["members"] == ["resnet8"] * 2
    assert export_onnx(options).skipped
    _save(members[1], nets[0])
    assert not export_onnx(options).skipped


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"checkpoint": Path("a.safetensors"), "form": ExportForm.TEN_CROP}, "a.ten-crop.fp32.onnx"),
        (
            {"ensemble": (Path("x/a.safetensors"),), "form": ExportForm.FULLY_CONVOLUTIONAL},
            "x/a.ensemble.fully-convolutional.fp32.onnx",
        ),
        ({"checkpoint": Path("a.safetensors")}, "a.fp32.onnx"),
    ],
)
def test_names_of_files(options: dict, name: str) -> None:
    assert ExportOptions(**options).file() == Path(name)


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.st and b\.st"):
        ExportOptions(checkpoint=Path("a.st"), ensemble=(Path("b.st"),))
    with pytest.raises(ConfigError, match="--resize is for ten-crop"):
        ExportOptions(checkpoint=Path("a.st"), resize_px=40)
