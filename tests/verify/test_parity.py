from __future__ import annotations

import math

import numpy as np
import pytest

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.verify.parity import compare_outputs

_RNG = np.random.default_rng(0)
_R = _RNG.standard_normal((40, 10)).astype(np.float32)


def _split(x: np.ndarray, size: int) -> list[np.ndarray]:
    return [x[i : i + size] for i in range(0, len(x), size)]


def test_equal_outputs_have_no_error() -> None:
    parity = compare_outputs([_R], [_R.copy()])
    assert (parity.max_abs_error, parity.mean_abs_error, parity.max_relative_error) == (0, 0, 0)
    assert (parity.sqnr_db, parity.top1_agreement, parity.num_rows, parity.num_values) == (300, 1, 40, 400)
    assert parity.cosine == pytest.approx(1, abs=1e-12) and parity.gain == pytest.approx(1, abs=1e-12)


def test_statistics_follow_their_definitions_on_the_whole_array() -> None:
    candidate = _R + _RNG.normal(0, 0.1, _R.shape).astype(np.float32)
    parity = compare_outputs(_split(_R, 7), _split(candidate, 7))
    r, c = _R.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    # Sums of 400 float64 in another order: relative 400 * 2^-53 < 1e-13.
    assert parity.max_abs_error == pytest.approx(np.abs(c - r).max(), rel=1e-12)
    assert parity.mean_abs_error == pytest.approx(np.abs(c - r).mean(), rel=1e-12)
    assert parity.cosine == pytest.approx(r @ c / math.sqrt((r @ r) * (c @ c)), rel=1e-12)
    assert parity.gain == pytest.approx(np.polyfit(r, c, 1, w=None)[0], rel=0.05)  # polyfit has an offset as well
    assert parity.sqnr_db == pytest.approx(10 * math.log10((r @ r) / ((c - r) @ (c - r))), rel=1e-12)
    assert parity.top1_agreement == np.mean(_R.argmax(1) == candidate.argmax(1))
    for found, percent in zip(
        (parity.abs_error_p50, parity.abs_error_p90, parity.abs_error_p99, parity.abs_error_p999),
        (50, 90, 99, 99.9),
        strict=True,
    ):
        true = np.quantile(np.abs(c - r), percent / 100, method="inverted_cdf")
        assert found == pytest.approx(true, rel=2**-7 + 1e-6)  # half a bin, and float32


def test_a_factor_of_two_shows_in_sqnr_and_gain_though_not_in_cosine_or_agreement() -> None:
    parity = compare_outputs([_R], [2 * _R])
    assert parity.cosine == pytest.approx(1, abs=1e-12) and parity.top1_agreement == 1
    assert parity.sqnr_db == pytest.approx(0, abs=1e-9) and parity.gain == pytest.approx(2, rel=1e-12)


def test_nan_and_infinity_are_counted_and_do_not_hide_other_errors() -> None:
    candidate = _R.copy()
    candidate[0, 0], candidate[1, 1], candidate[2, 2] = np.nan, np.inf, candidate[2, 2] + 5
    parity = compare_outputs([_R], [candidate])
    assert (parity.num_reference_nonfinite, parity.num_candidate_nonfinite) == (0, 2)
    assert parity.max_abs_error == pytest.approx(5, rel=1e-6)  # 5 is added to a float32 near 1
    assert parity.top1_agreement <= 39 / 40


def test_nothing_finite_leaves_no_number_that_could_pass() -> None:
    parity = compare_outputs([_R], [np.full_like(_R, np.nan)])
    assert (parity.max_abs_error, parity.cosine, parity.sqnr_db, parity.gain) == (None, None, None, None)
    assert parity.top1_agreement == 0


def test_zero_outputs_are_not_perfect() -> None:
    parity = compare_outputs([_R], [np.zeros_like(_R)])
    assert parity.cosine == 0 and parity.sqnr_db == pytest.approx(0, abs=1e-9)


def test_streams_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(EngineRunError, match=r"\[40, 10\].*\[40, 9\]"):
        compare_outputs([_R], [_R[:, :9]])
    with pytest.raises(EngineRunError, match="candidate ends after 1 batches"):
        compare_outputs([_R, _R], [_R])


def test_batch_size_does_not_change_the_result() -> None:
    candidate = _R * np.float32(1.01)
    one, many = compare_outputs([_R], [candidate]), compare_outputs(_split(_R, 3), _split(candidate, 3))
    assert one.top1_agreement == many.top1_agreement and one.max_abs_error == many.max_abs_error
    assert one.sqnr_db == pytest.approx(many.sqnr_db, rel=1e-9)
