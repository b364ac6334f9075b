"""A bundle's files are held against its own bundle.json: it has no manifests inside."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.engine.preflight.bundle_listing import read_listing
from resnet_deploy.engine.preflight.run import PreflightOptions, run_preflight

FILES = {"model.onnx": b"\x08\x08network", "labels.txt": b"cat\n", "engines/notes.txt": b"one\n"}


@pytest.fixture
def bundle(tmp_path) -> Path:
    folder = tmp_path / "net.bundle"
    listed = []
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        listed.append({"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)})
    (folder / "bundle.json").write_text(json.dumps({"schema": "resnet-deploy/bundle/1", "files": listed}))
    return folder


def answers(*paths: Path) -> dict[str, tuple[str, str]]:
    found = run_preflight(PreflightOptions(files=paths))
    return {Path(one.file).name: (str(one.state), one.checks[0].text) for one in found.files}


def test_a_whole_bundle_is_good_and_points_to_its_own_check(bundle):
    found = answers(bundle)
    assert {name for name, (state, _) in found.items() if state == "good"} == {Path(name).name for name in FILES}
    state, text = found["bundle.json"]
    assert state == "not checked" and f"resnet-deploy bundle verify {bundle}" in text


def test_a_file_named_alone_is_checked_as_well(bundle):
    assert answers(bundle / "engines" / "notes.txt")["notes.txt"][0] == "good"


def test_a_changed_file_is_damaged(bundle):
    (bundle / "labels.txt").write_bytes(b"dog\n")
    state, text = answers(bundle)["labels.txt"]
    assert state == "damaged" and text.startswith("SHA-256 is ") and "bundle.json says" in text


def test_a_missing_and_a_foreign_file_are_damage(bundle):
    (bundle / "labels.txt").unlink()
    (bundle / "extra.txt").write_text("?")
    found = answers(bundle)
    assert found["bundle.json"] == ("damaged", "not there: labels.txt")
    assert found["extra.txt"][0] == "damaged" and "does not list it" in found["extra.txt"][1]


def test_the_manifest_beside_a_bundle_stands_for_the_bundle(bundle):
    record = {"schema": "resnet-deploy/manifest/1", "kind": "bundle", "file": "net.bundle"}
    (bundle.parent / "net.bundle.json").write_text(json.dumps(record))
    assert set(answers(bundle.parent)) == {"bundle.json", *(Path(name).name for name in FILES)}


def test_a_cut_list_is_damaged(bundle):
    (bundle / "bundle.json").write_text('{"schema": "resnet-deploy/bundle/1", "files": [')
    state, text = answers(bundle)["bundle.json"]
    assert state == "damaged" and "bundle.json can not be read" in text
    with pytest.raises(ArtifactError, match=r"bundle\.json can not be read"):
        read_listing(bundle)


def test_another_programs_bundle_json_says_nothing(bundle):
    (bundle / "bundle.json").write_text('{"name": "web"}')
    assert answers(bundle)["labels.txt"][0] == "not checked"
