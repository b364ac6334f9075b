from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.verify.faults.tensor_error import TensorErrorMeter


def _error(reference, candidate, *, parts=1, limit_db=20.0):
    meter = TensorErrorMeter(limit_db)
    for r, c in zip(np.array_split(reference, parts), np.array_split(candidate, parts), strict=True):
        meter.add(r, c)
    return meter.result()


def test_the_figures_are_those_of_the_definitions_whatever_the_batches() -> None:
    rng = np.random.default_rng(0)
    r = rng.standard_normal((12, 5)).astype(np.float32)
    c = (1.1 * r + 0.05 * rng.standard_normal(r.shape)).astype(np.float32)
    one, many = _error(r, c), _error(r, c, parts=4)
    flat_r, flat_c = r.ravel().astype(float), c.ravel().astype(float)
    noise = flat_c - flat_r
    assert one.sqnr_db == pytest.approx(10 * np.log10((flat_r @ flat_r) / (noise @ noise)))
    assert one.cosine == pytest.approx(np.corrcoef(flat_r, flat_c)[0, 1], abs=0.01)
    assert one.gain == pytest.approx(np.linalg.lstsq(flat_r[:, None], flat_c, rcond=None)[0][0])
    assert one.max_abs_error == pytest.approx(np.abs(noise).max())
    assert one.differing_share == pytest.approx((np.abs(noise) > 0.1 * np.sqrt(np.mean(flat_r**2))).mean())
    assert (many.sqnr_db, many.gain) == (pytest.approx(one.sqnr_db), pytest.approx(one.gain))


def test_equal_silent_and_broken_tensors_have_plain_figures() -> None:
    ones, nothing = np.ones((2, 2)), np.zeros((2, 2))
    assert (_error(ones, ones).sqnr_db, _error(nothing, nothing).cosine) == (300.0, 1.0)
    assert _error(nothing, ones).sqnr_db == -300.0 and _error(nothing, ones).gain is None
    broken = _error(ones, np.array([[1.0, np.nan], [np.inf, 1.0]]))
    assert (broken.num_nonfinite, broken.sqnr_db, broken.differing_share) == (2, 300.0, 0.5)
    assert _error(np.full((2, 2), np.nan), ones).sqnr_db is None
    with pytest.raises(ValueError, match=r"\(2, 2\), the candidate \(4,\)"):
        TensorErrorMeter(10).add(ones, np.ones(4))
