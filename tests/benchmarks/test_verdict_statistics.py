from __future__ import annotations

import numpy as np
import pytest
from verdict_statistics import (
    DROPS,
    DrawnImages,
    Recording,
    compare,
    lose,
    null_experiment,
    power_experiment,
    sequential_experiment,
    with_noise,
)

from resnet_deploy.verify.thresholds import Thresholds, resolve_limits

_LIMITS = resolve_limits(Thresholds(min_agreement=0.9, min_cosine=0.9, min_sqnr_db=10), None)


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Logits of a network that is right on about four images of five, sure of most and in doubt of some."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 2000)
    logits = rng.normal(0, 2, (2000, 10)).astype(np.float32)
    logits[np.arange(2000), labels] += 6
    return Recording(logits=logits, labels=labels, classes=tuple("abcdefghij"))


def test_the_playback_gives_the_verdict_of_its_logits(recording: Recording) -> None:
    rng = np.random.default_rng(1)
    drawn = DrawnImages(recording, rng)
    logits = recording.logits[drawn.drawn]
    candidate = with_noise(logits, 0.5, rng)
    verdict = compare(drawn, logits, candidate, _LIMITS)
    assert verdict.num_images == 2000
    assert verdict.reference.accuracy.num_top1_hits == (logits.argmax(1) == drawn.labels).sum()
    assert verdict.statistics.flips.rate.num_hits == (logits.argmax(1) != candidate.argmax(1)).sum()


def test_a_planted_drop_is_as_large_as_asked_for(recording: Recording) -> None:
    rng = np.random.default_rng(2)
    right = (recording.logits.argmax(1) == recording.labels).mean()
    worse = [lose(recording.logits, recording.labels, 3.0, rng) for _ in range(40)]
    drops = [100 * (right - (one.argmax(1) == recording.labels).mean()) for one in worse]
    # Binomial: sqrt(2000 * 0.03) / 20 = 0.39 points each, 0.06 for the mean of 40; 3 standard errors.
    assert np.mean(drops) == pytest.approx(3.0, abs=0.2)


def test_the_experiments_tell_the_null_from_a_drop(recording: Recording) -> None:
    null = null_experiment(recording, _LIMITS, 0.3, 6)
    assert null["itself"] == {**null["itself"], "passed": True, "flips": 0, "p": 1.0}
    assert null["noise far under a margin"]["passed"] and null["all"]["mid-p < level"]["%"] < 50
    assert null["all"]["repetitions"] == null["the first 6"]["passed"] == 6
    rows = power_experiment(recording, _LIMITS, 0.3, 6)
    assert [row["planted drop"] for row in rows] == list(DROPS)
    assert rows[-1]["detected"]["%"] == 100 and rows[-1]["predicted"] > 99
    assert rows[0]["predicted"] < 50


def test_the_sequential_experiment_is_right_where_the_drop_is_far_from_the_limit() -> None:
    rows = {row["true drop"]: row for row in sequential_experiment(0.01, 5)}
    assert rows[0.0]["said under"]["%"] == 100 and rows[3.0]["said over"]["%"] == 100
    assert rows[3.0]["mean images"] < rows[1.0]["mean images"] < rows[0.5]["mean images"]
