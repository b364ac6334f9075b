from __future__ import annotations

import math

import pytest

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.verify.thresholds import Thresholds, resolve_limits


@pytest.mark.parametrize("precision", [*Precision, None], ids=str)
@pytest.mark.parametrize("num_layers", [8, 20, 152, 1202, None])
def test_the_default_cosine_is_no_stricter_than_the_default_sqnr(precision, num_layers) -> None:
    limits = resolve_limits(Thresholds(), precision, num_layers)
    # Noise at right angles to the signal: the cosine that belongs to the SQNR; rounded to one digit of the rest.
    exact = 1 / math.sqrt(1 + 10 ** (-limits.min_sqnr_db / 10))
    assert limits.min_cosine <= exact and 1 - limits.min_cosine <= 2 * (1 - exact)


@pytest.mark.parametrize(("precision", "bits"), [(Precision.FP16, 11), (Precision.BF16, 8)])
def test_the_default_sqnr_is_a_random_walk_over_the_layers(precision: Precision, bits: int) -> None:
    for layers in (20, 56, 110):
        error = 5 * 2.0**-bits * math.sqrt(layers)
        limits = resolve_limits(Thresholds(), precision, layers)
        assert limits.min_sqnr_db == pytest.approx(-20 * math.log10(error), abs=0.1)
        assert f"{layers} layers round by 2^-{bits}" in limits.sources["min_sqnr_db"]
    assert "152 layers (supposed)" in resolve_limits(Thresholds(), precision).sources["min_sqnr_db"]


def test_deeper_networks_and_fewer_bits_may_err_more() -> None:
    sqnr = {
        (p, n): resolve_limits(Thresholds(), p, n).min_sqnr_db
        for p in (Precision.FP16, Precision.BF16)
        for n in (20, 152)
    }
    assert sqnr[Precision.FP16, 20] > sqnr[Precision.FP16, 152] > sqnr[Precision.BF16, 20]


def test_every_limit_says_whether_it_was_given_or_where_it_comes_from() -> None:
    limits = resolve_limits(Thresholds(min_cosine=0.9, max_top1_drop=0.0), Precision.INT8, 50)
    assert (limits.min_cosine, limits.max_top1_drop) == (0.9, 0.0)
    assert limits.sources["min_cosine"] == limits.sources["max_top1_drop"] == "given"
    assert limits.sources["min_agreement"] == "int8 default: a convention, 30 of 1,000 images may flip"
    assert limits.sources["min_sqnr_db"].startswith("int8 default: ")
    assert resolve_limits(Thresholds(), None).sources["min_sqnr_db"].startswith("precision unknown, fp32 default")
    assert resolve_limits(Thresholds(), Precision.FP32).max_top1_drop == 0.5


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"max_top1_drop": -1.0}, "max_top1_drop is -1.0"),
        ({"min_agreement": 97.0}, "min_agreement is 97.0"),
        ({"min_cosine": 1.5}, "min_cosine is 1.5"),
        ({"min_sqnr_db": math.nan}, "min_sqnr_db is nan"),
    ],
)
def test_limits_out_of_range_are_refused(bad: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Thresholds(**bad)
