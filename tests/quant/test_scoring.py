from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, GraphError
from resnet_deploy.quant.scoring import ScoringImages, load_scoring_images, logits_of_model, score_logits
from tests.reference.small_networks import resnet8_onnx, small_preprocess


def _images(logits: np.ndarray, labels: np.ndarray | None) -> ScoringImages:
    return ScoringImages(
        pixels=np.zeros((len(logits), 64, 64, 3), np.uint8),
        logits=logits,
        labels=labels,
        preprocess=small_preprocess(),
        description="made",
        fingerprint="0",
    )


def test_agreement_drop_and_sqnr_are_counted_by_hand() -> None:
    reference = np.array([[3, 0], [3, 0], [0, 3], [0, 3]], np.float32)
    candidate = np.array([[3, 0], [0, 3], [0, 3], [0, 1]], np.float32)
    score = score_logits(candidate, _images(reference, np.array([0, 0, 1, 0])))
    assert (score.num_images, score.num_agreeing, score.agreement) == (4, 3, 0.75)
    assert score.agreement_low < 0.75 < score.agreement_high
    assert score.top1_percent == 50.0 and score.drop == 25.0  # one of three right ones was lost
    assert score.drop_low < 25.0 < score.drop_high
    assert score.sqnr_db == pytest.approx(10 * np.log10(36 / (9 + 9 + 4)))


def test_the_same_logits_have_no_noise_and_no_drop() -> None:
    reference = np.array([[3, 0], [0, 3]], np.float32)
    score = score_logits(reference, _images(reference, np.array([0, 0])))
    assert score.sqnr_db is None and score.agreement == 1.0 and score.drop == 0.0
    assert score_logits(reference, _images(reference, None)).drop is None


def test_a_row_with_nan_agrees_with_nothing_and_spoils_no_figure() -> None:
    reference = np.array([[3, 0], [0, 3]], np.float32)
    candidate = np.array([[np.nan, 0], [0, 2]], np.float32)
    score = score_logits(candidate, _images(reference, np.array([0, 1])))
    assert (score.num_nonfinite, score.num_agreeing, score.drop) == (1, 1, 50.0)
    assert score.sqnr_db == pytest.approx(10 * np.log10(9))


def test_images_are_spread_evenly_when_fewer_are_asked_for() -> None:
    images = _images(np.zeros((40, 2), np.float32), None)
    images.pixels[:] = np.arange(40, dtype=np.uint8)[:, None, None, None]
    first = np.concatenate(list(images.batches(4)))[:, 0, 0, 0]
    assert (np.rint((first * 0.25 + 0.5) * 255) == [0, 10, 20, 30]).all()
    assert sum(len(batch) for batch in images.batches()) == 40


def test_the_reference_is_the_fp32_file(exported) -> None:
    images = load_scoring_images(
        exported, read_manifest(exported), data="digits", split="test", num_images=12, seed=0, num_threads=1
    )
    assert images.pixels.shape == (12, 32, 32, 3) and images.logits.shape == (12, 10)
    assert images.labels is not None and set(images.labels) <= set(range(10))
    half = read_manifest(exported)
    object.__setattr__(half, "precision", "fp16")
    with pytest.raises(ArtifactError, match="is fp16"):
        load_scoring_images(exported, half, data="digits", split="test", num_images=2, seed=0)


def test_a_network_of_one_batch_size_alone_is_refused_before_it_runs() -> None:
    model = resnet8_onnx()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(GraphError, match="takes a batch of 1 alone, and many images are given"):
        logits_of_model(model, iter([np.zeros((2, 3, 32, 32), np.float32)]))
