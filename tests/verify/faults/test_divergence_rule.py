from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.core.specs import Precision
from resnet_deploy.verify.faults.divergence_rule import LayerError, find_reasons, limit_of


def _errors(values, *, explained=None, group="product") -> list[LayerError]:
    return [LayerError(value, 0, explained, group) for value in values]


def test_the_limit_is_that_of_the_coarser_precision_and_higher_for_one_graph_on_two_backends() -> None:
    assert limit_of(Precision.FP32, Precision.INT8) == limit_of(Precision.INT8, Precision.FP32) == 10
    assert limit_of(Precision.FP16, Precision.FP32) == 40
    assert limit_of(Precision.INT8, Precision.INT8, same_graph=True) == 20
    assert limit_of(Precision.FP32, Precision.FP32, same_graph=True) == 60


def test_rounding_to_each_precision_stays_over_its_limit_and_a_factor_of_four_does_not() -> None:
    """Oracle: a product of Gaussian values whose input, weight and result are rounded as the precision does."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((256, 64)), rng.standard_normal((64, 32))

    def sqnr(other):
        return 10 * np.log10(np.square(x @ w).sum() / np.square(other - x @ w).sum())

    def halved(v):
        return v.astype(np.float16).astype(np.float64)

    def stepped(v):
        step = np.abs(v).max() / 127
        return np.round(v / step) * step

    assert sqnr(halved(halved(x) @ halved(w))) > limit_of(Precision.FP32, Precision.FP16) + 20
    assert sqnr(stepped(x) @ stepped(w)) > limit_of(Precision.FP32, Precision.INT8) + 20
    for factor, expected in ((4, -9.5), (2, 0)):
        assert sqnr(factor * (x @ w)) == pytest.approx(expected, abs=0.1)
        assert find_reasons(_errors([sqnr(factor * (x @ w))]), 10)[0]


def test_each_rule_names_its_reason_and_sound_layers_have_none() -> None:
    layers = [LayerError(30.0, 0, 32.0, None), LayerError(-9.5, 0, 30.0, None), LayerError(20.0, 0, 32.0, None),
              LayerError(25.0, 7, 30.0, None), LayerError(None, 0, None, None)]  # fmt: skip
    reasons = find_reasons(layers, 10)
    assert reasons[0] == reasons[4] == ""
    assert "under the limit of 10 dB" in reasons[1] and "12.0 dB worse than its bits allow" in reasons[2]
    assert reasons[3] == "7 values are not finite"


def test_an_outlier_stands_out_of_its_group_only_near_the_limit() -> None:
    alike = [70.0, 71.0, 72.0, 70.5, 71.5, 69.5]
    assert find_reasons(_errors([*alike, 50.0]), 40)[:6] == [""] * 6
    assert (
        "50.0 dB stands out: 20.5 dB under the median of its 7 like layers"
        in find_reasons(_errors([*alike, 50.0]), 40)[6]
    )
    assert find_reasons(_errors([*alike, 50.0], group=None), 40)[6] == ""
    assert find_reasons(_errors([*alike, 66.0]), 40)[6] == ""  # less than a factor of two under the median
    assert find_reasons(_errors([140.0, 141.0, 142.0, 139.0, 140.5, 100.0]), 60)[5] == ""  # 1e-5 is no fault
    assert find_reasons(_errors([70.0, 71.0, 50.0]), 40)[2] == ""  # three layers say nothing of how they scatter


def test_sound_groups_of_normal_scatter_rarely_have_an_outlier() -> None:
    """The score is 3.5 standard deviations where scatter is normal: 2.3e-4 a layer; 5,000 layers give 1.2, under 8."""
    rng = np.random.default_rng(0)
    flagged = sum(bool(r) for _ in range(100) for r in find_reasons(_errors(list(rng.normal(55, 4, 50))), 40))
    assert flagged <= 8
