"""A model repository from a bundle: what is in it, what it answers, and what is refused."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.preprocess import preprocess
from resnet_deploy.pipeline.triton import make_triton_repository
from resnet_deploy.ship.triton.manifest import files_of, verify_triton_repository
from resnet_deploy.ship.triton.options import ServedDevice, ServedRuntime, TritonOptions
from tests.ship.triton_bundles import PREPROCESS, SIDE, make_bundle, plan

RTX = plan("8.6", product="tensorrt-rtx", path="engines/rtx.engine", version="1.7.1.116")


@pytest.fixture
def onnx_bundle(tmp_path):
    return tmp_path / "net.bundle", make_bundle(tmp_path / "net.bundle")


def config(folder, name):
    return (folder / name / "config.pbtxt").read_text()


def test_an_onnx_bundle_becomes_three_models(onnx_bundle, tmp_path):
    bundle, _ = onnx_bundle
    out = tmp_path / "models"
    record = make_triton_repository(bundle, out)
    assert record.models == ("net_preprocess", "net", "net_pixels")
    assert files_of(out) == [
        "net/1/model.onnx",
        "net/config.pbtxt",
        "net/labels.txt",
        "net/warmup/golden.float32",
        "net_pixels/1/README",
        "net_pixels/config.pbtxt",
        "net_pixels/labels.txt",
        "net_preprocess/1/model.onnx",
        "net_preprocess/config.pbtxt",
        "net_preprocess/warmup/golden.uint8",
        "triton.json",
    ]
    assert (out / "net/1/model.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()
    assert 'platform: "onnxruntime_onnx"' in config(out, "net")
    assert 'platform: "ensemble"' in config(out, "net_pixels")
    assert "KIND_CPU" in config(out, "net_preprocess") and "KIND_AUTO" in config(out, "net")


def run(file, **inputs):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def test_the_steps_of_the_ensemble_give_what_the_bundle_expects(onnx_bundle, tmp_path):
    """Run as Triton would: the golden image's warm-up bytes through one graph, then through the other."""
    bundle, manifest = onnx_bundle
    out = tmp_path / "models"
    make_triton_repository(bundle, out)
    pixels = np.fromfile(out / "net_preprocess/warmup/golden.uint8", np.uint8).reshape(1, 61, 83, 3)
    assert np.array_equal(pixels[0], np.asarray(Image.open(bundle / "golden.png")))
    prepared = run(out / "net_preprocess/1/model.onnx", pixels=pixels)
    warmup = np.fromfile(out / "net/warmup/golden.float32", "<f4").reshape(1, 3, SIDE, SIDE)
    assert np.array_equal(prepared, warmup)
    assert np.array_equal(warmup[0], preprocess(pixels[0], PREPROCESS))
    logits = run(out / "net/1/model.onnx", images=prepared)
    test = manifest.models[0].self_test
    assert np.abs(logits[0] - test.expected).max() <= test.max_abs_error
    turned = run(out / "net/1/model.onnx", images=run(out / "net_preprocess/1/model.onnx", pixels=pixels[..., ::-1]))
    assert np.abs(turned[0] - test.expected).max() > test.max_abs_error  # BGR for RGB is seen


def test_a_plan_for_each_compute_capability(tmp_path):
    make_bundle(tmp_path / "b", plans=[RTX, plan("8.6"), plan("8.9"), plan("8.9", path="engines/late.engine")])
    record = make_triton_repository(tmp_path / "b", tmp_path / "models", TritonOptions(num_profiles=2))
    text = config(tmp_path / "models", "net")
    found = dict(re.findall(r'cc_model_filenames \{\n  key: "(.*?)"\n  value: "(.*?)"', text))
    assert found == {"8.6": "net.sm86.plan", "8.9": "net.sm89.plan"}
    assert (tmp_path / "models/net/1/net.sm89.plan").read_bytes() == b"ftrt of engines/net.sm89.engine"
    assert "default_model_filename" not in text
    assert "KIND_GPU" in text and 'profile: ["0", "1"]' in text
    assert "max_batch_size: 16" in text  # the plans' limit
    assert "engines/rtx.engine is left out: Triton has no backend for TensorRT-RTX engines" in record.notes
    assert any("exactly that release" in note and "10.13.3.9" in note for note in record.notes)
    assert any("8.6, 8.9 have a plan; on others" in note for note in record.notes)


def test_a_plan_for_other_gpus_is_the_default(tmp_path):
    make_bundle(tmp_path / "b", plans=[plan("8.6"), plan("8.0", path="engines/any.engine", hardware_compatible=True)])
    record = make_triton_repository(tmp_path / "b", tmp_path / "models")
    text = config(tmp_path / "models", "net")
    assert 'default_model_filename: "any.plan"' in text
    assert not any("does not load" in note for note in record.notes)


def test_plans_of_one_file_name_do_not_overwrite_each_other(tmp_path):
    plans = [plan("8.6", path="engines/x.engine"), plan("8.9", path="other/x.engine")]
    make_bundle(tmp_path / "b", plans=plans)
    make_triton_repository(tmp_path / "b", tmp_path / "models")
    assert sorted(path.name for path in (tmp_path / "models/net/1").iterdir()) == ["other.x.engine.plan", "x.plan"]


def test_a_bundle_of_rtx_engines_only(tmp_path):
    make_bundle(tmp_path / "b", plans=[RTX], onnx_file=False)
    with pytest.raises(ConfigError, match=r"only engines/rtx.engine \(tensorrt-rtx\)"):
        make_triton_repository(tmp_path / "b", tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_network_that_takes_pixels_is_one_model(tmp_path):
    manifest = make_bundle(tmp_path / "b", in_graph=True)
    record = make_triton_repository(tmp_path / "b", tmp_path / "models")
    assert record.models == ("net",)
    text = config(tmp_path / "models", "net")
    assert "data_type: TYPE_UINT8\n  dims: [-1, -1, 3]" in text
    assert "dims: [61, 83, 3]" in text  # of the warm-up
    pixels = np.fromfile(tmp_path / "models/net/warmup/golden.uint8", np.uint8).reshape(1, 61, 83, 3)
    test = manifest.models[0].self_test
    answer = run(tmp_path / "models/net/1/model.onnx", pixels=pixels)
    assert np.abs(answer[0] - test.expected).max() <= test.max_abs_error


def test_the_tensorrt_provider_gets_a_profile_and_a_cache(onnx_bundle, tmp_path):
    options = TritonOptions(tensorrt_provider=True, preferred_batches=(4, 8), device=ServedDevice.GPU)
    make_triton_repository(onnx_bundle[0], tmp_path / "models", options)
    text = config(tmp_path / "models", "net")
    assert 'name: "tensorrt"' in text and 'key: "trt_engine_cache_enable"' in text
    for end, batch in (("min", 1), ("opt", 8), ("max", 32)):
        assert f'key: "trt_profile_{end}_shapes"\n        value: "images:{batch}x3x{SIDE}x{SIDE}"' in text
    assert "precision_mode" not in text  # FP32 needs none
    assert re.findall(r'name: "golden_batch_(\d+)"', text) == ["1", "4", "8", "32"]


def test_an_int8_file_on_onnx_runtime_comes_with_a_warning(tmp_path):
    make_bundle(tmp_path / "b", precision=Precision.INT8)
    record = make_triton_repository(tmp_path / "b", tmp_path / "plain")
    assert any("model.onnx is int8" in note for note in record.notes)
    options = TritonOptions(tensorrt_provider=True)
    record = make_triton_repository(tmp_path / "b", tmp_path / "provider", options)
    assert not any("model.onnx is int8" in note for note in record.notes)
    assert 'key: "precision_mode"\n        value: "INT8"' in config(tmp_path / "provider", "net")


@pytest.mark.parametrize(
    ("fields", "options", "words"),
    [
        ({}, {"runtime": ServedRuntime.TENSORRT}, "no TensorRT plan to serve"),
        ({}, {"cuda_graphs": True}, "an ONNX file is served"),
        ({"plans": [plan("8.6")]}, {"tensorrt_provider": True}, "tensorrt_provider is for ONNX files"),
        ({"plans": [plan("8.6")]}, {"preferred_batches": (20,)}, "preferred batch 20 is over the plans' limit 16"),
        ({"in_graph": True}, {"tensorrt_provider": True}, "model.onnx takes any"),
        ({"precision": Precision.FP8}, {"tensorrt_provider": True}, "model.onnx is FP8"),
        ({"batch": 1}, {}, r"\[1, 3, 24, 24\], Triton batches only where the first size is free"),
    ],
)
def test_options_that_do_not_fit_the_bundle(tmp_path, fields, options, words):
    make_bundle(tmp_path / "b", **fields)
    with pytest.raises(ConfigError, match=words):
        make_triton_repository(tmp_path / "b", tmp_path / "models", TritonOptions(**options))
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_every_wrong_option_is_named():
    with pytest.raises(ConfigError, match="max_batch is 0.*instances is 0.*preferred batch 4 is over max_batch 0"):
        TritonOptions(max_batch=0, instances=0, preferred_batches=(4,))
    with pytest.raises(ConfigError, match=r"preferred_batches \(8, 4\) are not rising"):
        TritonOptions(preferred_batches=(8, 4))
    with pytest.raises(ConfigError, match="needs a GPU, device is cpu"):
        TritonOptions(tensorrt_provider=True, device=ServedDevice.CPU)


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "golden.png"])
@pytest.mark.parametrize("damage", ["changed", "removed", "link"])
def test_a_damaged_bundle_leaves_nothing_behind(onnx_bundle, tmp_path, name, damage):
    bundle, _ = onnx_bundle
    if damage == "changed":
        (bundle / name).write_bytes((bundle / name).read_bytes()[:-1] + b"?")
    else:
        (bundle / name).rename(tmp_path / "moved")
    if damage == "link":
        (bundle / name).symlink_to(tmp_path / "moved")
    with pytest.raises(ArtifactMismatchError, match=re.escape(name)):
        make_triton_repository(bundle, tmp_path / "models")
    assert {path.name for path in tmp_path.iterdir()} <= {"net.bundle", "moved"}


def test_pixels_prepared_otherwise_are_noticed(onnx_bundle, tmp_path, monkeypatch):
    from resnet_deploy.pipeline import triton

    monkeypatch.setattr(triton, "crop_pixels", lambda image, spec, **_: image[: spec.height_px, : spec.width_px])
    with pytest.raises(ArtifactMismatchError, match="not prepared here as where the bundle was made"):
        make_triton_repository(onnx_bundle[0], tmp_path / "models")


def test_what_is_there_is_replaced_only_if_it_is_ours_and_on_request(onnx_bundle, tmp_path):
    bundle, _ = onnx_bundle
    out = tmp_path / "models"
    make_triton_repository(bundle, out)
    with pytest.raises(ConfigError, match="is there already"):
        make_triton_repository(bundle, out)
    make_triton_repository(bundle, out, TritonOptions(version=7), force=True)
    assert (out / "net/7/model.onnx").is_file() and not (out / "net/1").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("precious")
    with pytest.raises(ConfigError, match="no repository of ours"):
        make_triton_repository(bundle, other, force=True)
    assert (other / "mine").read_text() == "precious"
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(ConfigError, match="no repository of ours"):
        make_triton_repository(bundle, tmp_path / "link", force=True)


def test_the_record_walks_back_to_the_bundle_and_sees_every_change(onnx_bundle, tmp_path):
    bundle, _ = onnx_bundle
    out = tmp_path / "models"
    written = make_triton_repository(bundle, out, TritonOptions(max_batch=8))
    read = verify_triton_repository(out)
    assert read == written and read.options.max_batch == 8
    import hashlib

    assert read.bundle_sha256 == hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    (out / "net/config.pbtxt").write_text(config(out, "net") + "\n")
    (out / "net/1/model.onnx").unlink()
    (out / "net/2").mkdir()
    (out / "net/2/extra").write_text("")
    with pytest.raises(ArtifactMismatchError) as caught:
        verify_triton_repository(out)
    for words in ("net/1/model.onnx is missing", "net/2/extra is not listed", "net/config.pbtxt was changed"):
        assert words in caught.value.message


def test_a_folder_or_a_record_of_others_is_no_repository(onnx_bundle, tmp_path):
    with pytest.raises(ArtifactError, match="no triton.json"):
        verify_triton_repository(tmp_path)
    out = tmp_path / "models"
    make_triton_repository(onnx_bundle[0], out)
    plain = json.loads((out / "triton.json").read_text())
    (out / "triton.json").write_text(json.dumps({**plain, "schema": "resnet-deploy/triton/2"}))
    with pytest.raises(ArtifactError, match="schema is 'resnet-deploy/triton/2'"):
        verify_triton_repository(out)
    (out / "triton.json").write_text(json.dumps({**plain, "more": 1}))
    with pytest.raises(ArtifactError, match="more"):
        verify_triton_repository(out)


def test_the_same_bundle_gives_the_same_files(onnx_bundle, tmp_path):
    one = make_triton_repository(onnx_bundle[0], tmp_path / "one")
    two = make_triton_repository(onnx_bundle[0], tmp_path / "two")
    assert one.files == two.files


def test_importing_the_options_needs_no_heavy_package():
    code = (
        "import sys; import resnet_deploy.ship.triton.options; "
        "print([name for name in ('onnx', 'numpy', 'torch', 'PIL') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert answer.stdout.strip() == "[]"
