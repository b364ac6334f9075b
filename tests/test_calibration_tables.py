"""The tables in calibration/ belong to the nets in models/."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactMismatchError
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.quant.table import read_table

ROOT = Path(__file__).resolve().parent.parent
NETS = sorted(folder.name for folder in (ROOT / "models").iterdir() if list(folder.glob("*.safetensors")))


def _table_file(net: str) -> Path:
    return ROOT / "calibration" / f"{net}.calib.json"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The FP32 file of a net of the zoo, exported once."""
    folder, done = tmp_path_factory.mktemp("zoo"), {}

    def export(net: str) -> Path:
        if net not in done:
            checkpoint = ROOT / "models" / net / f"{net}.safetensors"
            done[net] = export_onnx(ExportOptions(checkpoint=checkpoint, out=folder / f"{net}.fp32.onnx")).file
        return done[net]

    return export


def _skip_where_the_exporter_is_another(net: str, exported_sha256: str) -> None:
    """The ONNX file's bytes are those of torch's exporter and onnx's writer: another release may give others."""
    manifest = read_manifest(_table_file(net), kind="calibration")
    if exported_sha256 == manifest.input_sha256("onnx"):
        return
    made, here = ({name: version(name) for name in ("torch", "onnx")} for version in (manifest.versions.get, _version))
    if made != here:
        pytest.skip(f"the ONNX file differs: the table was made with {made}, here are {here}")


def _version(name: str) -> str:
    return metadata.version(name)


def test_every_net_of_the_zoo_has_a_table_and_every_table_a_net():
    assert NETS
    assert sorted(file.name for file in (ROOT / "calibration").glob("*.calib.json")) == [
        f"{net}.calib.json" for net in NETS
    ]


@pytest.mark.parametrize("net", NETS)
def test_a_table_is_whole_and_says_what_it_was_made_from(net):
    manifest = read_manifest(_table_file(net), kind="calibration")  # refuses a table that was changed
    table = read_table(_table_file(net))
    assert (table.method, table.num_images, table.num_distinct) == ("auto", 640, 640)
    assert len(set(table.images)) == 640
    assert manifest.details["split"] == "train" and manifest.options["seed"] == 0
    assert manifest.input_sha256("onnx") == table.network_sha256
    assert net in (ROOT / "calibration" / "README.md").read_text()
    for text in (_table_file(net).read_text(), Path(f"{_table_file(net)}.json").read_text()):
        assert str(ROOT) not in text and "shared" not in text


@pytest.mark.parametrize("net", NETS)
def test_a_table_belongs_to_the_network_that_its_checkpoint_exports(exported, net):
    file = exported(net)
    sha256 = read_manifest(file).sha256
    _skip_where_the_exporter_is_another(net, sha256)
    table = read_table(_table_file(net), network_sha256=sha256)
    assert set(table.tensors) == set(find_placement(read_onnx(file)).tensors)


def test_a_table_of_another_net_of_the_zoo_is_refused(exported):
    sha256 = read_manifest(exported(NETS[0])).sha256
    with pytest.raises(ArtifactMismatchError, match="was made for the network with SHA-256"):
        read_table(_table_file(NETS[1]), network_sha256=sha256)


def test_quantize_takes_a_table_of_the_zoo(exported, tmp_path):
    file = exported(NETS[0])
    _skip_where_the_exporter_is_another(NETS[0], read_manifest(file).sha256)
    done = quantize_onnx(QuantizeOptions(onnx=file, table=_table_file(NETS[0]), out=tmp_path / "net.int8.onnx"))
    assert done.method == "auto" and done.warnings == () and done.refusals == ()
