"""Our configurations read back by Triton's own schema, field by field."""

import importlib.util
import sys
from dataclasses import replace
from enum import Enum

import pytest

from resnet_deploy.core.errors import ArtifactError, MissingDependencyError
from resnet_deploy.pipeline.triton import make_triton_repository
from resnet_deploy.ship.triton import schema
from resnet_deploy.ship.triton.options import TritonOptions
from resnet_deploy.ship.triton.schema import parse_config, schema_version
from resnet_deploy.ship.triton.text import config_text
from tests.ship.test_triton_rules import ENSEMBLE, PLAN
from tests.ship.triton_bundles import make_bundle, plan

needs_schema = pytest.mark.skipif(schema_version() is None, reason="tritonclient is not installed")


def plain(value):
    """What is written, as protobuf's own dictionary of a message has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        entries = {name: getattr(value, name) for name in value.__dataclass_fields__}
        return {name: plain(entry) for name, entry in entries.items() if entry is not None and entry not in ((), {})}
    return value


def numbers(value):
    """protobuf writes 64-bit numbers as texts, and leaves out zeros, of enumerations too."""
    if isinstance(value, dict):
        found = {key: numbers(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in ("0", False, "KIND_AUTO")}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@needs_schema
@pytest.mark.parametrize(
    ("bundle", "options"),
    [
        ({}, {}),
        ({"labels": False}, {"tensorrt_provider": True, "queue_timeout_us": 50_000}),
        ({"plans": [plan("8.6"), plan("8.9")]}, {"preferred_batches": (4, 8), "cuda_graphs": True, "num_profiles": 3}),
        ({"in_graph": True}, {"instances": 4}),
    ],
)
def test_what_is_written_is_what_triton_reads(tmp_path, monkeypatch, bundle, options):
    from google.protobuf import json_format

    from resnet_deploy.ship.triton import repository

    configs = []
    write = repository._write_config
    monkeypatch.setattr(
        repository, "_write_config", lambda place, config: configs.append(config) or write(place, config)
    )
    make_bundle(tmp_path / "b", **bundle)
    record = make_triton_repository(tmp_path / "b", tmp_path / "models", TritonOptions(**options))
    assert record.checked_by == f"tritonclient {schema_version()}"
    assert len(configs) == len(record.models)
    for config in configs:
        message = parse_config((tmp_path / "models" / config.name / "config.pbtxt").read_text(), name=config.name)
        read = json_format.MessageToDict(message, preserving_proto_field_name=True)
        assert numbers(read) == numbers(plain(config))


@needs_schema
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_batch_size", "max_batchsize"),
        ("KIND_GPU", "KIND_TPU"),
        ("dims: [3, 2, 2]", "dims: [3.5]"),
        ('name: "net"', "name: net"),
        ("max_batch_size: 8", 'max_batch_size: "8"'),
        ("instance_group {", "instance_group {{"),
    ],
)
def test_a_planted_fault_is_seen_by_the_schema(old, new):
    text = config_text(PLAN)
    parse_config(text, name="net/config.pbtxt")
    assert old in text
    with pytest.raises(ArtifactError, match=r"net/config.pbtxt is no configuration by the schema of tritonclient \d"):
        parse_config(text.replace(old, new, 1), name="net/config.pbtxt")


@needs_schema
def test_every_text_comes_back_as_it_was():
    text = 'a "quoted" \\ back\tslash\nnew line, ümlaut \u2028'
    config = replace(PLAN, metric_tags={text: text})
    assert dict(parse_config(config_text(config), name="x").metric_tags) == {text: text}


def test_the_text_of_a_configuration():
    text = config_text(ENSEMBLE)
    assert text.startswith('name: "both"\nplatform: "ensemble"\nmax_batch_size: 1\ninput {\n  name: "pixels"\n')
    assert "  dims: [-1, -1, 3]\n}\n" in text
    assert '    input_map {\n      key: "pixels"\n      value: "pixels"\n    }\n' in text
    assert text.endswith("response_cache {\n  enable: false\n}\n")
    assert "backend" not in text and "None" not in text


@pytest.fixture
def fresh_schema():
    schema._schema.cache_clear()
    yield
    schema._schema.cache_clear()


def test_without_the_schema_a_repository_is_written_and_says_so(tmp_path, monkeypatch, fresh_schema):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    make_bundle(tmp_path / "b")
    record = make_triton_repository(tmp_path / "b", tmp_path / "models")
    assert record.checked_by == ""
    with pytest.raises(MissingDependencyError, match="tritonclient, which holds Triton's schema"):
        parse_config("", name="x")


@pytest.mark.parametrize(
    "line", ["raise TypeError('Descriptors cannot be created directly')", "import protobuf_of_2031"]
)
def test_a_schema_that_this_protobuf_refuses_counts_as_none(tmp_path, monkeypatch, fresh_schema, line):
    (tmp_path / "tritonclient/grpc").mkdir(parents=True)
    (tmp_path / "tritonclient/__init__.py").write_text("")
    (tmp_path / "tritonclient/grpc/model_config_pb2.py").write_text(f"{line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tritonclient", raising=False)
    assert schema_version() is None
