"""What goes into a bundle, what is refused, and when it is made again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from onnx import TensorProto
from PIL import Image

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError, DataError
from resnet_deploy.core.specs import OutputKind, Precision
from resnet_deploy.engine.inspection.inspect import inspect_file
from resnet_deploy.pipeline.bundle.make import BundleOptions, make_bundle
from resnet_deploy.ship.checks import is_whole
from resnet_deploy.ship.manifest_file import read_bundle_manifest
from tests.ship.bundles import LABELS, PIXELS, make_chain, write_engine, write_onnx

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def chain(tmp_path):
    return make_chain(tmp_path)


def options(chain, tmp_path, **given):
    return BundleOptions(files=given.pop("files", (chain[0],)), out=tmp_path / "a.bundle", created=NOON, **given)


def test_an_engine_brings_its_onnx_file(chain, tmp_path):
    result = make_bundle(options(chain, tmp_path))
    manifest, _ = read_bundle_manifest(result.file)
    engine, onnx = manifest.models
    assert (engine.path, engine.product, engine.version) == ("engines/small.fp32.engine", "tensorrt-rtx", "1.7.1.116")
    assert (engine.compute_capabilities, engine.max_batch) == (("8.6", "8.9"), 8)
    assert (onnx.path, onnx.format, onnx.max_batch) == ("model.onnx", "onnx", 0)
    assert onnx.input.shape == (-1, 3, 16, 16) and onnx.output.shape == (-1, 5)
    assert manifest.preprocess.spec() == PIXELS
    assert (result.file / "labels.txt").read_text() == "ant\nbee\ncat\ndog\neel\n"
    assert (result.file / "model.onnx").read_bytes() == chain[1].read_bytes()
    assert is_whole(result.file) and manifest.version == "2026-01-01"


def test_the_fallback_can_be_left_out_or_named(chain, tmp_path):
    assert len(make_bundle(options(chain, tmp_path, fallback=False)).models) == 1
    assert [model.path for model in make_bundle(options(chain, tmp_path, files=(chain[1],))).models] == ["model.onnx"]


def test_what_is_up_to_date_is_left_and_what_is_damaged_made_again(chain, tmp_path):
    first = make_bundle(options(chain, tmp_path))
    assert make_bundle(options(chain, tmp_path)).skipped
    (first.file / "labels.txt").write_text("x")
    assert not make_bundle(options(chain, tmp_path)).skipped
    assert is_whole(first.file)
    assert not make_bundle(options(chain, tmp_path, version="2")).skipped
    write_onnx(chain[1], seed=3)
    with pytest.raises(ArtifactMismatchError, match="small.fp32.onnx is not the file that .* was built from"):
        make_bundle(options(chain, tmp_path))


def test_same_inputs_same_bytes(chain, tmp_path):
    archives = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        given = options(chain, tmp_path / name, archive=True)
        archives.append(make_bundle(given).archive.read_bytes())
    assert archives[0] == archives[1]


def test_a_folder_that_is_no_bundle_is_left_alone(chain, tmp_path):
    (tmp_path / "a.bundle").mkdir()
    (tmp_path / "a.bundle" / "thesis.tex").write_text("years")
    with pytest.raises(ConfigError, match="a.bundle is there and is no bundle"):
        make_bundle(options(chain, tmp_path, force=True))
    assert (tmp_path / "a.bundle" / "thesis.tex").read_text() == "years"


def test_a_bundle_from_elsewhere_is_replaced_with_force_only(chain, tmp_path):
    make_bundle(options(chain, tmp_path))
    (tmp_path / "a.bundle.json").unlink()
    with pytest.raises(ConfigError, match="a.bundle is there already"):
        make_bundle(options(chain, tmp_path))
    assert not make_bundle(options(chain, tmp_path, force=True)).skipped


def test_an_error_leaves_the_old_bundle(chain, tmp_path, monkeypatch):
    make_bundle(options(chain, tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resnet_deploy.ship.write.manifest_bytes", full)
    with pytest.raises(OSError, match="No space"):
        make_bundle(options(chain, tmp_path, force=True))
    assert is_whole(tmp_path / "a.bundle")
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("change, named", [
    ({"name": "other"}, "net.name is small and other"), ({"labels": LABELS[::-1]}, "labels is"), ({"checkpoint": "1" * 64}, "two checkpoints"),
])  # fmt: skip
def test_files_of_two_networks_are_refused(chain, tmp_path, change, named):
    other = write_onnx(tmp_path / "other.onnx", **change)
    with pytest.raises(ArtifactMismatchError, match=f"small.fp32.engine and .*other.onnx do not belong.*{named}"):
        make_bundle(options(chain, tmp_path, files=(chain[0], other)))


def test_two_onnx_files_are_refused(chain, tmp_path):
    other = write_onnx(tmp_path / "other.onnx", precision=Precision.FP16)
    with pytest.raises(ConfigError, match="2 ONNX files were named"):
        make_bundle(options(chain, tmp_path, files=(chain[1], other)))


@pytest.mark.parametrize("output", [OutputKind.TOPK, OutputKind.MAPS])
def test_other_outputs_are_refused(tmp_path, output):
    file = write_onnx(tmp_path / "other.onnx", output=output)
    with pytest.raises(ConfigError, match=f"its outputs are {output}"):
        make_bundle(BundleOptions(files=(file,), out=tmp_path / "a.bundle"))


def test_half_precision_inputs_are_refused(tmp_path):
    file = write_onnx(tmp_path / "half.onnx", dtype=TensorProto.FLOAT16, precision=Precision.FP16)
    with pytest.raises(ConfigError, match="images is float16, a bundle's is float32"):
        make_bundle(BundleOptions(files=(file,), out=tmp_path / "a.bundle"))


def test_an_engine_for_large_batches_only_is_refused(chain, tmp_path):
    engine = write_engine(tmp_path / "large.engine", chain[1], smallest=4)
    with pytest.raises(ConfigError, match="large.engine takes 4 images and more"):
        make_bundle(options(chain, tmp_path, files=(engine,)))


def test_a_changed_file_is_refused(chain, tmp_path):
    chain[0].write_bytes(chain[0].read_bytes() + b"x")
    with pytest.raises(ArtifactMismatchError, match="was changed or cut off"):
        make_bundle(options(chain, tmp_path))


def test_other_kinds_of_files_are_refused(chain, tmp_path):
    bundle = make_bundle(options(chain, tmp_path)).file
    with pytest.raises(ConfigError, match="is of kind 'bundle'"):
        make_bundle(replace(options(chain, tmp_path), files=(bundle,), out=tmp_path / "b.bundle"))
    with pytest.raises(ArtifactError, match="nowhere.engine: no such file"):
        make_bundle(options(chain, tmp_path, files=(tmp_path / "nowhere.engine",)))


def test_a_golden_image_of_ones_own(chain, tmp_path):
    image = tmp_path / "mine.jpg"
    Image.radial_gradient("L").resize((50, 37)).convert("RGB").save(image)
    result = make_bundle(options(chain, tmp_path, golden=image))
    assert (result.file / "golden.jpg").read_bytes() == image.read_bytes()
    image.write_bytes(b"BM" + image.read_bytes())
    with pytest.raises(ConfigError, match="neither JPEG nor PNG"):
        make_bundle(options(chain, tmp_path, golden=image))
    image.write_bytes(b"\xff\xd8\xff" + b"cut")
    with pytest.raises(DataError, match=r"mine.jpg: can not be decoded"):
        make_bundle(options(chain, tmp_path, golden=image))


def test_the_licence_is_what_is_said_or_that_nothing_is(chain, tmp_path):
    result = make_bundle(options(chain, tmp_path))
    assert "Not stated" in (result.file / "LICENCES.txt").read_text()
    assert any("licence" in warning for warning in result.warnings)
    result = make_bundle(options(chain, tmp_path, licence="BSD-3-Clause, torchvision"))
    text = (result.file / "LICENCES.txt").read_text()
    assert "    BSD-3-Clause, torchvision" in text and "NVIDIA TensorRT for RTX 1.7.1.116" in text
    assert not any("licence" in warning for warning in result.warnings)


def test_two_engines_of_one_name(chain, tmp_path):
    (tmp_path / "t4").mkdir()
    other = write_engine(tmp_path / "t4" / "small.fp32.engine", chain[1])
    result = make_bundle(options(chain, tmp_path, files=(chain[0], other)))
    paths = [model.path for model in result.models]
    assert paths == ["engines/small.fp32.engine", "engines/small.fp32-2.engine", "model.onnx"]


def test_a_bundle_is_a_file_of_the_chain(chain, tmp_path):
    result = make_bundle(options(chain, tmp_path, archive=True))
    assert read_manifest(result.file, kind="bundle").net.name == "small"
    found = inspect_file(result.file)
    assert (found.kind, found.manifest_state) == ("bundle", "matches")
    assert [origin.role for origin in found.origins][:2] == ["engine", "onnx"]
    (result.file / "bundle.json").write_text(json.dumps({"schema": "x"}))
    with pytest.raises(ArtifactMismatchError, match="a.bundle: SHA-256 is"):
        read_manifest(result.file)
