from __future__ import annotations

import struct

import numpy as np
import pytest

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, CalibrationError, ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.export.foreign_onnx import ForeignOnnxOptions, import_onnx
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.quant.table import read_table
from resnet_deploy.quant.trt_cache import (
    UNPROVEN,
    is_calibration_cache,
    read_calibration_cache,
    read_scales,
    write_calibration_cache,
)
from tests.reference.foreign_networks import foreign_bytes
from tests.reference.small_networks import bottleneck_onnx, make_table, quantize_model, resnet8_onnx

SHA256 = "a" * 64


def test_the_digits_are_those_of_nvidias_example(tmp_path):
    """Oracle: 3c92aa10 is 0.0179033577, NVIDIA at https://forums.developer.nvidia.com/t/109781."""
    model = resnet8_onnx()
    amax = float(np.float32(0.0179033577) * np.float32(127))
    write_calibration_cache(make_table(model, amax), model, tmp_path / "c")
    lines = (tmp_path / "c").read_text().splitlines()
    assert lines[0] == "TRT-8601-EntropyCalibration2"
    digits = int(lines[1].removeprefix("images: "), 16)
    assert abs(digits - 0x3C92AA10) <= 1  # the product and the quotient by 127 round once each
    read_through_a_pair = {read.tensor for read in find_placement(model).reads}
    assert {line.split(":")[0] for line in lines[1:]} == read_through_a_pair and len(lines) == 1 + len(
        read_through_a_pair
    )


def test_a_round_trip_gives_the_same_int8_network(tmp_path):
    model = bottleneck_onnx()
    table = make_table(model, 3.3)
    write_calibration_cache(table, model, tmp_path / "c", trt_version="10.9.0")
    assert (tmp_path / "c").read_text().startswith("TRT-100900-")
    read = read_calibration_cache(tmp_path / "c", model, network_sha256=SHA256)
    assert {name: s.scale for name, s in read.tensors.items()} == {n: s.scale for n, s in table.tensors.items()}
    assert read.network_sha256 == SHA256 and read.num_images == 0
    graphs = [quantize_model(model, t, float_precision=Precision.FP32)[0].SerializeToString() for t in (table, read)]
    assert graphs[0] == graphs[1]


def test_a_max_pools_input_has_its_outputs_scale(tmp_path):
    model = bottleneck_onnx()
    write_calibration_cache(make_table(model), model, tmp_path / "c")
    scales = dict(line.split(": ") for line in (tmp_path / "c").read_text().splitlines()[1:])
    pool = next(node for node in model.graph.node if node.op_type == "MaxPool")
    assert scales[pool.input[0]] == scales[pool.output[0]]


def test_a_cache_for_other_tensors_lists_the_missing_ones(tmp_path):
    small, large = resnet8_onnx(), bottleneck_onnx()
    write_calibration_cache(make_table(small), small, tmp_path / "c")
    missing = [name for name in find_placement(large).tensors if name not in find_placement(small).tensors]
    with pytest.raises(CalibrationError) as caught:
        read_calibration_cache(tmp_path / "c", large, network_sha256=SHA256)
    assert f"not {len(missing)} of the" in str(caught.value) and all(n in str(caught.value) for n in missing[:10])


def test_names_with_colons_missing_zeros_and_other_tensors_are_read(tmp_path):
    model = resnet8_onnx()
    names = find_placement(model).tensors
    tiny = 1.17549435e-38  # 00800000
    lines = ["TRT-8501-EntropyCalibration2", "(Unnamed Layer* 3) [Conv]: out: 3c010a14"]
    lines += [f"{name}: {struct.pack('>f', tiny).hex().lstrip('0')}" for name in names]
    (tmp_path / "c").write_text("\n".join(lines) + "\n")
    table = read_calibration_cache(tmp_path / "c", model, network_sha256=SHA256)
    assert set(table.tensors) == set(names)
    assert {s.scale for s in table.tensors.values()} == {float(np.float32(tiny))}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "line 1 is 'nothing'"),
        ("{}", r"line 1 is '\{\}'"),
        ("TRT-8501-EntropyCalibration2\nimages 3c010a14", "line 2: got 'images 3c010a14'"),
        ("TRT-8501-EntropyCalibration2\n\nimages: 3c010a145", "line 3: got"),
        ("TRT-8501-EntropyCalibration2\nimages: 7f800000", "line 2: the scale of 'images' is inf"),
        ("TRT-8501-EntropyCalibration2\nimages: bc010a14", "is -0.0078"),
        ("TRT-8501-EntropyCalibration2\nimages: 0", "is 0.0"),
    ],
)
def test_what_is_no_cache_is_refused_with_the_line(tmp_path, text, match):
    (tmp_path / "c").write_text(text)
    with pytest.raises(ArtifactError, match=match):
        read_calibration_cache(tmp_path / "c", resnet8_onnx(), network_sha256=SHA256)


def test_a_missing_cache_and_a_wrong_version_are_refused(tmp_path):
    model = resnet8_onnx()
    with pytest.raises(ArtifactError, match="no such calibration cache"):
        read_calibration_cache(tmp_path / "c", model, network_sha256=SHA256)
    with pytest.raises(ConfigError, match="'8.x'"):
        write_calibration_cache(make_table(model), model, tmp_path / "c", trt_version="8.x")


def test_a_cache_is_told_from_a_table(tmp_path):
    model = resnet8_onnx()
    write_calibration_cache(make_table(model), model, tmp_path / "c")
    (tmp_path / "t").write_text("{}")
    assert is_calibration_cache(tmp_path / "c")
    assert not is_calibration_cache(tmp_path / "t") and not is_calibration_cache(tmp_path / "absent")
    with pytest.raises(ArtifactError, match="is a TensorRT calibration cache, not a table"):
        read_table(tmp_path / "c")


@pytest.fixture
def cache(calibrated):
    """The cache of the calibrated network, beside it."""
    file = calibrated.with_name("net.cache")
    write_calibration_cache(read_table(calibrated.with_name("net.calib.json")), read_onnx(calibrated), file)
    return file


def test_quantize_writes_the_same_file_from_a_cache_and_says_that_it_is_unproven(calibrated, cache):
    of_table = quantize_onnx(QuantizeOptions(onnx=calibrated))
    of_cache = quantize_onnx(QuantizeOptions(onnx=calibrated, table=cache, out=calibrated.with_name("c.int8.onnx")))
    assert of_cache.file.read_bytes() == of_table.file.read_bytes()
    assert (of_table.warnings, of_cache.warnings) == ((), (UNPROVEN,))
    details = read_manifest(of_cache.file).details
    assert details["warnings"] == [UNPROVEN] and details["method"] == "TensorRT cache, EntropyCalibration2"
    again = quantize_onnx(QuantizeOptions(onnx=calibrated, table=cache, out=of_cache.file))
    assert again.skipped and again.warnings == (UNPROVEN,)


def test_another_scale_in_the_cache_gives_another_file(calibrated, cache):
    first = quantize_onnx(QuantizeOptions(onnx=calibrated, table=cache)).file.read_bytes()
    lines = cache.read_text().splitlines()
    name, _ = lines[2].split(": ")
    lines[2] = f"{name}: {struct.pack('>f', 0.5).hex()}"
    cache.write_text("\n".join(lines) + "\n")
    again = quantize_onnx(QuantizeOptions(onnx=calibrated, table=cache))
    assert not again.skipped and again.file.read_bytes() != first


def test_fp8_is_refused_as_a_cache_does_not_say_how_large_values_are(calibrated, cache):
    with pytest.raises(CalibrationError, match="FP8 needs the largest value of every tensor"):
        quantize_onnx(QuantizeOptions(onnx=calibrated, table=cache, precision=Precision.FP8))
    assert not calibrated.with_name("net.fp8.onnx").exists()


def test_a_cache_of_an_imported_networks_original_may_call_the_input_as_it_did(tmp_path):
    (tmp_path / "foreign.onnx").write_bytes(foreign_bytes())
    options = {"size_px": 32, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    done = import_onnx(ForeignOnnxOptions(file=tmp_path / "foreign.onnx", out=tmp_path / "net.fp32.onnx", **options))
    original, model = done.normalised.input, read_onnx(done.file)
    assert original != "images"
    write_calibration_cache(make_table(model), model, tmp_path / "c")
    (tmp_path / "c").write_text((tmp_path / "c").read_text().replace("\nimages:", f"\n{original}:"))
    table = read_scales(tmp_path / "c", done.file, read_manifest(done.file))
    assert table.scale("images") == make_table(model).scale("images")
    (tmp_path / "c").write_text((tmp_path / "c").read_text().replace(f"\n{original}:", "\nanother:"))
    with pytest.raises(CalibrationError, match=r"not 1 of the .*: images"):
        read_scales(tmp_path / "c", done.file, read_manifest(done.file))
