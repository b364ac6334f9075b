"""Layer files of each layout are read; what is none is refused with its keys or with the way to a better one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.engine.inspection.layer_json import layers_from_json, read_layer_file
from tests.reference.layer_files import Row, document_10x, document_11x, residual_rows


def _parse(document: object):
    return layers_from_json(json.dumps(document), source="layers.json")


@pytest.mark.parametrize(("make", "layout"), [(document_10x, "10.x"), (document_11x, "11.x")])
def test_both_layouts_say_the_same(make, layout: str) -> None:
    rows = residual_rows(wide=("layer1.0.conv2",))
    found = _parse(make(rows))
    assert found.layout == layout and len(found.layers) == len(rows)
    for layer, row in zip(found.layers, rows, strict=True):
        assert (layer.reads, layer.writes) == (row.reads, row.writes)
        assert layer.nodes == tuple(row.nodes)
        assert layer.multiplies == (row.kind in ("convolution", "matrix product"))
        assert layer.weights == (row.reads if layer.multiplies else "")
    assert [tensor.name for tensor in found.io] == ["t0", f"t{len(rows)}"]
    assert found.io[0].dtype == "fp32" and found.io[0].shape == (1, 8, 16, 16)


def test_unknown_fields_and_missing_ones_do_no_harm() -> None:
    document = document_10x([Row(["conv1"], "int8", "int8")])
    document["Engine"] = {"future": True}
    layer = document["Layers"][0]
    layer["SomethingNew"] = [1, {"a": None}]
    del layer["Weights"], layer["Metadata"], layer["TacticName"]
    layer["Inputs"][0] = {"Name": "x", "Dimensions": None, "Format/Datatype": "N/A due to dynamic shapes"}
    layer["Outputs"] = None
    found = _parse(document).layers[0]
    assert (found.kind, found.reads, found.writes, found.weights) == ("convolution", "", "", "")
    assert found.moved_bytes is None and found.nodes == ("conv1",)  # by its name, as before there was metadata


def test_without_metadata_a_layer_is_known_by_its_parts() -> None:
    document = document_10x([Row(["w", "QuantizeLinear_7", "Conv_9", "PWN(Add_3, Relu_4)"], "int8", "int8")])
    document["Layers"][0]["Metadata"] = ""
    assert _parse(document).layers[0].nodes == ("w", "QuantizeLinear_7", "Conv_9", "Add_3", "Relu_4")


def test_the_first_profiles_layers_count_and_the_others_are_numbered() -> None:
    document = document_10x(residual_rows())
    count = len(document["Layers"])
    later = [{**layer, "Name": f"{layer['Name']} [profile 1]"} for layer in document["Layers"]]
    document["Layers"] += later
    document["Bindings"] += ["t0 [profile 1]"]
    found = _parse(document)
    assert (len(found.layers), found.num_profiles, len(found.io)) == (count, 2, 2)


def test_a_list_of_layers_is_taken_and_raw_separators_in_it() -> None:
    document = document_10x([Row(["a", "b"], "int8", "int8")])
    text = json.dumps(document["Layers"]).replace("\\u001e", "\x1e")
    assert "\x1e" in text
    assert layers_from_json(text, source="x").layers[0].nodes == ("a", "b")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"Layers": ["conv1 + relu", "maxpool"], "Bindings": ["x"]}, "names of 2 layers and nothing else"),
        ({"averageMs": 1.5, "count": 7}, "the keys 'averageMs', 'count', expected an engine's layers"),
        ({}, "no key"),
        ({"Layers": []}, "holds no layer"),
        ({"Layers": [{"name": "conv1", "percentage": 3}]}, "layer 0 has the keys 'name', 'percentage'"),
        ({"Layers": [{"Name": "a", "LayerType": "kgen"}, "b"]}, "layer 1 is 'b'"),
        (3, "holds 3"),
    ],
)
def test_another_layout_is_refused_with_what_it_is(document: object, says: str) -> None:
    with pytest.raises(ArtifactError, match=says):
        _parse(document)


def test_names_alone_send_to_a_build_with_details() -> None:
    with pytest.raises(ArtifactError) as caught:
        _parse({"Layers": ["conv1 + relu"]})
    assert "profilingVerbosity=detailed" in caught.value.remedy


def test_a_file_that_is_missing_or_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    with pytest.raises(ArtifactError, match="no such file"):
        read_layer_file(file)
    file.write_text(json.dumps(document_10x(residual_rows()))[:-20])
    with pytest.raises(ArtifactError, match="not JSON, or was cut off"):
        read_layer_file(file)
    file.write_text('{"Layers": ' + "9" * 5000 + "}")
    with pytest.raises(ArtifactError, match="not JSON"):
        read_layer_file(file)
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ArtifactError, match="is not text"):
        read_layer_file(file)
