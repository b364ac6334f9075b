from __future__ import annotations

from pathlib import Path

import pytest

from resnet_deploy.core.artifacts import manifest_path, read_manifest
from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.building.options import BatchProfile, BuildOptions
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.pipeline import build as module
from resnet_deploy.pipeline.build import build_and_ask
from resnet_deploy.pipeline.onnx_files import make_onnx_files


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, Path]:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    return make_onnx_files(find_net("resnet8"), folder=tmp_path_factory.mktemp("nets")).onnx


def built(onnx: Path, folder: Path, *targets: str, **options: object):
    return build_and_ask(BuildOptions(onnx=onnx, targets=targets, out=folder / "net.engine", **options))


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.INT8])
def test_what_an_engine_does_is_in_its_manifest(onnx, tmp_path: Path, precision: Precision) -> None:
    result, delivered = built(onnx[precision], tmp_path, "sm89")
    # resnet8: a stem, three blocks of two convolutions, option A; and the classifier
    assert (delivered.asked, delivered.known) == (str(precision), True)
    assert (delivered.num_layers, delivered.num_as_asked, delivered.missed) == (8, 8, ())
    kept = read_manifest(result.file).details["realised"]
    assert kept["num_as_asked"] == 8 and kept["summary"] == delivered.summary


def test_int8_that_is_computed_in_fp16_is_told(onnx, tmp_path: Path) -> None:
    _, delivered = built(onnx[Precision.INT8], tmp_path, "sm75", "sm86")
    # as TensorRT-RTX 1.7.1 builds for Turing; should a release do better, the counts say so
    assert delivered.known and delivered.num_as_asked < delivered.num_layers
    assert len(delivered.missed) == delivered.num_layers - delivered.num_as_asked
    assert "sm75" in delivered.reason


def test_two_profiles_are_one_network(onnx, tmp_path: Path) -> None:
    batches = (BatchProfile(min=1, opt=1, max=1), BatchProfile(min=2, opt=8, max=32))
    _, delivered = built(onnx[Precision.FP16], tmp_path, "sm89", batches=batches)
    assert not delivered.known or (delivered.num_layers, delivered.num_as_asked) == (8, 8)


def test_an_engine_is_asked_once(onnx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(onnx[Precision.FP16], tmp_path, "sm89")[1]
    monkeypatch.setattr(module, "find_layers", lambda file: pytest.fail("asked again"))
    result, again = built(onnx[Precision.FP16], tmp_path, "sm89")
    assert result.skipped and again == first


def test_an_engine_that_does_not_tell_is_built_all_the_same(onnx, tmp_path: Path, monkeypatch) -> None:
    def refuse(file: Path):
        raise ArtifactError(f"{file}: unknown form")

    monkeypatch.setattr(module, "find_layers", refuse)
    result, delivered = built(onnx[Precision.FP16], tmp_path, "sm89")
    assert result.file.is_file() and not delivered.known and "unknown form" in delivered.summary
    before = manifest_path(result.file).stat().st_mtime_ns
    assert not built(onnx[Precision.FP16], tmp_path, "sm89")[1].known
    assert manifest_path(result.file).stat().st_mtime_ns == before  # the same answer is not written again
    monkeypatch.undo()  # as on a machine whose GPU can tell
    assert built(onnx[Precision.FP16], tmp_path, "sm89")[1].known


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.INT8])
def test_a_classifier_of_one_image_is_a_product_and_a_sum(onnx, tmp_path: Path, precision: Precision) -> None:
    _, delivered = built(onnx[precision], tmp_path, "sm89", batches=(BatchProfile(min=1, opt=1, max=1),))
    assert (delivered.num_layers, delivered.num_as_asked) == (8, 8)
