"""Faults are planted in one layer; the first layer at fault must be that one, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import NetRecord, read_manifest, write_manifest
from resnet_deploy.core.errors import ConfigError, GraphError, MissingDependencyError
from resnet_deploy.core.specs import Precision, UnsignedRelu
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.float16 import bf16_from_fp32, fp16_from_fp32
from resnet_deploy.pipeline.faults.divergence import DivergeOptions, diverge
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.verify.faults.divergence_result import Divergence, read_divergence
from tests.reference.faulty_networks import plant

RUNNER = CliRunner()


def _diverge(chain, candidate="net.int8.onnx", reference="net.fp32.onnx", **others) -> Divergence:
    given = {"data": str(chain / "images"), "num_images": 6, "num_threads": 1}
    return diverge(DivergeOptions(reference=chain / reference, candidate=chain / candidate, **(given | others)))


def _other_float(chain, convert, precision: Precision) -> str:
    file, manifest = chain / f"net.{precision}.onnx", read_manifest(chain / "net.fp32.onnx")
    write_onnx(convert(read_onnx(chain / "net.fp32.onnx")), file)
    write_manifest(file, kind="onnx", stage="export", parent=manifest, precision=precision)
    return file.name


def test_a_sound_int8_file_has_no_layer_at_fault_and_its_error_accumulates(chain) -> None:
    found = _diverge(chain)
    assert found and found.first is None and found.uncompared == ()
    assert [layer.layer for layer in found.layers][:4] == ["conv1", "maxpool", "layer1.0.conv1", "layer1.0.conv2"]
    assert {layer.block for layer in found.layers} >= {"stem", "layer1.0", "layer1.1", "layer3.0", "fc"}
    convolutions = [layer for layer in found.layers if layer.op_type == "Conv"]
    assert all(layer.is_quantized and layer.introduced.sqnr_db > 20 for layer in convolutions)
    assert all(abs(layer.explained_db - layer.introduced.sqnr_db) < 5 for layer in convolutions)
    later = [layer for layer in convolutions if layer.block == "layer3.0"]
    assert all(layer.accumulated.sqnr_db < layer.introduced.sqnr_db for layer in later)


@pytest.mark.parametrize(
    ("convert", "precision", "least_db"), [(fp16_from_fp32, Precision.FP16, 55), (bf16_from_fp32, Precision.BF16, 38)]
)
def test_sound_files_of_sixteen_bits_stay_well_over_their_limit(chain, convert, precision, least_db) -> None:
    found = _diverge(chain, _other_float(chain, convert, precision))
    assert found and min(layer.introduced.sqnr_db for layer in found.layers) > least_db > found.limit_db


def test_a_weight_scale_times_four_is_found_though_all_layers_behind_it_are_off(chain) -> None:
    plant(chain / "net.int8.onnx", chain / "bad.onnx", layer2__0__conv2__weight__scale=lambda s: 4 * s)
    found = _diverge(chain, "bad.onnx")
    assert [layer.layer for layer in found.at_fault] == [found.first] == ["layer2.0.conv2"]
    bad = found.at_fault[0]
    assert bad.introduced.gain == pytest.approx(4, rel=0.2) and bad.introduced.differing_share > 0.5
    place = found.layers.index(bad)
    assert found.layers[place + 3].accumulated.sqnr_db < found.limit_db  # inherited, and not held against it
    assert all(layer.introduced.sqnr_db > 12 for layer in found.layers[place + 1 :])


def test_an_activation_scale_times_four_is_found_by_what_eight_bits_could_do(chain) -> None:
    plant(chain / "net.int8.onnx", chain / "bad.onnx", layer3__0__relu__scale=lambda s: 4 * s)
    found = _diverge(chain, "bad.onnx")
    assert found.first == "layer3.0.conv2" and len(found.at_fault) == 1
    assert "worse than its bits allow" in found.at_fault[0].reason
    assert found.at_fault[0].introduced.sqnr_db > found.limit_db  # the limit alone would let it pass
    on_noise = _diverge(chain, "bad.onnx", data=None, force=True)
    assert any("noise was fed" in note for note in on_noise.notes)
    assert all(layer.explained_db is None for layer in on_noise.layers)


def test_perturbed_weights_of_an_fp32_block_are_found_and_no_other_layer(chain) -> None:
    def perturbed(weight: np.ndarray) -> np.ndarray:
        return weight + 0.02 * weight.std() * np.random.default_rng(0).standard_normal(weight.shape)

    names = {f"layer1__1__conv{i}__weight": perturbed for i in (1, 2, 3)}
    plant(chain / "net.fp32.onnx", chain / "bad.onnx", **names)
    found = _diverge(chain, "bad.onnx", data=None)
    assert [layer.layer for layer in found.at_fault] == ["layer1.1.conv1", "layer1.1.conv2", "layer1.1.conv3"]
    assert all(layer.introduced.sqnr_db > 110 for layer in found.layers if not layer.is_divergent)
    assert min(layer.accumulated.sqnr_db for layer in found.layers) < 60


def test_nan_is_found_where_it_arises(chain) -> None:
    plant(chain / "net.fp32.onnx", chain / "bad.onnx", layer2__0__conv1__bias=lambda b: np.full_like(b, np.nan))
    found = _diverge(chain, "bad.onnx")
    # a ReLU may or may not hand NaN on; what reads it must not be blamed
    assert found.first == "layer2.0.conv1" and len(found.at_fault) == 1
    json.dumps([layer.introduced.sqnr_db for layer in found.layers], allow_nan=False)


def test_by_block_finds_the_block_then_the_layer(chain) -> None:
    plant(chain / "net.int8.onnx", chain / "bad.onnx", layer2__0__conv2__weight__scale=lambda s: 4 * s)
    found = _diverge(chain, "bad.onnx", by="block")
    assert found.first == "layer2.0.conv2"
    assert {layer.layer for layer in found.layers if layer.block == "layer2.0"} >= {"layer2.0.conv1", "layer2.0.add"}
    assert [layer.layer for layer in found.layers if layer.block == "layer1.0"] == ["layer1.0.add"]


def test_unsigned_relu_outputs_are_shifted_back_before_they_are_compared(chain) -> None:
    options = QuantizeOptions(onnx=chain / "net.fp32.onnx", unsigned_relu=UnsignedRelu.ALL, out=chain / "u.onnx")
    assert quantize_onnx(options).unsigned.tensors
    found = _diverge(chain, "u.onnx")
    assert [(r.layer, r.introduced.sqnr_db, r.reason) for r in found.at_fault] == []
    assert len(found.layers) > 8 and found.uncompared
    assert all(layer.introduced.sqnr_db > 12 for layer in found.layers)
    plant(chain / "u.onnx", chain / "bad.onnx", layer2__0__conv2__weight__scale__wide=lambda s: 4 * s)
    assert _diverge(chain, "bad.onnx").first == "layer2.0.conv2"


def test_two_backends_round_inherited_differences_up_but_add_little_themselves(chain) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    found = _diverge(chain, "net.int8.onnx", "net.int8.onnx", candidate_backend="openvino")
    assert found and found.limit_db == 20 and found.candidate.backend == "openvino"
    assert min(layer.introduced.sqnr_db for layer in found.layers) > 45 > found.output.sqnr_db


def test_an_outcome_is_written_and_read_back_until_something_changes(chain) -> None:
    found = _diverge(chain)
    assert found.file == str(chain / "net.int8.onnx.divergence.json")
    again = _diverge(chain)
    assert again.skipped and again.layers == found.layers
    assert read_divergence(found.file).layers == found.layers
    assert read_manifest(found.file).kind == "divergence"
    assert not _diverge(chain, num_images=5).skipped


def test_files_that_can_not_be_compared_are_refused(chain) -> None:
    model = read_onnx(chain / "net.fp32.onnx")
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name not in ("images",) and not name.startswith("int64"):
                    names[place] = f"other.{name}"
    for tensor in model.graph.initializer:
        tensor.name = tensor.name if tensor.name.startswith("int64") else f"other.{tensor.name}"
    model.graph.output[0].name = "other.logits"
    write_onnx(model, chain / "renamed.onnx")
    with pytest.raises(GraphError, match="share 0 of .* by name"):
        _diverge(chain, "renamed.onnx", preprocess=None)
    manifest = read_manifest(chain / "net.int8.onnx")
    write_onnx(read_onnx(chain / "net.int8.onnx"), chain / "e.onnx")
    write_manifest(chain / "e.onnx", kind="onnx", stage="quantize", parent=manifest, precision=manifest.precision,
                   options={"refine": {"refinements": ["equalize"]}})  # fmt: skip
    with pytest.raises(ConfigError, match="refined with equalize"):
        _diverge(chain, "e.onnx")
    write_manifest(chain / "e.onnx", kind="onnx", stage="quantize", parent=manifest, precision=manifest.precision,
                   net=NetRecord(name="resnet34", num_classes=10))  # fmt: skip
    with pytest.raises(ConfigError, match=r"net.fp32.onnx is a resnet50, .*e.onnx a resnet34"):
        _diverge(chain, "e.onnx")
    with pytest.raises(ConfigError, match="by is 'node'"):
        _diverge(chain, by="node")


def test_an_engine_can_not_be_looked_into_without_a_gpu(chain) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    from resnet_deploy.engine.building.build import build_engine
    from resnet_deploy.engine.building.options import BuildOptions
    from resnet_deploy.engine.cuda_driver import query_cuda_driver

    if query_cuda_driver().gpus:
        pytest.skip("there is a GPU here")
    build_engine(BuildOptions(onnx=chain / "net.int8.onnx", targets=("sm89",), sanity=False))
    with pytest.raises(MissingDependencyError, match=r"looking inside .*net\.int8\.engine") as caught:
        _diverge(chain, "net.int8.engine")
    assert "compare the ONNX file" in caught.value.remedy


def test_the_command_shows_the_first_layer_draws_and_exits_with_one(chain) -> None:
    plant(chain / "net.int8.onnx", chain / "bad.onnx", layer2__0__conv2__weight__scale=lambda s: 4 * s)
    picture = chain / "a.png"
    words = ["diverge", str(chain / "bad.onnx"), "-r", str(chain / "net.fp32.onnx"), "--data", str(chain / "images")]
    words += ["--images", "4", "--threads", "1"]
    done = RUNNER.invoke(app, [*words, "--picture", str(picture)])
    assert done.exit_code == 1, done.output
    assert "First layer at fault: layer2.0.conv2 (block layer2.0)" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    done = RUNNER.invoke(app, [*words, "--json"])
    assert done.exit_code == 1 and json.loads(done.stdout)["first"] == "layer2.0.conv2"
    for wrong, said in ((["--picture", "a.jpg"], ".png or .svg"), (["--by", "x"], "expected layer or block")):
        done = RUNNER.invoke(app, [*words, *wrong])
        assert done.exit_code == 2 and said in " ".join(done.stderr.split())
    done = RUNNER.invoke(app, words[:2])
    assert done.exit_code == 2 and "no reference was named" in done.stderr
