from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net, save_checkpoint
from resnet_deploy.nets.fully_convolutional import fully_convolutional
from resnet_deploy.verify.evaluate import EvaluateOptions, evaluate
from resnet_deploy.verify.protocols import Protocol
from tests.reference.pillow_resize import resize
from tests.reference.ten_crops import plain_mean_softmax
from tests.verify.conftest import DIGIT_NAMES

VAL = {"data": "digits", "split": "val"}


def _evaluate(*files: Path, **options):
    return evaluate(EvaluateOptions(files=files, **(VAL | options)))


def _logits(w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    source = open_images("digits", split="val")
    images = np.concatenate([x.images for x in input_batches(source, DIGITS_PREPROCESS, batch_size=64)])
    x = images.reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(len(images), -1)
    return x @ w + b, source.labels


def _sharper(w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits eight times as large and of the classes' first half only: another net with other strengths."""
    return 8 * w * (np.arange(10) < 5), 8 * b * (np.arange(10) < 5)


def test_an_ensemble_scores_the_mean_of_softmax(save_linear, digit_weights) -> None:
    result = _evaluate(save_linear("a.onnx"), save_linear("b.onnx", _sharper))
    first, labels = _logits(*digit_weights)
    second, _ = _logits(*_sharper(*digit_weights))
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    hits = sum(int(np.argmax(plain_mean_softmax(pair)) == label) for pair, label in zip(pairs, labels, strict=True))
    by_logits = int(((first + second).argmax(axis=1) == labels).sum())
    assert result.num_top1_hits == hits != by_logits  # planted fault: averaging logits counts otherwise
    assert [m.num_top1_hits for m in result.members] == [
        int((logits.argmax(axis=1) == labels).sum()) for logits in (first, second)
    ]
    assert result.file.count(" + ") == 1 and result.top1_low < result.top1_percent < result.top1_high


def test_the_same_net_twice_is_that_net_and_order_changes_nothing(save_linear) -> None:
    a, b = save_linear("a.onnx"), save_linear("b.onnx", _sharper)
    alone, twice = _evaluate(a), _evaluate(a, a)
    assert (twice.num_top1_hits, twice.top5_percent) == (alone.num_top1_hits, alone.top5_percent)
    assert alone.members == () and len(twice.members) == 2
    assert _evaluate(a, b).per_class == _evaluate(b, a).per_class


def test_members_may_see_different_pixels_and_number_their_classes_differently(save_linear) -> None:
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    names = tuple(str(i) for i in order)
    a = save_linear("a.onnx")
    small = save_linear("b.onnx", lambda w, b: (w[:, order], b[order]), labels=names, side_px=16)
    result = _evaluate(a, small)
    assert [m.views for m in result.members] == ["centre 32x32 px", "centre 16x16 px"]
    assert all(m.top1_percent > 85 for m in result.members) and result.top1_percent > 85
    wrong = save_linear("c.onnx", lambda w, b: (w[:, order], b[order]), side_px=16)  # planted: names do not say so
    assert _evaluate(a, wrong).members[1].top1_percent < 50


def test_members_that_know_different_classes_are_refused(save_linear) -> None:
    a = save_linear("a.onnx")
    letters = save_linear("b.onnx", labels=tuple("0123x56789"))
    with pytest.raises(ConfigError, match="a.onnx.*b.onnx.*class 4 is '4' and 'x'"):
        _evaluate(a, letters)
    seven = save_linear("c.onnx", lambda w, b: (w[:, :7], b[:7]), labels=tuple("0123456"))
    with pytest.raises(ConfigError, match="10 classes.*7"):
        _evaluate(a, seven)
    unnamed = save_linear("d.onnx", lambda w, b: (w[:, :7], b[:7]), labels=None)
    with pytest.raises(ConfigError, match="10 logits.*7"):
        _evaluate(a, unnamed)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("net") / "small.safetensors"
    given = {"stage": "train", "inputs": {}, "options": {}, "details": {}}
    spec = find_net("resnet8")
    save_checkpoint(path, fresh_net(spec, seed=3), spec=spec, preprocess=DIGITS_PREPROCESS, labels=DIGIT_NAMES, **given)
    return path


def test_multi_scale_is_what_a_slow_loop_counts(checkpoint: Path) -> None:
    options = {"protocol": Protocol.MULTI_SCALE, "sides": (32, 40), "num_images": 30}
    result = _evaluate(checkpoint, batch_size=7, **options)
    dense = fully_convolutional(fresh_net(find_net("resnet8"), seed=3), height_px=32, width_px=32)
    source = stratified_sample(open_images("digits", split="val"), 30, seed=0)
    hits = 0
    for index in range(30):
        votes = []
        for side in (32, 40):
            pixels = resize(source.image(index), height=side, width=side)
            for shown in (pixels, pixels[:, ::-1]):
                x = (shown.astype(np.float64) / 255 - 0.3) / 0.35
                with torch.no_grad():
                    maps = dense.score_maps(torch.from_numpy(x.transpose(2, 0, 1)[None]).float())[0]
                windows = maps.flatten(1).T.tolist()
                votes.append(plain_mean_softmax(windows))
        hits += int(np.argmax(np.mean(votes, axis=0)) == source.labels[index])
    assert result.num_top1_hits == hits and result.num_images == 30


def test_multi_scale_needs_a_file_that_takes_any_size(save_linear) -> None:
    with pytest.raises(ConfigError, match="32x32 px only"):
        _evaluate(save_linear("a.onnx"), protocol=Protocol.MULTI_SCALE, sides=(32,))


def test_ten_crop_runs_on_a_file_of_fixed_size(save_linear) -> None:
    result = _evaluate(save_linear("a.onnx"), protocol=Protocol.TEN_CROP, resize_px=32)
    assert result.num_images == 599 and result.protocol == "ten-crop" and "shorter side 32" in result.views


def test_unusable_images_are_left_out_and_listed(save_linear, tmp_path) -> None:
    source = open_images("digits", split="val")
    for index in range(30):
        folder = tmp_path / "images" / source.classes[source.labels[index]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.image(index)).save(folder / f"{index}.png")
    for name in DIGIT_NAMES:
        (tmp_path / "images" / name).mkdir(exist_ok=True)
        Image.fromarray(source.image(0)).save(tmp_path / "images" / name / "extra.png")
    (tmp_path / "images" / "3" / "extra.png").write_bytes(b"cut off")
    file = save_linear("a.onnx")
    result = _evaluate(file, data=str(tmp_path / "images"), split=None, skip_bad=1, batch_size=4)
    assert result.num_images == 39 and [Path(bad.name).name for bad in result.skipped] == ["extra.png"]
    with pytest.raises(DataError, match=r"extra\.png"):
        _evaluate(file, data=str(tmp_path / "images"), split=None)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"files": ()}, "no file"),
        ({"sides": (32,)}, "--sides is for multi-scale"),
        ({"resize_px": 40}, "--resize is for ten-crop"),
        ({"protocol": Protocol.MULTI_SCALE, "sides": (32, 32)}, "one twice"),
        ({"skip_bad": -1}, "skip_bad is -1"),
        ({"backends": ("torch", None)}, "2 backends for 1 files"),
    ],
)
def test_options_that_do_not_fit_are_refused(bad: dict, match: str) -> None:
    good = EvaluateOptions(files=(Path("a.onnx"),), data="digits")
    with pytest.raises(ConfigError, match=match):
        replace(good, **bad)
