from dataclasses import dataclass, make_dataclass
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    steps: tuple[int, ...] = ()
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ConfigError(f"rate is {self.rate}, expected above 0", remedy="take 0.1")


def test_what_a_dataclass_refuses_itself_is_one_line_and_its_remedy_the_remedy():
    with pytest.raises(ConfigError) as caught:
        from_plain(Checked, {"rate": -1}, source="x.toml")
    assert caught.value.message == "x.toml: 1 problem:\n  rate is -1.0, expected above 0"
    assert caught.value.remedy == "take 0.1"


def test_of_several_problems_the_remedy_is_the_callers():
    with pytest.raises(ConfigError) as caught:
        from_plain(Checked, {"rate": "x", "steps": [0.5]}, source="x.toml", remedy="look it up")
    assert "2 problems" in caught.value.message and caught.value.remedy == "look it up"


@pytest.mark.parametrize("given", ["abc", 8000, {"a": 1}])
def test_what_is_no_list_is_refused_once_with_an_example(given):
    with pytest.raises(
        ConfigError, match=r"1 problem:\n.* is not a list, expected one such as \[8000, 12000\] @"
    ) as caught:
        from_plain(Checked, {"steps": given}, source="x.toml")
    assert repr(given) in caught.value.message


def test_an_unknown_key_shows_a_few_known_ones_but_never_a_screenful():
    with pytest.raises(ConfigError, match=r"unknown key 'zzz' \(known: steps, rate\)"):
        from_plain(Checked, {"zzz": 1}, source="x.toml")
    many = make_dataclass("Many", [(f"learning_{i}", int, 0) for i in range(20)] + [("other", int, 0)], frozen=True)
    with pytest.raises(ConfigError) as caught:
        from_plain(many, {"zzz": 1}, source="x.toml")
    assert caught.value.message.endswith("unknown key 'zzz'")
    with pytest.raises(ConfigError, match=r"unknown key .my_long_other. \(other\?\)"):
        from_plain(many, {"my_long_other": 1}, source="x.toml")


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match="name"):
        from_plain(Outer, {}, source="x.toml")


def test_toml_errors_name_the_file(tmp_path):
    path = tmp_path / "x.toml"
    with pytest.raises(ConfigError, match=r"x\.toml: no such file"):
        load_toml(Outer, path)
    path.write_text("name = ")
    with pytest.raises(ConfigError, match=r"x\.toml: not a TOML file") as caught:
        load_toml(Outer, path)
    assert "deploy" not in caught.value.remedy  # recipes are TOML files too
    with pytest.raises(ConfigError, match="is a folder, expected a .toml file"):
        load_toml(Outer, tmp_path)
    path.write_text('name = "a"\n[inner]\nepochs = 5\n')
    assert load_toml(Outer, path).inner.epochs == 5


def test_a_preprocess_that_can_not_be_is_refused():
    with pytest.raises(ConfigError, match="resize_shorter_px 200 is smaller than the crop 224x224"):
        Preprocess(height_px=224, width_px=224, resize_shorter_px=200, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ConfigError, match="preprocess version 99"):
        Preprocess(height_px=1, width_px=1, resize_shorter_px=None, mean=(0, 0, 0), std=(1, 1, 1), version=99)
