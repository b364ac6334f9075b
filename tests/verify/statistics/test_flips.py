from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.verify.averaging import softmax
from resnet_deploy.verify.statistics.flips import FlipRecorder, probability_margins

_NAMES = ("ant", "bee", "cat", "dog")
_RNG = np.random.default_rng(0)
_LOGITS = _RNG.normal(0, 3, (500, 4)).astype(np.float32)


def _record(reference, candidate, labels, *, are_logits: bool = True, batch: int = 100):
    recorder = FlipRecorder(are_logits=are_logits)
    places = np.arange(len(reference))
    num = sum(
        recorder.add(reference[at], candidate[at], at, None if labels is None else labels[at])
        for at in np.array_split(places, max(1, len(places) // batch))
    )
    flips = recorder.result(_NAMES, "img{}.png".format, labelled=labels is not None, level=0.05)
    assert flips.rate.num_hits == num
    return flips


def test_margins_are_gaps_of_sorted_probabilities() -> None:
    p = np.sort(softmax(_LOGITS), axis=1)
    # float32 exponentials: a relative 1e-6.
    np.testing.assert_allclose(probability_margins(_LOGITS, are_logits=True), p[:, -1] - p[:, -2], atol=2e-6)
    probabilities = softmax(_LOGITS).astype(np.float32)
    np.testing.assert_allclose(probability_margins(probabilities, are_logits=False), p[:, -1] - p[:, -2], atol=2e-6)


def test_margins_of_large_logits_do_not_overflow_and_those_of_nan_are_nan() -> None:
    rows = np.array([[1e4, 0.0, 0.0, 0.0], [1.0, np.nan, 0.0, 0.0], [5.0, 5.0, 0.0, 0.0]], np.float32)
    found = probability_margins(rows, are_logits=True)
    assert found[0] == 1 and np.isnan(found[1]) and found[2] == 0


def test_equal_networks_do_not_flip() -> None:
    flips = _record(_LOGITS, _LOGITS.copy(), _LOGITS.argmax(1))
    assert flips.rate.num_hits == 0 and flips.rate.high < 1 and flips.suspicious == ()
    assert flips.flipped_margins is None and flips.all_margins.num_images == 500
    assert (flips.num_right_to_wrong, flips.num_wrong_to_right, flips.num_wrong_to_wrong) == (0, 0, 0)


def test_planted_flips_are_found_with_their_kind_and_the_surest_comes_first() -> None:
    reference = np.tile(np.float32([2, 1, 0, 0]), (10, 1))
    reference[7] = [9, 0, 0, 0]
    candidate = reference.copy()
    candidate[[1, 3, 5, 7]] = [0, 2, 1, 0]
    labels = np.array([0, 0, 0, 1, 0, 2, 0, 0, 0, 0])
    flips = _record(reference, candidate, labels, batch=3)
    assert (flips.num_right_to_wrong, flips.num_wrong_to_right, flips.num_wrong_to_wrong) == (2, 1, 1)
    first, *others = flips.suspicious
    assert (first.index, first.name, first.kind) == (7, "img7.png", "right to wrong")
    assert (first.label, first.reference_class, first.candidate_class) == ("ant", "ant", "bee")
    assert first.reference_margin > 0.99 and [other.index for other in others] == [1, 3, 5]
    assert flips.suspicious[2].kind == "wrong to right" and flips.suspicious[3].kind == "wrong to wrong"
    assert flips.flipped_margins.largest == pytest.approx(first.reference_margin)


def test_the_histogram_counts_every_image_once() -> None:
    noisy = _LOGITS + _RNG.normal(0, 1, _LOGITS.shape).astype(np.float32)
    flips = _record(_LOGITS, noisy, _LOGITS.argmax(1))
    histogram = flips.histogram
    assert sum(histogram.num_all) == 500 and sum(histogram.num_flipped) == flips.rate.num_hits > 10
    assert len(histogram.edges) == len(histogram.num_all) + 1 == 21 and histogram.edges[3] == 0.15
    p = np.sort(softmax(_LOGITS), axis=1)
    assert histogram.num_all[0] == ((p[:, -1] - p[:, -2]) < 0.05).sum()
    # Noise flips images of small margin first.
    assert flips.flipped_margins.p50 < flips.all_margins.p50 / 2


def test_an_answer_that_is_not_finite_is_a_flip_of_its_own() -> None:
    candidate = _LOGITS.copy()
    candidate[4, 2] = np.nan
    flips = _record(_LOGITS, candidate, _LOGITS.argmax(1))
    (one,) = flips.suspicious
    assert (one.index, one.candidate_class, one.candidate_margin) == (4, "not finite", None)
    assert flips.num_right_to_wrong == 1
    reference = _LOGITS.copy()
    reference[4] = np.nan
    flips = _record(reference, _LOGITS, _LOGITS.argmax(1))
    assert flips.suspicious[0].reference_margin is None and flips.all_margins.num_images == 499


def test_without_labels_there_is_no_right_and_wrong() -> None:
    flips = _record(_LOGITS, np.roll(_LOGITS, 1, axis=1), None)
    assert flips.num_right_to_wrong is None and flips.rate.num_hits == 500 and len(flips.suspicious) == 20
    assert flips.suspicious[0].label is None and flips.suspicious[0].kind == ""


def test_the_size_of_a_batch_does_not_matter() -> None:
    noisy = _LOGITS + _RNG.normal(0, 1, _LOGITS.shape).astype(np.float32)
    labels = _LOGITS.argmax(1)
    assert _record(_LOGITS, noisy, labels, batch=7) == _record(_LOGITS, noisy, labels, batch=500)
