"""A deployment bundles what passed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from resnet_deploy.core.specs import Precision
from resnet_deploy.pipeline.artifacts import NetFiles
from resnet_deploy.pipeline.bundle.run_models import run_self_test
from resnet_deploy.pipeline.bundle.self_tests import golden_of
from resnet_deploy.pipeline.bundle.stage import bundle_stage
from resnet_deploy.pipeline.plan import BundlePlan, DeployPlan
from resnet_deploy.ship.checks import CheckState
from resnet_deploy.ship.golden import golden_pixels, golden_size
from resnet_deploy.ship.manifest_file import read_bundle_manifest
from tests.ship.bundles import PIXELS, write_engine, write_onnx


@pytest.fixture
def files(tmp_path):
    kinds = (Precision.FP32, Precision.FP16, Precision.INT8)
    onnx = {kind: write_onnx(tmp_path / f"small.{kind}.onnx", precision=kind) for kind in kinds}
    engines = {kind: write_engine(tmp_path / f"small.{kind}.engine", onnx[kind], precision=kind) for kind in kinds}
    return NetFiles(checkpoint=tmp_path / "small.safetensors", onnx=onnx, engines=engines, products={}, stages=())


def plan(tmp_path, **given):
    return DeployPlan(net="resnet20", out=tmp_path, data="digits", checkpoint=tmp_path / "small.safetensors", **given)


def verdict(file, *, passed):
    return SimpleNamespace(candidate=SimpleNamespace(file=str(file)), passed=passed)


def paths(row) -> list[str]:
    return [model.path for model in read_bundle_manifest(row.file)[0].models]


def test_the_fastest_comes_first(files, tmp_path):
    row = bundle_stage(plan(tmp_path), files, [verdict(files.onnx[Precision.INT8], passed=True)])
    assert paths(row) == [*(f"engines/small.{kind}.engine" for kind in ("int8", "fp16", "fp32")), "model.onnx"]
    assert (row.file, row.state) == (tmp_path / "small.bundle", "done")
    assert bundle_stage(plan(tmp_path), files, []).state == "up to date"


@pytest.mark.parametrize("what", ["onnx", "engines"])
def test_what_failed_is_left_out(files, tmp_path, what):
    failed = verdict(getattr(files, what)[Precision.INT8], passed=False)
    row = bundle_stage(plan(tmp_path), files, [failed])
    assert paths(row)[0] == "engines/small.fp16.engine" and len(paths(row)) == 3
    assert "left out, as they failed: int8" in row.note


def test_nothing_is_bundled_where_all_failed_or_nothing_was_trained(files, tmp_path):
    row = bundle_stage(plan(tmp_path), files, [verdict(file, passed=False) for file in files.onnx.values()])
    assert (row.state, row.note) == ("not run", "no file passed its verdict")
    untrained = DeployPlan(net="resnet20", out=tmp_path)
    assert bundle_stage(untrained, files, []).note == "untrained weights are not for shipping"
    assert not (tmp_path / "small.bundle").exists()


def test_options_of_the_plan_reach_the_bundle(files, tmp_path):
    (tmp_path / "WEIGHTS.txt").write_text("CC0")
    row = bundle_stage(
        plan(tmp_path, bundle=BundlePlan(version="7", licence=tmp_path / "WEIGHTS.txt", archive=True)), files, []
    )
    assert read_bundle_manifest(row.file)[0].version == "7"
    assert "    CC0" in (row.file / "LICENCES.txt").read_text()
    assert (tmp_path / "small.bundle.tar.gz").is_file()


def test_an_engine_is_not_run_on_a_gpu_it_was_not_built_for(files, tmp_path, monkeypatch):
    row = bundle_stage(plan(tmp_path), files, [])
    manifest, _ = read_bundle_manifest(row.file)
    t4 = SimpleNamespace(name="T4", compute_capability="7.5")
    monkeypatch.setattr(
        "resnet_deploy.pipeline.bundle.run_models.query_cuda_driver", lambda: SimpleNamespace(gpus=(t4,), reason="")
    )
    image = golden_of(golden_pixels(*golden_size(PIXELS)), PIXELS, name="golden")
    check = run_self_test(row.file / manifest.models[0].path, manifest.models[0], image, PIXELS)
    assert check.state is CheckState.NOT_RUN and "T4: built for sm86, sm89, not for sm75" in check.detail
