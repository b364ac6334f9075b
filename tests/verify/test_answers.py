"""Files of one network that say the same in different words: logits, probabilities, best classes, features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from resnet_deploy.core.artifacts import read_manifest, write_manifest
from resnet_deploy.core.errors import ConfigError, EngineRunError
from resnet_deploy.core.specs import OutputKind, TensorSpec
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.head import append_softmax, append_top_k
from resnet_deploy.verify.answers import Answerer, comparable, logits_from
from resnet_deploy.verify.averaging import softmax
from resnet_deploy.verify.evaluate import EvaluateOptions, evaluate
from resnet_deploy.verify.protocols import Protocol
from resnet_deploy.verify.validate import ValidateOptions, validate
from resnet_deploy.verify.verdict import read_verdict


class _Fixed:
    """A runner that says what it is told to."""

    def __init__(self, outputs: dict[str, np.ndarray]) -> None:
        specs = tuple(TensorSpec(name=n, dtype=str(v.dtype), shape=("N", *v.shape[1:])) for n, v in outputs.items())
        image = TensorSpec(name="images", dtype="float32", shape=("N", 3, 2, 2))
        self.info = RunnerInfo(backend="fixed", version="", device="cpu", file="f", inputs=(image,), outputs=specs)
        self._outputs = outputs

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._outputs


IMAGES = np.zeros((2, 3, 2, 2), np.float32)
LOGITS = np.array([[0.0, 3.0, 1.0, 2.0], [5.0, -1.0, 0.0, 4.0]], np.float32)
PROBABILITIES = (np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)).astype(np.float32)
TOP2 = {
    "scores": -np.sort(-PROBABILITIES, axis=1)[:, :2],
    "classes": np.argsort(-PROBABILITIES, axis=1)[:, :2].astype(np.int32),
}


def _answerer(kind: OutputKind, outputs: dict[str, np.ndarray], top: int | None = None) -> Answerer:
    return Answerer(runner=_Fixed(outputs), kind=kind, num_classes=4, top=top)


def _compared(*sides: Answerer) -> list[tuple[str, np.ndarray]]:
    found = comparable(sides, [side.answer(IMAGES) for side in sides])
    return [item for answer in found for item in answer.items()]


def test_two_answers_are_brought_to_the_same_quantity():
    logits = _answerer(OutputKind.LOGITS, {"logits": LOGITS})
    softmax = _answerer(OutputKind.SOFTMAX, {"probabilities": PROBABILITIES})
    best = _answerer(OutputKind.TOPK, TOP2, top=2)
    two_best = [[0, 1, 0, 1], [1, 0, 0, 1]] * PROBABILITIES
    for pair, name, wanted in (
        ((logits, logits), "logits", LOGITS),
        ((logits, softmax), "probabilities", PROBABILITIES),
        ((softmax, softmax), "probabilities", PROBABILITIES),
        ((logits, best), "probabilities", two_best),
        ((best, softmax), "probabilities", two_best),
    ):
        for found_name, found in _compared(*pair):
            assert found_name == name
            np.testing.assert_allclose(found, wanted, rtol=16 * 2.0**-24)


def test_features_are_compared_output_by_output_as_rows():
    maps = {"c2": np.ones((2, 3, 4, 4), np.float16), "c3": np.ones((2, 5, 2, 2), np.float16)}
    side = _answerer(OutputKind.MAPS, maps)
    answer = side.answer(IMAGES)
    assert {name: (rows.shape, rows.dtype.name) for name, rows in answer.items()} == {
        "c2": ((2, 48), "float32"),
        "c3": ((2, 20), "float32"),
    }
    logits = _answerer(OutputKind.LOGITS, {"logits": LOGITS})
    other = _answerer(OutputKind.MAPS, {"c2": maps["c2"]})
    for wrong in (logits, other):
        with pytest.raises(ConfigError, match="gives c2, c3.*can not be compared|can not be compared"):
            _compared(side, wrong)


def test_the_logarithm_of_probabilities_serves_as_logits():
    found = logits_from({"probabilities": np.array([[0.25, 0.75, 0.0, np.nan]], np.float32)})
    assert found[0, 0] == np.log(np.float32(0.25)) and found[0, 2] == np.log(np.finfo(np.float32).tiny)
    assert np.isnan(found[0, 3])
    assert logits_from({"logits": LOGITS}) is LOGITS
    back = softmax(logits_from({"probabilities": PROBABILITIES}))  # what a vote makes of them
    np.testing.assert_allclose(back, PROBABILITIES, rtol=16 * 2.0**-24)


@pytest.mark.parametrize("classes", [[[0, 4], [1, 2]], [[-1, 0], [1, 2]]])
def test_classes_that_do_not_exist_are_an_error(classes):
    side = _answerer(OutputKind.TOPK, {**TOP2, "classes": np.array(classes, np.int32)}, top=2)
    with pytest.raises(EngineRunError, match="expected 0 to 3"):
        side.answer(IMAGES)
    with pytest.raises(EngineRunError, match="outputs are logits, expected scores and classes"):
        _answerer(OutputKind.TOPK, {"logits": LOGITS}, top=2).answer(IMAGES)


def _reworded(file: Path, kind: OutputKind, top: int = 3, name: str = "") -> Path:
    """The same classifier with another output, beside the file."""
    model, manifest = read_onnx(file), read_manifest(file)
    if kind is OutputKind.FEATURES:
        del model.graph.node[-1], model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info("flat", onnx.TensorProto.FLOAT, ["N", 192]))
        del model.graph.initializer[:]
    else:
        append_softmax(model)
    if kind is OutputKind.TOPK:
        append_top_k(model, top)
    out = file.with_name(name or f"{kind}.onnx")
    write_onnx(model, out)
    net = replace(manifest.net, output=kind)
    write_manifest(
        out, kind="onnx", stage="export", net=net, preprocess=manifest.preprocess, labels=manifest.labels,
        precision=manifest.precision,
    )  # fmt: skip
    return out


def test_every_wording_of_a_classifier_scores_the_same(save_linear):
    file = save_linear("logits.onnx")
    options = {"data": "digits", "split": "val", "num_images": 60, "num_threads": 1}
    wanted = evaluate(EvaluateOptions(files=(file,), **options))
    for kind, top, top5 in (
        (OutputKind.SOFTMAX, 0, wanted.top5_percent),
        (OutputKind.TOPK, 5, wanted.top5_percent),
        (OutputKind.TOPK, 3, None),
    ):
        found = evaluate(EvaluateOptions(files=(_reworded(file, kind, top),), **options))
        assert found.num_top1_hits == wanted.num_top1_hits and found.top5_percent == top5
        verdict = validate(ValidateOptions(reference=file, candidate=_reworded(file, kind, top), **options))
        assert verdict and verdict.top1_drop == 0 and verdict.parity.top1_agreement == 1
        assert verdict.parity.sqnr_db > 100
        assert "SQNR of probabilities (dB)" in [check.name for check in verdict.checks] and not verdict.outputs


def test_votes_of_probabilities_are_votes_of_their_logits(save_linear):
    sharp = save_linear("sharp.onnx", lambda w, b: (8 * w, 8 * b))
    other = save_linear("other.onnx", lambda w, b: (w[:, ::-1], b[::-1]))
    options = {"data": "digits", "split": "val", "num_images": 60, "num_threads": 1}
    wanted = evaluate(EvaluateOptions(files=(sharp, other), **options))
    reworded = tuple(_reworded(f, OutputKind.SOFTMAX, name=f"{f.stem}.softmax.onnx") for f in (sharp, other))
    assert evaluate(EvaluateOptions(files=reworded, **options)).num_top1_hits == wanted.num_top1_hits


def test_what_can_not_vote_or_name_a_class_is_refused(save_linear):
    file = save_linear("logits.onnx")
    options = {"data": "digits", "split": "val", "num_images": 10, "num_threads": 1}
    top = _reworded(file, OutputKind.TOPK)
    for more in ({"files": (top, file)}, {"files": (top,), "protocol": Protocol.TEN_CROP}):
        with pytest.raises(ConfigError, match="the 3 best classes alone, an average needs all"):
            evaluate(EvaluateOptions(**more, **options))
    features = _reworded(file, OutputKind.FEATURES)
    with pytest.raises(ConfigError, match="gives features, which name no class"):
        evaluate(EvaluateOptions(files=(features,), **options))
    with pytest.raises(ConfigError, match="can not be compared"):
        validate(ValidateOptions(reference=file, candidate=features, **options))


def test_a_verdict_on_features_compares_each_output_and_a_fault_fails_it(save_linear, monkeypatch):
    file = save_linear("logits.onnx")
    features = _reworded(file, OutputKind.FEATURES)
    options = {"data": "digits", "split": "val", "num_images": 10, "num_threads": 1}
    good = validate(ValidateOptions(reference=features, candidate=features, **options))
    assert good and list(good.outputs) == ["flat"] and good.top1_drop is None
    assert good.parity.top1_agreement is None and good.reference.accuracy is None
    assert [check.name for check in good.checks][2:] == ["cosine of flat", "SQNR of flat (dB)"]
    assert any("features name no class" in note for note in good.notes)
    assert read_verdict(Path(good.file)).outputs == good.outputs
    model = read_onnx(features)
    pool = model.graph.node[0]
    pool.op_type = "MaxPool"
    write_onnx(model, features.with_name("wrong.onnx"))
    manifest = read_manifest(features)
    write_manifest(
        features.with_name("wrong.onnx"), kind="onnx", stage="export", net=manifest.net,
        preprocess=manifest.preprocess, precision=manifest.precision,
    )  # fmt: skip
    bad = validate(ValidateOptions(reference=features, candidate=features.with_name("wrong.onnx"), **options))
    assert not bad and {c.name for c in bad.checks if not c.passed} >= {"SQNR of flat (dB)"}
