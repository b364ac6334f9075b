from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ArtifactMismatchError, ConfigError, DataError
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.data.source import open_images
from resnet_deploy.verify.evaluate import EvaluateOptions, evaluate
from tests.reference.plain_statistics import plain_top_k_hit


def test_counts_are_those_of_a_plain_count(save_linear, digit_weights) -> None:
    file = save_linear("a.onnx")
    result = evaluate(EvaluateOptions(files=(file,), data="digits", split="val", batch_size=50))
    source = open_images("digits", split="val")
    images = np.concatenate([b.images for b in input_batches(source, DIGITS_PREPROCESS, batch_size=64)])
    w, b = (x.astype(np.float64) for x in digit_weights)
    logits = images.reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(len(images), -1) @ w + b
    hits = [plain_top_k_hit(row, label, 1) for row, label in zip(logits.tolist(), source.labels.tolist(), strict=True)]
    top5 = [plain_top_k_hit(row, label, 5) for row, label in zip(logits.tolist(), source.labels.tolist(), strict=True)]
    assert (result.num_images, result.num_top1_hits) == (599, sum(hits))
    assert result.top1_percent == pytest.approx(100 * sum(hits) / 599) and result.top1_percent > 85
    assert result.top5_percent == pytest.approx(100 * sum(top5) / 599)
    assert result.top1_low < result.top1_percent < result.top1_high
    per_class = {c.name: (c.num_images, c.num_hits) for c in result.per_class}
    sevens = source.labels == 7
    assert per_class["7"] == (sevens.sum(), np.array(hits)[sevens].sum())


def test_classes_in_another_order_are_matched_by_name(save_linear) -> None:
    plain = evaluate(EvaluateOptions(files=(save_linear("a.onnx"),), data="digits", split="val"))
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    names = tuple(str(i) for i in order)
    shuffled = save_linear("b.onnx", lambda w, b: (w[:, order], b[order]), labels=names)
    result = evaluate(EvaluateOptions(files=(shuffled,), data="digits", split="val"))
    assert result.num_top1_hits == plain.num_top1_hits
    assert "matched by name" in result.note and not plain.note
    wrong = save_linear("c.onnx", lambda w, b: (w[:, order], b[order]))  # the same outputs under the old names
    assert evaluate(EvaluateOptions(files=(wrong,), data="digits", split="val")).top1_percent < 50


def test_unknown_class_names_are_used_by_position_and_said(save_linear) -> None:
    names = tuple("abcdefghi9")
    result = evaluate(EvaluateOptions(files=(save_linear("a.onnx", labels=names),), data="digits", split="val"))
    assert result.top1_percent > 85 and "9 of 10 class names" in result.note and "'0'" in result.note


def test_images_of_other_classes_altogether_are_refused(save_linear) -> None:
    file = save_linear("a.onnx", labels=tuple("abcdefghij"))
    with pytest.raises(DataError, match=r"\('0', '1', '2', \.\.\.\).*a\.onnx.*\('a', 'b', 'c', \.\.\.\)"):
        evaluate(EvaluateOptions(files=(file,), data="digits", split="val"))


def test_another_number_of_classes_is_refused_with_both_numbers(save_linear) -> None:
    file = save_linear("a.onnx", lambda w, b: (w[:, :7], b[:7]), labels=tuple("0123456"))
    with pytest.raises(DataError, match="10 classes.*7 logits"):
        evaluate(EvaluateOptions(files=(file,), data="digits", split="val"))


def test_images_without_labels_are_refused(save_linear, tmp_path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / "a.png")
    with pytest.raises(DataError, match="no labels"):
        evaluate(EvaluateOptions(files=(save_linear("a.onnx"),), data=str(folder)))


def test_a_file_without_manifest_needs_a_preprocessing(save_linear, tmp_path) -> None:
    file = save_linear("foreign.onnx", manifest=False)
    with pytest.raises(ConfigError, match="--preprocess"):
        evaluate(EvaluateOptions(files=(file,), data="digits", split="val"))
    named = evaluate(EvaluateOptions(files=(file,), data="digits", split="val", preprocess="digits"))
    own = tmp_path / "mine.json"
    own.write_text(json.dumps(to_plain(DIGITS_PREPROCESS)))
    from_file = evaluate(EvaluateOptions(files=(file,), data="digits", split="val", preprocess=str(own)))
    assert named.num_top1_hits == from_file.num_top1_hits and named.top1_percent > 85
    with pytest.raises(ConfigError, match="'fashion'"):
        evaluate(EvaluateOptions(files=(file,), data="digits", preprocess="fashion"))
    own.write_text('{"height_px": 32')
    with pytest.raises(ConfigError, match="not a JSON file"):
        evaluate(EvaluateOptions(files=(file,), data="digits", preprocess=str(own)))


def test_a_sample_is_stratified_and_exact_in_number(save_linear) -> None:
    result = evaluate(EvaluateOptions(files=(save_linear("a.onnx"),), data="digits", split="val", num_images=50))
    assert result.num_images == 50 and {c.num_images for c in result.per_class} == {5}


def test_a_truncated_file_is_named(save_linear) -> None:
    file = save_linear("a.onnx")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ArtifactMismatchError, match=r"a\.onnx.*cut off"):
        evaluate(EvaluateOptions(files=(file,), data="digits", split="val"))


def test_every_bad_number_is_reported_at_once(tmp_path) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0.*num_images is -1"):
        EvaluateOptions(files=(tmp_path / "x.onnx",), data="digits", batch_size=0, num_images=-1)
