"""`bundle.json` is read as it is written, and a refusal says what is wrong."""

from __future__ import annotations

import json

import pytest

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.ship.manifest_file import manifest_bytes, parse_bundle_manifest, read_bundle_manifest


def parsed(sound, change):
    data = json.loads((sound / "bundle.json").read_bytes())
    change(data)
    return parse_bundle_manifest(json.dumps(data).encode())


def test_a_manifest_comes_back_byte_by_byte(sound):
    manifest, data = read_bundle_manifest(sound)
    assert manifest_bytes(manifest) == data
    assert manifest_bytes(parse_bundle_manifest(data)) == data


def test_no_resize_is_zero(sound):
    manifest = parsed(sound, lambda data: data["preprocess"].update(resize_shorter_px=0))
    assert manifest.preprocess.spec().resize_shorter_px is None


@pytest.mark.parametrize("change, message", [
    (lambda d: d.update(schema="resnet-deploy/bundle/2"), "schema is 'resnet-deploy/bundle/2', this release reads 'resnet-deploy/bundle/1'"),
    (lambda d: d.update(colour="red"), "unknown key 'colour'"),
    (lambda d: d.pop("golden"), "golden"),
    (lambda d: d["preprocess"].pop("version"), "version"),
    (lambda d: d["preprocess"].update(version=2), "preprocess version 2 is not 1"),
    (lambda d: d["files"][0].update(path="../x"), "path '../x'"),
    (lambda d: d["files"][0].update(size_bytes=-1), "-1 bytes"),
    (lambda d: d["files"][0].update(size_bytes=2**40), "1099511627776 bytes"),
    (lambda d: d["files"].append(d["files"][0]), "is listed more than once"),
    (lambda d: d["files"].append({**d["files"][0], "path": "LABELS.TXT"}), "differs from another in case only"),
    (lambda d: d["net"].update(num_classes=6), r"expected float32 \[N, 6\]"),
    (lambda d: d["models"][0]["self_test"].update(max_abs_error=0), "max_abs_error is 0"),
    (lambda d: d["models"][0]["self_test"]["expected"].pop(), "4 expected values, its output has 5"),
    (lambda d: d["models"][0].update(version="latest"), "version 'latest'"),
    (lambda d: d.update(labels="nowhere.txt"), "'nowhere.txt' is not listed among the files"),
    (lambda d: d.update(name="../a"), r"name '../a'"),
    (lambda d: d.update(made_by={"x" * 300: "1"}), "at most 64 of 200 characters"),
])  # fmt: skip
def test_a_refusal_names_the_value(sound, change, message):
    with pytest.raises(ArtifactError, match=message):
        parsed(sound, change)


@pytest.mark.parametrize("data, message", [
    (b'{"a": NaN}', "NaN is not a number of JSON"), (b'{"a": 1e999}', "1e999 is not a finite number"),
    (b'{"a": 1, "a": 2}', "key 'a' occurs more than once"), (b"[" * 100_000, "nested more than 16 deep"),
    (b'{"a": "[[[[[[[[[[[[[[[[[[[[\\""}', "unknown key 'a'"), (b'{"a": "\\ud800"}', "half of a surrogate pair"),
    (b"\xff", "can't decode byte 0xff"), (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"), (b" " * (4 * 2**20 + 1), "at most 4,194,304"),
    (b"", "Expecting value"),
])  # fmt: skip
def test_what_is_no_manifest(data, message):
    with pytest.raises(ArtifactError, match=message):
        parse_bundle_manifest(data)
