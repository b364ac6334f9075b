"""A chain of networks over the same images: planted faults land in the step that holds them, and steps add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.core.artifacts import Manifest, NetRecord
from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.core.specs import OutputKind, Preprocess, TensorSpec
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.data.wrong_pixels import MISTAKES
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.verify.attribution.chain_network import Link
from resnet_deploy.verify.attribution.measure import Branch, ChainMeasurement, measure_chain
from resnet_deploy.verify.subject import Subject

_NAMES = tuple(str(i) for i in range(10))
_WRONG = replace(DIGITS_PREPROCESS, mean=(2.0, 2.0, 2.0))


@dataclass
class _Runner:
    """A linear classifier of 8 x 8 averages in numpy, with a fault behind it; counts its calls."""

    weights: tuple[np.ndarray, np.ndarray]
    fault: Callable[[np.ndarray], np.ndarray] = lambda logits: logits
    num_images: int = 0
    output: str = "logits"

    @property
    def info(self) -> RunnerInfo:
        return RunnerInfo(
            backend="onnxruntime",
            version="1",
            device="cpu",
            file="net.onnx",
            inputs=(TensorSpec(name="images", dtype="float32", shape=("N", 3, 32, 32)),),
            outputs=(TensorSpec(name=self.output, dtype="float32", shape=("N", 10)),),
        )

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        images = feeds["images"]
        self.num_images += len(images)
        pooled = images.reshape(len(images), 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(len(images), -1)
        return {self.output: self.fault(pooled @ self.weights[0] + self.weights[1]).astype(np.float32)}


@pytest.fixture
def source():
    return stratified_sample(open_images("digits", split="val"), 300, seed=0)


@pytest.fixture
def link(digit_weights, tmp_path: Path) -> Callable[..., Link]:
    """A network of the chain; `fault` changes its logits [N, 10]."""
    file = tmp_path / "net.onnx"
    file.write_bytes(b"not read")

    def make(
        name: str,
        fault: Callable[[np.ndarray], np.ndarray] = lambda logits: logits,
        *,
        pixels: Preprocess = DIGITS_PREPROCESS,
        runner: _Runner | None = None,
        labels: tuple[str, ...] = _NAMES,
        manifest: Manifest | None = None,
    ) -> Link:
        subject = Subject(file=file, backend=None, manifest=manifest, labels=labels)
        return Link(
            name=name,
            cause=name,
            subject=subject,
            runner=runner or _Runner(digit_weights, fault),
            preprocess=pixels,
        )

    return make


def _noisy(seed: int, size: float) -> Callable[[np.ndarray], np.ndarray]:
    """Noise that depends on the logits alone, so that it is the same however images are batched."""

    def fault(logits: np.ndarray) -> np.ndarray:
        mix = np.random.default_rng(seed).normal(size=(10, 10))
        return logits + size * np.sin(50 * logits @ mix)

    return fault


def _measure(source, links, **options) -> ChainMeasurement:
    return measure_chain(source, links, batch_size=64, num_threads=1, **options)


def _drops(found: ChainMeasurement) -> dict[str, float]:
    return {step.cause: step.drop for step in found.steps}


def _hits(source, weights, pixels: Preprocess, fault=lambda logits: logits) -> np.ndarray:
    """The oracle: every image by itself, in a plain loop."""
    runner, hits = _Runner(weights, fault), []
    for batch in input_batches(source, pixels, batch_size=1):
        logits = runner.run({"images": batch.images})["logits"][0]
        hits.append(int(np.argmax(logits)) == batch.labels[0] and not np.isnan(logits).any())
    return np.array(hits)


@pytest.mark.parametrize("seed", range(5))
def test_steps_add_up_to_the_total_exactly(source, link, seed: int) -> None:
    links = [link(str(i), _noisy(10 * seed + i, 0.1 * i)) for i in range(5)]
    found = _measure(source, links)
    of_images = [Fraction(step.num_lost - step.num_gained, found.num_images) for step in found.steps]
    assert sum(of_images) == Fraction(found.total.num_lost - found.total.num_gained, found.num_images)
    assert sum(step.num_lost for step in found.steps) > 20  # there was something to add up
    assert sum(step.drop for step in found.steps) == pytest.approx(found.total.drop, abs=1e-12)
    assert [step.top1_after for step in found.steps[:-1]] == [step.top1_before for step in found.steps[1:]]
    hits = [file.num_top1_hits for file in found.files]
    assert found.total.num_lost - found.total.num_gained == hits[0] - hits[-1]


def test_counts_are_those_of_a_plain_loop(source, link, digit_weights) -> None:
    fault = _noisy(1, 0.3)
    found = _measure(source, [link("a"), link("b", fault)])
    first, second = (_hits(source, digit_weights, DIGITS_PREPROCESS, f) for f in (lambda x: x, fault))
    step = found.steps[0]
    assert (step.num_lost, step.num_gained) == ((first & ~second).sum(), (second & ~first).sum())
    assert [file.num_top1_hits for file in found.files] == [first.sum(), second.sum()]
    assert step.num_lost > 5 and step.num_flips >= step.num_lost + step.num_gained
    assert step.agreement == pytest.approx(1 - step.num_flips / 300)


def test_a_wrong_mean_lands_in_preprocessing_and_nowhere_else(source, link, digit_weights) -> None:
    reference = link("reference")
    chain = [
        reference,
        replace(reference, name="its net, other pixels", cause="preprocessing", preprocess=_WRONG),
        link("export", pixels=_WRONG),
        link("engine", pixels=_WRONG),
    ]
    found = _measure(source, chain)
    right, wrong = (_hits(source, digit_weights, pixels).sum() for pixels in (DIGITS_PREPROCESS, _WRONG))
    assert _drops(found) == {"preprocessing": pytest.approx(100 * (right - wrong) / 300), "export": 0, "engine": 0}
    assert found.steps[0].distinguishable and found.steps[0].drop > 5
    assert not any(step.distinguishable or step.num_flips for step in found.steps[1:])
    assert found.total.drop == found.steps[0].drop


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_permuting_runner_lands_in_its_own_step(source, link, place: int) -> None:
    def permuted(logits: np.ndarray) -> np.ndarray:
        return logits[:, [1, 0, *range(2, 10)]]

    # what comes after the faulty step starts from its result
    chain = [link(str(i), permuted if i >= place else lambda x: x) for i in range(4)]
    found = _measure(source, chain)
    assert {step.cause for step in found.steps if step.distinguishable} == {str(place)}
    step = found.steps[place - 1]
    assert step.drop == found.total.drop > 10 and step.mcnemar_p < 1e-6 and step.sqnr_db < 20
    assert all(other.sqnr_db == 300 and other.num_flips == 0 for other in found.steps if other is not step)


def test_a_factor_on_the_logits_flips_nothing_and_shows_in_the_sqnr_of_its_step(source, link) -> None:
    found = _measure(source, [link("a"), link("b"), link("engine", lambda logits: 2 * logits)])
    assert [step.num_flips for step in found.steps] == [0, 0]
    assert found.steps[0].sqnr_db == 300 and found.steps[1].sqnr_db == pytest.approx(0, abs=1e-3)


def test_nan_is_a_miss_agrees_with_none_and_is_counted(source, link) -> None:
    def broken(logits: np.ndarray) -> np.ndarray:
        logits = logits.copy()
        logits[logits.argmax(axis=1) == 3, 7] = np.nan
        return logits

    found = _measure(source, [link("a"), link("b", broken)])
    num_broken = found.files[1].num_nonfinite_rows
    assert 20 < num_broken < 40 and found.files[0].num_nonfinite_rows == 0
    assert found.steps[0].num_flips == num_broken and found.steps[0].num_gained == 0
    again = _measure(source, [link("b", broken), link("c", broken)])
    assert again.steps[0].num_flips == num_broken and again.steps[0].drop == 0


def test_every_image_is_decoded_once_and_every_network_sees_it_once(source, link, monkeypatch) -> None:
    decoded = []
    whole = type(source).image
    monkeypatch.setattr(type(source), "image", lambda self, index: decoded.append(index) or whole(self, index))
    first, last = link("a"), link("c", pixels=_WRONG)
    same = replace(first, name="the same", cause="preprocessing")
    found = _measure(source, [first, same, link("b"), last])
    assert sorted(decoded) == list(range(300))
    assert first.runner.num_images == last.runner.num_images == 300
    assert found.steps[0].identical and found.steps[0].num_flips == 0 and not found.steps[1].identical
    assert [file.name for file in found.files] == ["a", "the same", "b", "c"]


def test_files_that_number_their_classes_differently_are_matched_by_name(source, link) -> None:
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    other = link("b", lambda logits: logits[:, order], labels=tuple(map(str, order)))
    found = _measure(source, [link("a"), other])
    assert found.steps[0].num_flips == 0 and found.steps[0].sqnr_db == 300
    assert any("matched by name" in note for note in found.notes)


def test_an_interaction_is_what_depends_on_the_order(source, link, digit_weights) -> None:
    """Swapping two classes breaks the network only where it comes after the other swap, which is their inverse."""

    def swapped(logits: np.ndarray) -> np.ndarray:
        return logits[:, [1, 0, *range(2, 10)]]

    chain = [link("a"), link("quantisation", swapped), link("precision conversion")]
    found = _measure(source, chain, branch=Branch(link=link("alone", swapped), start=0)).interaction
    right, wrong = (_hits(source, digit_weights, DIGITS_PREPROCESS, f).sum() for f in (lambda x: x, swapped))
    assert (found.cause, found.other) == ("precision conversion", "quantisation")
    assert found.drop_first == pytest.approx(100 * (right - wrong) / 300) == -found.drop_after
    assert found.points == pytest.approx(2 * found.drop_after) and found.high < 0


def test_steps_whose_order_does_not_matter_have_no_interaction(source, link) -> None:
    chain = [link("a"), link("q", lambda x: x * 3), link("c", lambda x: x * 6)]
    found = _measure(source, chain, branch=Branch(link=link("alone", lambda x: x * 2), start=0)).interaction
    assert found.points == 0 and found.low < 0 < found.high


def test_a_mistake_costs_what_the_network_scores_on_such_pixels(source, link, digit_weights) -> None:
    last = link("b")
    found = _measure(source, [link("a"), last], mistakes=MISTAKES)
    alternatives = {one.name: one for one in found.pixel_alternatives}
    wrong = replace(DIGITS_PREPROCESS, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    right, hits = (_hits(source, digit_weights, pixels) for pixels in (DIGITS_PREPROCESS, wrong))
    one = alternatives["no mean/std"]
    assert one.num_changed == 300 and one.num_flips > 0 and not np.array_equal(right, hits)
    assert one.drop == pytest.approx(100 * (right.sum() - hits.sum()) / 300)
    assert alternatives["channels last"].drop_low > 10 and alternatives["channels last"].num_flips > 30
    # digits are grey and square: they have no channel order, no shape and no border to lose
    for name in ("BGR", "squash", "no margin", "top-left crop"):
        assert (alternatives[name].num_changed, alternatives[name].num_flips, alternatives[name].drop) == (0, 0, 0)
    changing = sum(one.num_changed for one in alternatives.values())
    assert last.runner.num_images == 300 + changing  # what does not change is not run again


def test_images_without_labels_are_refused(link) -> None:
    with pytest.raises(DataError, match="no labels"):
        _measure(open_images("noise"), [link("a"), link("b")])


def test_features_have_no_accuracy_to_lose(source, link) -> None:
    record = NetRecord(name="resnet20", num_classes=10, output=OutputKind.FEATURES)
    manifest = Manifest(kind="onnx", file="net.onnx", sha256="0" * 64, size_bytes=8, stage="export", net=record)
    with pytest.raises(ConfigError, match="features, which name no class"):
        _measure(source, [link("a"), link("b", manifest=manifest)])


def test_logits_and_probabilities_are_compared_as_probabilities(source, link, digit_weights) -> None:
    def softmax(logits: np.ndarray) -> np.ndarray:
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    record = NetRecord(name="resnet20", num_classes=10, output=OutputKind.SOFTMAX)
    manifest = Manifest(kind="onnx", file="net.onnx", sha256="0" * 64, size_bytes=8, stage="export", net=record)
    last = link("b", manifest=manifest, runner=_Runner(digit_weights, softmax, output="probabilities"))
    step = _measure(source, [link("a"), last]).steps[0]
    assert step.num_flips == 0 and step.sqnr_db > 100
