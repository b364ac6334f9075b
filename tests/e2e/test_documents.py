"""Every document of a deployment, and of the commands beside it, fits its published schema."""

from __future__ import annotations

import json
import shutil

import pytest
from jsonschema import Draft202012Validator

from resnet_deploy.core.artifacts import read_manifest
from tests.docs.schemas import make_schemas
from tests.e2e.conftest import run_program


@pytest.fixture(scope="module")
def folder(deployed, tmp_path_factory):
    """A copy of the deployed folder with what the plan does not ask for."""
    copy = tmp_path_factory.mktemp("documents") / "out"
    shutil.copytree(deployed[0] / "out", copy)
    images = ("--data", "digits", "--split", "val")
    commands = [
        ("bisect", "resnet8.int8.onnx", "-r", "resnet8.fp32.onnx", *images, "--images", 40, "--min-agreement", 0.5),
        ("bench", "compare", "bench.json", "bench.json", "--out", "compare.json"),
        ("advise", "--net", "resnet8", "--target", "l4", "--max-latency-ms", 5, "--out", "advice.json"),
    ]
    for command in commands:
        done = run_program(*command, cwd=copy)
        assert done.returncode in (0, 1), done.stderr
    return copy


def _kind(path):
    if path.name == "bundle.json":
        return "bundle"
    return "manifest" if path.with_suffix("").exists() else read_manifest(path).kind


def test_every_document_fits_its_schema(folder):
    validators = {kind: Draft202012Validator(make_schemas.schema_of(kind)) for kind in make_schemas.DOCUMENTS}
    seen = set()
    for path in folder.rglob("*.json"):
        kind = _kind(path)
        if kind in validators:
            seen.add(kind)
            found = [e.message for e in validators[kind].iter_errors(json.loads(path.read_text(encoding="utf-8")))]
            assert not found, f"{path.name}: {found[:3]}"
    assert seen == set(make_schemas.DOCUMENTS)


def test_a_plan_explains_its_last_precision(deployed):
    stages = {row["stage"]: row for row in deployed[1]["stages"]}
    assert stages["attribute"]["file"].endswith("resnet8.int8.onnx.attribution.json")
    assert "599 images" in stages["attribute"]["note"]
    assert stages["diverge"]["note"] == "no layer is at fault"
    assert stages["estimate"]["note"] == "roofline on t4"
