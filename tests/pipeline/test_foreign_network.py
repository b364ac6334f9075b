"""A file made elsewhere, given to a stage that needs one of the chain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, GraphError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.export import foreign_onnx
from resnet_deploy.pipeline.foreign_network import network_of_chain
from tests.reference.foreign_networks import foreign_bytes

PIXELS = Preprocess(height_px=32, width_px=32, resize_shorter_px=36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
LABELS = tuple(f"thing {i}" for i in range(10))


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    file = tmp_path / "their.onnx"
    file.write_bytes(foreign_bytes(dynamic=True))
    return file


def test_it_is_imported_beside_itself_with_what_was_said_of_it(theirs: Path) -> None:
    file = network_of_chain(theirs, preprocess=PIXELS, labels=LABELS)
    assert file == theirs.with_name("their.fp32.onnx")
    manifest = read_manifest(file, kind="onnx")
    assert (manifest.stage, manifest.preprocess, manifest.labels) == ("import", PIXELS, LABELS)


def test_what_was_imported_once_is_taken_again_without_a_word(theirs: Path) -> None:
    with pytest.raises(ConfigError, match=r"their\.onnx has no manifest that says how its images are prepared"):
        network_of_chain(theirs)
    file = network_of_chain(theirs, preprocess=PIXELS)
    written = file.stat().st_mtime_ns
    assert network_of_chain(theirs) == network_of_chain(theirs, preprocess=PIXELS) == file
    assert file.stat().st_mtime_ns == written
    assert network_of_chain(file) == file


def test_another_file_of_the_same_name_is_not_taken_for_the_imported_one(theirs: Path) -> None:
    network_of_chain(theirs, preprocess=PIXELS)
    theirs.write_bytes(foreign_bytes(dynamic=True, softmax=True))
    with pytest.raises(ConfigError, match="has no manifest that says how its images are prepared"):
        network_of_chain(theirs)
    file = network_of_chain(theirs, preprocess=PIXELS)
    assert read_manifest(file).details["normalised"]["softmax"] is True


def test_a_file_that_is_not_its_import_is_never_overwritten(theirs: Path) -> None:
    taken = theirs.with_name("their.fp32.onnx")
    taken.write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"their\.fp32\.onnx, which is there and was not made from it"):
        network_of_chain(theirs, preprocess=PIXELS)
    assert taken.read_bytes() == b"mine"
    # a foreign file that has the usual name already gets a word more
    taken.write_bytes(theirs.read_bytes())
    assert network_of_chain(taken, preprocess=PIXELS).name == "their.imported.fp32.onnx"


def test_options_that_would_do_nothing_are_refused(theirs: Path) -> None:
    file = network_of_chain(theirs, preprocess=PIXELS)
    for given in ({"preprocess": PIXELS}, {"labels": LABELS}):
        with pytest.raises(ConfigError, match=r"their\.fp32\.onnx has a manifest"):
            network_of_chain(file, **given)
    with pytest.raises(ConfigError, match="no manifest that says"):
        network_of_chain(theirs, labels=LABELS)


@pytest.mark.parametrize(
    ("form", "says", "remedy"),
    [
        ({"two_outputs": True}, "has 2 outputs", r"--output NAME, to `resnet-deploy import .*their\.onnx`"),
        ({}, r"\[1, 3, 32, 32\], expected float32 \[N, 3, 64, 64\]", "--size 32"),
    ],
)
def test_what_import_would_ask_for_is_named_with_its_command(theirs: Path, form: dict, says: str, remedy: str) -> None:
    theirs.write_bytes(foreign_bytes(**form))
    pixels = (
        PIXELS if form else Preprocess(height_px=64, width_px=64, resize_shorter_px=64, mean=(0,) * 3, std=(1,) * 3)
    )
    with pytest.raises(GraphError, match=says) as refused:
        network_of_chain(theirs, preprocess=pixels)
    assert re.search(remedy, refused.value.remedy) and not theirs.with_name("their.fp32.onnx").exists()


def test_files_that_are_missing_broken_or_not_square_are_refused(theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none\.onnx: no such file"):
        network_of_chain(tmp_path / "none.onnx", preprocess=PIXELS)
    wide = Preprocess(height_px=32, width_px=64, resize_shorter_px=None, mean=(0,) * 3, std=(1,) * 3)
    with pytest.raises(ConfigError, match="32x64 px, import takes square ones"):
        network_of_chain(theirs, preprocess=wide)
    theirs.write_bytes(theirs.read_bytes()[:1000])
    with pytest.raises(GraphError, match="cut off"):
        network_of_chain(theirs, preprocess=PIXELS)


def test_an_import_that_computes_something_else_stops_the_stage(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = foreign_onnx.normalise

    def wrong(model, *args, **kwargs):
        """Doubles the logits' bias."""
        normal, report = honest(model, *args, **kwargs)
        gemm = next(node for node in normal.graph.node if node.op_type == "Gemm")
        next(attribute for attribute in gemm.attribute if attribute.name == "beta").f = 2.0
        return normal, report

    monkeypatch.setattr(foreign_onnx, "normalise", wrong)
    with pytest.raises(GraphError, match="does not compute what the original does"):
        network_of_chain(theirs, preprocess=PIXELS)
    assert not theirs.with_name("their.fp32.onnx").exists()
