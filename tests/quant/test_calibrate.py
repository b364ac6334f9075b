from __future__ import annotations

import json

import pytest

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, CalibrationError, ConfigError, DataError
from resnet_deploy.core.specs import Precision
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.quant.table import read_table
from tests.reference.small_networks import resnet8_onnx

PREPROCESS = find_net("resnet8").preprocess


def test_chain_to_int8(exported, tmp_path):
    table_file = tmp_path / "net.calib.json"
    options = CalibrateOptions(onnx=exported, data="noise", num_images=8, out=table_file)
    result = calibrate(options)
    assert (result.num_images, result.num_distinct, result.num_duplicates, result.skipped) == (8, 8, 0, False)
    first = table_file.read_bytes()
    assert calibrate(options).skipped
    again = calibrate(
        CalibrateOptions(onnx=exported, data="noise", num_images=8, out=table_file, force=True, num_threads=1)
    )
    assert not again.skipped and table_file.read_bytes() == first
    assert str(exported.parent).encode() not in first
    assert read_manifest(table_file, kind="calibration").input_sha256("onnx") == read_manifest(exported).sha256
    table = read_table(table_file)
    assert set(table.tensors) == set(find_placement(resnet8_onnx()).tensors)
    assert table.tensors["images"].num_values == 8 * 3 * 32 * 32

    quantize = QuantizeOptions(onnx=exported, table=table_file, out=tmp_path / "net.int8.onnx", exclude=("conv1",))
    made = quantize_onnx(quantize)
    assert made.num_layers == 7 and [r.node for r in made.refusals] == ["conv1"]
    manifest = read_manifest(made.file, kind="onnx")
    assert manifest.precision is Precision.INT8 and manifest.preprocess == PREPROCESS
    assert manifest.details["refusals"][0]["reason"] == "excluded by name"
    bytes_before = made.file.read_bytes()
    repeated = quantize_onnx(quantize)
    assert repeated.skipped and repeated.refusals == made.refusals
    assert quantize_onnx(QuantizeOptions(onnx=exported, table=table_file, out=made.file)).num_layers == 8
    quantize_onnx(quantize)
    assert made.file.read_bytes() == bytes_before


def test_every_method_gives_another_table(exported, tmp_path):
    tables = {
        method: calibrate(
            CalibrateOptions(onnx=exported, data="noise", num_images=4, method=method, out=tmp_path / f"{method}.json")
        ).file.read_bytes()
        for method in ("entropy", "max", "mse")
    }
    assert len(set(tables.values())) == 3


def test_table_of_another_network_is_refused(exported, tmp_path):
    table_file = calibrate(CalibrateOptions(onnx=exported, data="noise", num_images=2, out=tmp_path / "t.json")).file
    other = export_onnx(ExportOptions(net="resnet8", seed=9, out=tmp_path / "other.fp32.onnx")).file
    with pytest.raises(ArtifactMismatchError, match="was made for the network with SHA-256"):
        quantize_onnx(QuantizeOptions(onnx=other, table=table_file))


def test_unusable_tables(exported, tmp_path):
    file = tmp_path / "t.calib.json"
    with pytest.raises(ArtifactError, match="no such calibration table"):
        quantize_onnx(QuantizeOptions(onnx=exported, table=file))
    good = calibrate(CalibrateOptions(onnx=exported, data="noise", num_images=2, out=tmp_path / "g.json")).file
    text = good.read_text()
    for bad, match in (
        (text[: len(text) // 2], "not a calibration table"),
        ("[]", "schema is 'list'"),
        (text.replace("calibration/1", "calibration/9"), "calibration/9"),
        (json.dumps({**json.loads(text), "tensors": {"images": {"amax": -1}}}), "tensors"),
    ):
        file.write_text(bad)
        with pytest.raises(ArtifactError, match=match):
            read_table(file)
    table = json.loads(text)
    del table["tensors"]["layer3.0.relu"]
    file.write_text(json.dumps(table))
    with pytest.raises(CalibrationError, match=r"no tensor 'layer3\.0\.relu'"):
        quantize_onnx(QuantizeOptions(onnx=exported, table=file))


def test_always_zero_tensor_gets_scale_one_and_a_note(tmp_path):
    import torch

    from resnet_deploy.nets.checkpoint import fresh_net, save_checkpoint

    spec = find_net("resnet8")
    net = fresh_net(spec)
    with torch.no_grad():
        net.layer2[0].bn1.bias.fill_(-1e4)  # the ReLU behind it is never reached
    path = tmp_path / "dead.safetensors"
    save_checkpoint(
        path, net, spec=spec, preprocess=PREPROCESS, labels=tuple("0123456789"), stage="train", inputs={},
        options={}, details={},
    )  # fmt: skip
    exported = export_onnx(ExportOptions(checkpoint=path)).file
    result = calibrate(CalibrateOptions(onnx=exported, data="noise", num_images=2))
    assert list(result.notes) == ["layer2.0.relu"] and "always zero" in result.notes["layer2.0.relu"]
    assert read_table(result.file).tensors["layer2.0.relu"].scale == 1.0
    quantize_onnx(QuantizeOptions(onnx=exported))


def test_held_out_images_are_not_taken_by_default(exported, tmp_path):
    from PIL import Image

    for split in ("test", "val"):
        (tmp_path / "data" / split / "cat").mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "data" / split / "cat" / "1.png")
    with pytest.raises(DataError, match="no split 'train'"):
        calibrate(CalibrateOptions(onnx=exported, data=str(tmp_path / "data"), out=tmp_path / "t.json"))


def test_only_the_fp32_file_is_taken(exported, tmp_path):
    fp16 = export_onnx(ExportOptions(net="resnet8", precision=Precision.FP16, out=tmp_path / "n.fp16.onnx")).file
    with pytest.raises(ArtifactError, match="is fp16, calibration needs the FP32 file"):
        calibrate(CalibrateOptions(onnx=fp16, data="noise"))
    with pytest.raises(ArtifactError, match="is fp16, quantisation starts from the FP32 file"):
        quantize_onnx(QuantizeOptions(onnx=fp16))


@pytest.mark.parametrize(
    ("options", "match"), [({"num_images": 0}, "num_images is 0"), ({"method": "best"}, "'best'"), ({"seed": -1}, "-1")]
)
def test_wrong_options(options, match):
    with pytest.raises(ConfigError, match=match):
        CalibrateOptions(onnx="a.onnx", data="noise", **options)


def test_wrong_float_precision():
    with pytest.raises(ConfigError, match="int8"):
        QuantizeOptions(onnx="a.onnx", float_precision=Precision.INT8)


@pytest.fixture
def with_a_bad_image(tmp_path, exported):
    """Eight class-folder images of which one is cut off, and a network to calibrate on them."""
    from PIL import Image

    for i in range(8):
        folder = tmp_path / "images" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 32), 60 + i).save(folder / f"{i}.png")
    broken = tmp_path / "images" / "b" / "5.png"
    broken.write_bytes(broken.read_bytes()[:80])
    return {"onnx": exported, "data": str(tmp_path / "images"), "out": tmp_path / "some.calib.json"}


def test_a_corrupt_image_ends_calibration_unless_it_may_be_skipped(with_a_bad_image):
    with pytest.raises(DataError, match=r"images/b/5\.png: can not be decoded"):
        calibrate(CalibrateOptions(**with_a_bad_image))
    result = calibrate(CalibrateOptions(**with_a_bad_image, skip_bad=1))
    assert result.num_images == 7 and not result.skipped
    (bad,) = result.bad_images
    assert "images/b/5.png: can not be decoded" in bad
    again = calibrate(CalibrateOptions(**with_a_bad_image, skip_bad=1))
    assert again.skipped and again.bad_images == result.bad_images
    with pytest.raises(DataError):  # the table that left one out is not what was asked for here
        calibrate(CalibrateOptions(**with_a_bad_image))
    with pytest.raises(ConfigError, match="skip_bad -1"):
        CalibrateOptions(**with_a_bad_image, skip_bad=-1)


def test_the_table_is_that_of_the_good_images_alone(with_a_bad_image, tmp_path):
    from pathlib import Path

    first = read_table(calibrate(CalibrateOptions(**with_a_bad_image, skip_bad=1)).file)
    (Path(with_a_bad_image["data"]) / "b" / "5.png").unlink()
    alone = calibrate(CalibrateOptions(**with_a_bad_image | {"out": tmp_path / "alone.calib.json"})).file
    assert read_table(alone) == first
