from __future__ import annotations

import numpy as np

from resnet_deploy.verify.statistics.pairs import PairCounter

_RNG = np.random.default_rng(0)
_FIRST, _SECOND, _LABELS = (_RNG.integers(0, 8, 300), _RNG.integers(0, 8, 300), _RNG.integers(0, 4, 300))


def _counter() -> PairCounter:
    counter = PairCounter(4)
    for at in np.array_split(np.arange(300), 7):
        counter.add(_FIRST[at], _SECOND[at], _LABELS[at])
    return counter


def test_hits_are_counted_by_rank_for_both_tops() -> None:
    counter = _counter()
    for k in (1, 5):
        first, second, score = _FIRST < k, _SECOND < k, counter.score(k, 0.05)
        assert score.reference.num_hits == first.sum() and score.candidate.num_hits == second.sum()
        assert score.num_both == (first & second).sum() and score.num_neither == (~first & ~second).sum()
        assert score.num_only_reference == (first & ~second).sum()
    assert counter.only_reference == ((_FIRST < 1) & (_SECOND >= 1)).sum() and counter.num_images == 300


def test_classes_are_counted_by_the_label() -> None:
    names = ("a", "b", "c", "d")
    found = {one.name: one for one in _counter().regressions(names, 0.05).worst}
    for k, name in enumerate(names):
        mine = _LABELS == k
        lost, won = (mine & (_FIRST < 1) & (_SECOND >= 1)).sum(), (mine & (_FIRST >= 1) & (_SECOND < 1)).sum()
        assert (name in found) == (lost > won)
        if name in found:
            assert (found[name].num_images, found[name].num_only_reference) == (mine.sum(), lost)
