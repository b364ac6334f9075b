"""The mean of softmax: over the views of an image, then over the members of an ensemble."""

from __future__ import annotations

__all__ = ["mean_over_views", "mean_scores", "softmax"]

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from resnet_deploy.verify.protocols import View


def softmax(logits: np.ndarray) -> np.ndarray:
    """[N, K] of any float -> [N, K] float64, rows of sum 1; a row with NaN or +infinity becomes NaN."""
    x = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def mean_scores(scores: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of probabilities [N, K], summed in order of size, so that their order changes no bit; of one, itself."""
    if len(scores) == 1:
        return scores[0]
    return np.sort(np.stack(scores), axis=0).sum(axis=0) / len(scores)


def mean_over_views(
    views: Iterable[View],
    run: Callable[[np.ndarray | list[np.ndarray]], np.ndarray],
    *,
    num_images: int,
    num_views: int,
) -> np.ndarray:
    """Run every view and average an image's votes: [num_images, K].

    Where there is one view its logits come back as they are, bit for bit: a softmax keeps their order, but may
    round two of them to the same number.

    Args:
        run: A view's images -> logits [n, K].
        num_views: How many each image gets.
    """
    if num_views == 1:
        (view,) = views
        return run(view.images)
    votes: np.ndarray | None = None
    seen = np.zeros(num_images, dtype=np.int64)
    for view in views:
        scores = softmax(run(view.images))
        if votes is None:
            votes = np.full((num_views, num_images, scores.shape[1]), np.nan)
        votes[seen[view.rows], view.rows] = scores
        seen[view.rows] += 1
    if votes is None or (seen != num_views).any():
        raise ValueError(f"images got {sorted(set(seen.tolist()))} views, expected {num_views} each")
    return mean_scores(votes)
