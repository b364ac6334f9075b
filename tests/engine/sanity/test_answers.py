"""How the gate compares answers: shares of the largest output, logarithms of probabilities, ties of a top-k."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.sanity.answers import AnswerScale, differing_bits, first_nonfinite
from resnet_deploy.engine.sanity.limits import rounding_limit

LOGITS = np.float32([[1, -4, 2], [0, 3, 1]])


def test_a_difference_is_a_share_of_the_largest_output_and_names_its_row() -> None:
    other = LOGITS.copy()
    other[1, 2] += 0.5
    found = AnswerScale({"y": LOGITS}, limit=1e-3).difference({"y": other}, {"y": LOGITS})
    assert (found.value, found.row, found.output) == (0.5 / 4, 1, "y")


def test_what_is_not_finite_is_infinitely_far_even_from_itself() -> None:
    bad = LOGITS.copy()
    bad[0, 0] = np.nan
    scale = AnswerScale({"y": LOGITS}, limit=1e-3)
    assert scale.difference({"y": bad}, {"y": bad}).value == np.inf
    assert AnswerScale({"y": bad}, limit=1e-3).difference({"y": LOGITS}, {"y": LOGITS}).value == 0


def test_probabilities_are_compared_by_their_logarithms() -> None:
    """Logits 20 and 19.4 against 20 and 20: 3 % of the largest logit, but 15 points of probability."""
    logits = np.float32([[20, 19.4, 0], [0, 8, 20]])
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    shifted = np.float32([[20, 20, 0], [0, 8, 20]])
    other = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    scale = AnswerScale({"p": exact}, limit=2**-5)
    assert np.abs(exact - other).max() > 0.14
    # the logarithm of a probability is at least -13 ln 2 = -9.0: 0.35 of the middle one is 3.8 % of it
    assert scale.difference({"p": other}, {"p": exact}).value == pytest.approx(0.35 / 9.01, rel=0.02)
    # and a vector of another sum is no probability
    assert AnswerScale({"p": exact * 1.01}, limit=1).difference({"p": exact}, {"p": exact * 1.01}).value < 0.011


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ([9.0, 5.0, 4.999], False),  # the middle one ties with the last
        ([9.0, 5.0, 1.0], True),  # it does not
        ([5.001, 5.0, 1.0], False),  # it ties with the first
    ],
)
def test_an_index_may_differ_where_its_value_ties_with_a_neighbours(values: list, wrong: bool) -> None:
    got = {"values": np.float32([values]), "indices": np.int64([[3, 7, 1]])}
    expected = {"values": np.float32([values]), "indices": np.int64([[3, 2, 1]])}
    scale = AnswerScale(expected, limit=2**-13)
    assert scale.difference(got, expected).value == (1.0 if wrong else 0.0)


def test_the_last_index_has_a_rival_that_is_not_shown() -> None:
    got = {"values": np.float32([[9, 5, 1]]), "indices": np.int64([[3, 2, 8]])}
    expected = got | {"indices": np.int64([[3, 2, 1]])}
    assert AnswerScale(expected, limit=2**-13).difference(got, expected).value == 0


def test_an_index_alone_must_be_equal() -> None:
    scale = AnswerScale({"class": np.int64([[1], [2]])}, limit=2**-13)
    found = scale.difference({"class": np.int64([[1], [3]])}, {"class": np.int64([[1], [2]])})
    assert (found.value, found.row) == (1.0, 1)


def test_bits_tell_zeros_apart_and_nan_equals_itself() -> None:
    a = np.float32([[np.nan, 0.0], [1.0, 2.0]])
    assert differing_bits({"y": a}, {"y": a.copy()}) is None
    b = a.copy()
    b[0, 1] = -0.0
    assert differing_bits({"y": b}, {"y": a}) == (0, "y")
    assert differing_bits({"y": a[::-1]}, {"y": a}) == (0, "y")  # not contiguous


def test_the_first_value_that_is_not_finite_is_found_in_any_output() -> None:
    maps = np.zeros((3, 2, 2, 2), np.float16)
    maps[2, 1, 0, :] = np.inf
    assert first_nonfinite({"i": np.int64([[1], [2], [3]]), "maps": maps}) == (2, "maps", 2)
    assert first_nonfinite({"maps": maps[:2]}) is None


def test_fewer_bits_have_wider_limits_and_none_reaches_half_of_a_swapped_row() -> None:
    limits = [rounding_limit(precision) for precision in Precision]
    assert limits == sorted(limits) or rounding_limit(Precision.BF16) == rounding_limit(Precision.INT8)
    assert max(limits) == 2**-2
    assert rounding_limit(Precision.INT8, tf32=True) == rounding_limit(Precision.INT8)
