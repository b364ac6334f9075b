from dataclasses import dataclass
from pathlib import Path

import pytest

from resnet_deploy.core.config import from_plain, load_toml, to_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision, Preprocess


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    epochs: int = 1
    rate: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    name: str
    where: Path = Path("out")
    precisions: tuple[Precision, ...] = ()
    inner: Inner = Inner()
    fast: bool = False


def test_round_trip():
    value = Outer(name="a", precisions=(Precision.INT8,), inner=Inner(epochs=3))
    assert from_plain(Outer, to_plain(value), source="test") == value


def test_every_problem_is_reported_at_once():
    data = {"name": 3, "precisions": ["int9"], "inner": {"epoch": 2, "rate": "fast"}, "fast": 1}
    with pytest.raises(ConfigError) as caught:
        from_plain(Outer, data, source="x.toml")
    message = str(caught.value)
    for part in (
        "3 is not a text",
        "int9",
        "'epoch'",
        "did you mean 'epochs'",
        "'fast' is not a number",
        "1 is not true",
    ):
        assert part in message, f"{part!r} is missing in:\n{message}"


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match="name"):
        from_plain(Outer, {}, source="x.toml")


def test_toml_errors_name_the_file(tmp_path):
    path = tmp_path / "x.toml"
    with pytest.raises(ConfigError, match=r"x\.toml: no such file"):
        load_toml(Outer, path)
    path.write_text("name = ")
    with pytest.raises(ConfigError, match=r"x\.toml: not a TOML file"):
        load_toml(Outer, path)
    path.write_text('name = "a"\n[inner]\nepochs = 5\n')
    assert load_toml(Outer, path).inner.epochs == 5


def test_a_preprocess_that_can_not_be_is_refused():
    with pytest.raises(ConfigError, match="resize_shorter_px 200 is smaller than the crop 224x224"):
        Preprocess(height_px=224, width_px=224, resize_shorter_px=200, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ConfigError, match="preprocess version 99"):
        Preprocess(height_px=1, width_px=1, resize_shorter_px=None, mean=(0, 0, 0), std=(1, 1, 1), version=99)
