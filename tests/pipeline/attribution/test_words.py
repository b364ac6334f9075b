"""The sentence says what the numbers say, and no more."""

from __future__ import annotations

import pytest

from resnet_deploy.core.metrics import paired_drop_interval
from resnet_deploy.pipeline.attribution.words import sentence_of, steps_in_words
from resnet_deploy.verify.attribution.measure import ChainMeasurement
from resnet_deploy.verify.attribution.result import ChainFile, Interaction, Step


def _step(cause: str, lost: int, gained: int, *, identical: bool = False) -> Step:
    low, high = paired_drop_interval(lost, gained, 10_000)
    return Step(
        cause=cause,
        before="",
        after="",
        top1_before=80.0,
        top1_after=80.0,
        drop=(lost - gained) / 100,
        drop_low=low,
        drop_high=high,
        num_lost=lost,
        num_gained=gained,
        num_flips=lost + gained,
        agreement=1 - (lost + gained) / 10_000,
        mcnemar_p=0.5,
        sqnr_db=30.0,
        distinguishable=low > 0 or high < 0,
        identical=identical,
    )


def _file(num_nonfinite_rows: int = 0) -> ChainFile:
    return ChainFile(
        name="int8 onnx",
        file="net.int8.onnx",
        sha256="",
        made=False,
        how="",
        precision=None,
        backend="onnxruntime",
        version="1",
        device="cpu",
        num_top1_hits=8000,
        top1_percent=80.0,
        top1_low=79.0,
        top1_high=81.0,
        num_nonfinite_rows=num_nonfinite_rows,
    )


def _found(steps: list[Step], total: Step, **changed) -> ChainMeasurement:
    given = {"interaction": None, "pixel_alternatives": (), "notes": (), "files": (_file(),)} | changed
    return ChainMeasurement(num_images=10_000, steps=tuple(steps), total=total, **given)


_SAME = _step("preprocessing", 0, 0, identical=True)


@pytest.mark.parametrize(
    "steps, total, largest, expected",
    [
        (
            [_SAME, _step("export", 0, 0), _step("quantisation", 300, 100)],
            _step("total", 300, 100),
            "quantisation",
            ["loses 2.00 points", "Quantisation loses most: 2.00", "Preprocessing changed nothing", "none: export."],
        ),
        (
            [_SAME, _step("quantisation", 59, 59), _step("precision conversion", 60, 53)],
            _step("total", 66, 59),
            "",
            ["has no loss of top-1 that 10000 images can tell from none", "none: quantisation, precision conversion."],
        ),
        (
            [_SAME, _step("quantisation", 81, 63), _step("precision conversion", 73, 66)],
            _step("total", 90, 65),
            "",
            ["loses 0.25 points", "No step loses enough by itself", "quantisation seems to lose most: 0.18"],
        ),
        (
            [_step("preprocessing", 10, 300), _step("quantisation", 300, 10)],
            _step("total", 20, 20),
            "quantisation",
            ["has no loss", "Quantisation loses most: 2.90", "Preprocessing gains 2.90 points"],
        ),
        ([_step("refinement", 10, 300)], _step("total", 10, 300), "", ["gains 2.90 points", "Refinement gains"]),
    ],
)
def test_a_sentence_says_what_lost_and_what_can_not_be_told(steps, total, largest, expected) -> None:
    said = sentence_of(_found(steps, total), largest, reached=True)
    assert said.startswith("The candidate ") and all(part in said for part in expected), said


def test_a_candidate_that_was_not_reached_is_not_spoken_of() -> None:
    said = sentence_of(_found([_SAME], _SAME), "", reached=False)
    assert said.startswith("The last file that runs here (int8 onnx) has no loss")


def test_order_and_values_that_are_no_numbers_are_remarked() -> None:
    found = _found([_SAME], _SAME, files=(_file(3),))
    assert list(steps_in_words(found, False)) == ["int8 onnx gives NaN or infinity on 3 images"]
    assert "could not be measured" in next(steps_in_words(found, True))
    both = Interaction(
        cause="precision conversion",
        other="quantisation",
        drop_after=0.07,
        drop_first=-0.01,
        points=0.08,
        low=-0.13,
        high=0.29,
    )
    assert "+0.07 points after quantisation and -0.01 before it, so +0.08 points" in next(
        steps_in_words(_found([_SAME], _SAME, interaction=both), True)
    )
