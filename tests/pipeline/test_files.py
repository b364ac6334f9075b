import json

import pytest

from resnet_deploy.core.artifacts import manifest_path, read_manifest
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from resnet_deploy.engine.availability import BackendStatus
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.pipeline.artifacts import NetFiles, make_files
from resnet_deploy.pipeline.many import make_untrained
from resnet_deploy.pipeline.plan import BuildPlan
from resnet_deploy.pipeline.targets import bench_targets


def status(name, device):
    return BackendStatus(name=name, available=device is not None, version="1", device=device, reason="", install="")


@pytest.fixture
def files(tmp_path):
    onnx = {precision: tmp_path / f"a.{precision}.onnx" for precision in Precision}
    engines = {precision: tmp_path / f"a.{precision}.engine" for precision in Precision}
    products = dict.fromkeys(Precision, "tensorrt-rtx")
    return NetFiles(checkpoint=tmp_path / "a.safetensors", onnx=onnx, engines=engines, products=products, stages=())


def chosen(files, *statuses):
    return [(target.backend, target.file.name) for target in bench_targets(files, statuses)]


def test_a_processor_is_not_asked_for_what_it_would_emulate(files):
    rows = chosen(files, status("torch", "cpu"), status("onnxruntime", "cpu"), status("openvino", "cpu"))
    assert ("onnxruntime", "a.fp32.onnx") in rows and ("openvino", "a.int8.onnx") in rows
    assert ("onnxruntime", "a.int8.onnx") not in rows and ("openvino", "a.fp16.onnx") not in rows


def test_a_gpu_is_asked_for_all_and_engines_are_always_listed(files):
    rows = chosen(files, status("onnxruntime", "NVIDIA L4"), status("openvino", None))
    assert [name for backend, name in rows if backend == "onnxruntime"] == [f"a.{p}.onnx" for p in Precision]
    assert not [row for row in rows if row[0] == "openvino"]
    assert len([name for _, name in rows if name.endswith(".engine")]) == len(Precision)


def test_an_engine_that_can_not_be_built_is_a_row_not_an_error(tmp_path):
    """TensorRT needs a GPU (or is not installed): everything else is made all the same."""
    made = make_files(find_net("resnet8"), folder=tmp_path, build=BuildPlan(product="tensorrt"))
    if made.engines:
        pytest.skip("tensorrt and a GPU are here")
    assert set(made.onnx) == set(MAIN_PRECISIONS)
    rows = [row for row in made.stages if row.stage == "build"]
    assert [row.state for row in rows] == ["not run"] * 3 and all("tensorrt" in row.note.lower() for row in rows)


def test_untrained_weights_are_called_so_in_every_file(tmp_path):
    made = make_files(find_net("resnet8"), folder=tmp_path, precisions=(Precision.INT8,))
    for file in (made.checkpoint, *made.onnx.values()):
        assert read_manifest(file).details["weights"] == "random, seed 0"
    again = make_files(find_net("resnet8"), folder=tmp_path, precisions=(Precision.INT8,))
    assert {row.state for row in again.stages} == {"up to date"}


def test_processes_make_what_one_process_makes(tmp_path):
    specs = [find_net("resnet8"), find_net("resnet14")]
    one = make_untrained(specs, folder=tmp_path / "one", build=BuildPlan(product="tensorrt"))
    two = make_untrained(specs, folder=tmp_path / "two", build=BuildPlan(product="tensorrt"), num_processes=2)
    for a, b in zip(one, two, strict=True):
        assert a.checkpoint.name == b.checkpoint.name
        for precision in MAIN_PRECISIONS:
            assert a.onnx[precision].read_bytes() == b.onnx[precision].read_bytes()
            assert json.loads(manifest_path(b.onnx[precision]).read_text())["file"] == b.onnx[precision].name


def test_an_error_in_one_process_is_the_callers(tmp_path):
    from resnet_deploy.core.errors import ArtifactError

    (tmp_path / "resnet14.fp32.onnx").mkdir()
    with pytest.raises(ArtifactError, match=r"resnet14\.fp32\.onnx"):
        make_untrained([find_net("resnet8"), find_net("resnet14")], folder=tmp_path, num_processes=2)


def test_bf16_and_fp8_are_made_where_they_are_asked_for(tmp_path):
    asked = (Precision.BF16, Precision.FP8)
    made = make_files(find_net("resnet8"), folder=tmp_path, precisions=asked, build=BuildPlan(product="tensorrt"))
    assert {str(precision): file.name for precision, file in made.onnx.items()} == {
        "bf16": "resnet8.bf16.onnx",
        "fp8": "resnet8.fp8.onnx",
    }
    assert tuple(read_manifest(file).precision for file in made.onnx.values()) == asked
