"""The published JSON Schemas are those of the dataclasses, and refuse what the dataclasses would."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from resnet_deploy.core.artifacts import InputRecord, Manifest
from resnet_deploy.core.config import to_plain
from tests.docs.schemas import make_schemas


@pytest.mark.parametrize("document", make_schemas.DOCUMENTS)
def test_the_published_schema_is_that_of_the_dataclass(document):
    published = make_schemas.path_of(document).read_text(encoding="utf-8")
    assert published == make_schemas.text_of(document), "run: make schemas"
    Draft202012Validator.check_schema(make_schemas.schema_of(document))


def test_every_published_schema_has_a_document():
    assert {path.name.split(".")[0] for path in make_schemas.FOLDER.glob("*.schema.json")} == {*make_schemas.DOCUMENTS}


def manifest() -> dict:
    record = InputRecord(role="onnx", file="a.onnx", sha256="0" * 64)
    return to_plain(
        Manifest(
            kind="engine", file="a.engine", sha256="1" * 64, size_bytes=3, stage="build", created="2026-01-01T00:00:00",
            inputs=(record,), options={}, versions={}, precision=None,
        )
    )  # fmt: skip


def problems(document: str, data: dict) -> list[str]:
    return [error.message for error in Draft202012Validator(make_schemas.schema_of(document)).iter_errors(data)]


def test_what_the_program_writes_fits():
    assert problems("manifest", manifest()) == []


@pytest.mark.parametrize(
    "fault, message",
    [
        ({"size_bytes": "3"}, "'3' is not of type 'integer'"),
        ({"precision": "int9"}, "'int9' is not valid"),
        ({"inputs": [{"role": "onnx"}]}, "'file' is a required property"),
        ({"colour": "red"}, "Additional properties are not allowed ('colour' was unexpected)"),
    ],
)
def test_a_wrong_document_is_refused(fault, message):
    assert any(message in said for said in problems("manifest", {**manifest(), **fault}))


def test_descriptions_come_from_the_docstrings():
    properties = make_schemas.schema_of("benchmark")["$defs"]["BenchRow"]["properties"]
    assert properties["file_mib"]["description"] == "Of the file that was run."
