import json

import pytest

from resnet_deploy.core import artifacts
from resnet_deploy.core.artifacts import (
    NetRecord,
    is_up_to_date,
    manifest_path,
    read_manifest,
    write_manifest,
)
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError
from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.catalogue import find_net


@pytest.fixture
def chain(tmp_path):
    """A file made from another one, both with manifests."""
    source, file = tmp_path / "net.safetensors", tmp_path / "net.onnx"
    source.write_bytes(b"weights")
    file.write_bytes(b"graph")
    parent = write_manifest(
        source,
        kind="checkpoint",
        stage="train",
        net=NetRecord(name="resnet20", num_classes=2),
        preprocess=find_net("resnet20").preprocess,
        labels=("cat", "dog"),
    )
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        inputs={"checkpoint": source},
        options={"opset": 20},
        parent=parent,
        precision=Precision.FP16,
    )
    return source, file


def test_a_manifest_reads_back_as_it_was_written(chain):
    source, file = chain
    manifest = read_manifest(file, kind="onnx")
    assert manifest.precision is Precision.FP16
    assert manifest.net == NetRecord(name="resnet20", num_classes=2)
    assert manifest.labels == ("cat", "dog")
    assert manifest.preprocess == find_net("resnet20").preprocess
    assert manifest.input_sha256("checkpoint") == read_manifest(source).sha256
    assert manifest.inputs[0].file == "net.safetensors"


def test_a_changed_file_is_not_taken_for_the_one_described(chain):
    _, file = chain
    file.write_bytes(b"grape")
    with pytest.raises(ArtifactMismatchError, match=r"net\.onnx: SHA-256 is"):
        read_manifest(file)


def test_a_file_without_manifest_is_not_finished(chain):
    _, file = chain
    manifest_path(file).unlink()
    with pytest.raises(ArtifactError, match="has no manifest"):
        read_manifest(file)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"kind": "onnx"}', '{"schema": "other/9"}'])
def test_a_damaged_manifest_is_named(chain, damage):
    _, file = chain
    manifest_path(file).write_text(damage)
    with pytest.raises(ArtifactError, match=r"net\.onnx\.json"):
        read_manifest(file)


def test_another_kind_is_refused(chain):
    source, _ = chain
    with pytest.raises(ArtifactError, match="is of kind 'checkpoint', expected 'onnx'"):
        read_manifest(source, kind="onnx")


def test_up_to_date_only_while_inputs_options_and_file_stand(chain, monkeypatch):
    source, file = chain

    def current(**changes):
        arguments = {"stage": "export", "inputs": {"checkpoint": source}, "options": {"opset": 20}, **changes}
        return is_up_to_date(file, **arguments)

    assert current()
    assert not current(options={"opset": 21})
    assert not current(stage="quantize")
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "__version__", "9.9")
        assert not current()
    source.write_bytes(b"other weights")
    assert not current()
    source.write_bytes(b"weights")
    assert current()
    file.write_bytes(b"grap")
    assert not current()
    file.unlink()
    assert not current()


def test_the_manifest_is_plain_json(chain):
    _, file = chain
    assert json.loads(manifest_path(file).read_text())["schema"] == artifacts.MANIFEST_SCHEMA
