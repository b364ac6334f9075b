from __future__ import annotations

import pytest

from resnet_deploy.report.numbers import count, fixed, measured, millions, plural, signed, three_figures


@pytest.mark.parametrize(
    ("value", "text"), [(0.54147, "0.541"), (45.0, "45.0"), (170.0, "170"), (1234.5, "1,234"), (0, "0"), (None, "-")]
)
def test_three_figures(value: float | None, text: str) -> None:
    assert three_figures(value) == text


def test_a_sign_is_never_that_of_minus_zero() -> None:
    assert [signed(value) for value in (-0.001, 0.5, -0.25, None)] == ["+0.00", "+0.50", "-0.25", "-"]


def test_what_was_not_measured_is_a_dash_or_says_so() -> None:
    assert [count(None), fixed(None), millions(None), measured(None)] == ["-", "-", "-", "not measured"]


def test_a_value_close_to_one_does_not_read_as_one() -> None:
    assert measured(0.9999998) == "0.9999998" and measured(1.0) == "1" and measured(27.4123) == "27.41"


def test_one_of_a_thing_has_no_plural() -> None:
    assert [plural(n, "image") for n in (0, 1, 1000)] == ["0 images", "1 image", "1,000 images"]
    assert [millions(1_814_073_344), millions(269_722)] == ["1.81 G", "0.27 M"]
