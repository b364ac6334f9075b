from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from resnet_deploy.core.artifacts import manifest_path, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, EngineRunError
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.source import open_images
from resnet_deploy.graph.bfloat16 import BF16_NOTE
from resnet_deploy.graph.float16 import bf16_from_fp32
from resnet_deploy.verify.statistics.result import Conclusion
from resnet_deploy.verify.thresholds import Thresholds
from resnet_deploy.verify.validate import ValidateOptions, validate
from resnet_deploy.verify.verdict import Verdict, read_verdict, verdict_path


def _validate(reference: Path, candidate: Path, **options) -> Verdict:
    return validate(ValidateOptions(reference=reference, candidate=candidate, data="digits", split="val", **options))


def _failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if not check.passed}


def _permuted(w, b):
    order = np.array([1, 0, 2, 3, 4, 5, 6, 7, 8, 9])
    return w[:, order], b[order]


def _with_nan(w, b):
    b = b.copy()
    b[4] = np.nan
    return w, b


FAULTS = {
    "scaled by two": (lambda w, b: (2 * w, 2 * b), {"SQNR of logits (dB)"}),
    "two classes swapped": (_permuted, {"top-1 agreement", "top-1 drop (points)", "SQNR of logits (dB)"}),
    "one class is NaN": (_with_nan, {"candidate values not finite", "top-1 agreement", "top-1 drop (points)"}),
    "off by one": (lambda w, b: (np.roll(w, 1, 1), np.roll(b, 1)), {"top-1 agreement", "top-1 drop (points)"}),
    "always class 0": (lambda w, b: (0 * w, b + 10 * np.eye(10)[0]), {"top-1 agreement", "cosine of logits"}),
}


@pytest.mark.parametrize("precision", list(Precision), ids=str)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails(save_linear, fault: str, precision: Precision) -> None:
    change, expected = FAULTS[fault]
    verdict = _validate(save_linear("ref.onnx"), save_linear("bad.onnx", change, precision=precision))
    assert not verdict and not verdict.passed
    assert expected <= _failed(verdict)


def test_labels_off_by_one_fail_although_both_networks_agree(save_linear) -> None:
    names = tuple(str((i + 1) % 10) for i in range(10))  # every class is called by its neighbour's name
    verdict = _validate(save_linear("ref.onnx", labels=names), save_linear("same.onnx", labels=names))
    assert _failed(verdict) == {"reference top-1, lower bound (%)"}
    assert verdict.parity.top1_agreement == 1 and verdict.top1_drop == 0


@pytest.mark.parametrize("precision", list(Precision), ids=str)
def test_a_sound_candidate_passes_with_numbers_of_both(save_linear, precision: Precision) -> None:
    # Weights rounded to FP16: relative 2^-11, so SQNR near 66 dB, above every default limit.
    rounded = save_linear("cand.onnx", lambda w, b: (w.astype(np.float16), b.astype(np.float16)), precision=precision)
    verdict = _validate(save_linear("ref.onnx"), rounded)
    assert verdict and not _failed(verdict)
    assert verdict.parity.sqnr_db > 55 and verdict.num_images == 599
    drop = verdict.reference.accuracy.top1_percent - verdict.candidate.accuracy.top1_percent
    assert verdict.top1_drop == pytest.approx(drop) and verdict.drop_low <= drop <= verdict.drop_high
    assert verdict.candidate.precision == precision and verdict.candidate.backend == "onnxruntime"


def test_limits_of_the_user_decide(save_linear) -> None:
    reference = save_linear("ref.onnx")
    noisy = save_linear("n.onnx", lambda w, b: (w + np.random.default_rng(0).normal(0, 0.01, w.shape), b))
    strict = _validate(reference, noisy, thresholds=Thresholds(min_agreement=1.0))
    loose = Thresholds(max_top1_drop=100, min_agreement=0, min_cosine=-1, min_sqnr_db=-300)
    assert "top-1 agreement" in _failed(strict)
    assert _validate(reference, noisy, thresholds=loose)


def test_the_verdict_is_a_file_that_reads_back_and_is_not_made_twice(save_linear) -> None:
    reference, candidate = save_linear("ref.onnx"), save_linear("cand.int8.onnx", precision=Precision.INT8)
    verdict = _validate(reference, candidate)
    file = verdict_path(candidate)
    assert file.name == "cand.int8.onnx.verdict.json" and read_verdict(file) == verdict
    manifest = read_manifest(file, kind="verdict")
    assert manifest.details["passed"] is True and {r.role for r in manifest.inputs} == {
        "reference",
        "candidate",
        "images",
    }
    assert _validate(reference, candidate).skipped
    assert not _validate(reference, candidate, force=True).skipped
    assert not _validate(reference, candidate, thresholds=Thresholds(max_top1_drop=1)).skipped
    assert not _validate(reference, candidate, num_images=100).skipped


def test_a_truncated_verdict_is_an_error_and_is_made_again(save_linear) -> None:
    reference, candidate = save_linear("ref.onnx"), save_linear("cand.onnx")
    _validate(reference, candidate)
    file = verdict_path(candidate)
    file.write_text(file.read_text()[:200])
    with pytest.raises(ArtifactError, match="cut off"):
        read_verdict(file)
    write_manifest(file, kind="verdict", stage="validate")
    with pytest.raises(ArtifactError, match="not a verdict"):
        read_verdict(file)
    assert not _validate(reference, candidate).skipped and read_verdict(file)


def test_files_that_number_their_classes_differently_are_compared_by_name(save_linear) -> None:
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    candidate = save_linear("c.onnx", lambda w, b: (w[:, order], b[order]), labels=tuple(map(str, order)))
    verdict = _validate(save_linear("ref.onnx"), candidate)
    assert verdict and verdict.parity.top1_agreement == 1


def test_without_labels_outputs_are_compared_and_the_lack_is_noted(save_linear, tmp_path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    good = ValidateOptions(reference=save_linear("r.onnx"), candidate=save_linear("c.onnx"), data=str(folder))
    verdict = validate(good)
    assert verdict and verdict.top1_drop is None and verdict.reference.accuracy is None
    assert any("no labels" in note for note in verdict.notes)
    bad = save_linear("bad.onnx", lambda w, b: (2 * w, 2 * b))
    assert not validate(ValidateOptions(reference=save_linear("r.onnx"), candidate=bad, data=str(folder)))


def test_a_sample_too_small_for_its_limit_is_noted(save_linear) -> None:
    verdict = _validate(save_linear("r.onnx"), save_linear("c.onnx"), num_images=100)
    assert any("100 images can not resolve" in note for note in verdict.notes)


def test_another_network_is_refused(save_linear, tmp_path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / "a.png")
    seven = save_linear("c.onnx", lambda w, b: (w[:, :7], b[:7]), labels=None)
    with pytest.raises(EngineRunError, match=r"\[1, 10\].*\[1, 7\]"):
        validate(ValidateOptions(reference=save_linear("r.onnx"), candidate=seven, data=str(folder)))


def test_the_file_is_strict_json_even_with_nan_outputs(save_linear) -> None:
    verdict = _validate(save_linear("r.onnx"), save_linear("bad.onnx", _with_nan))

    def refuse(text: str) -> None:
        raise AssertionError(text)

    json.loads(Path(verdict.file).read_text(), parse_constant=refuse)
    assert manifest_path(Path(verdict.file)).is_file()


def test_a_corrupt_image_ends_the_comparison_unless_it_may_be_skipped(save_linear, tmp_path: Path) -> None:
    from resnet_deploy.core.errors import DataError

    for i in range(12):
        folder = tmp_path / "images" / str(i % 10)
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((32, 32), 60 + i).save(folder / f"{i}.png")
    (tmp_path / "images" / "3" / "3.png").write_bytes(b"\x89PNG")
    sides = {"reference": save_linear("ref.onnx"), "candidate": save_linear("same.onnx"), "batch_size": 4}
    with pytest.raises(DataError, match=r"images/3/3\.png: can not be decoded"):
        validate(ValidateOptions(**sides, data=str(tmp_path / "images")))
    options = ValidateOptions(**sides, data=str(tmp_path / "images"), skip_bad=1)
    verdict = validate(options)
    assert verdict.num_images == 11 and verdict.parity.top1_agreement == 1
    (bad,) = verdict.bad_images
    assert "images/3/3.png: can not be decoded" in bad
    run = validate(replace(options, sequential=True)).statistics.sequential
    assert (run.num_images, run.num_available, run.stopped_early) == (11, 11, False)
    assert not validate(options).skipped and validate(options).skipped
    assert validate(options).skipped and read_verdict(Path(verdict.file)).bad_images == verdict.bad_images
    with pytest.raises(ConfigError, match="skip_bad is -1"):
        ValidateOptions(**sides, data="digits", skip_bad=-1)


def test_a_verdict_says_what_ran_in_the_place_of_bf16(save_linear):
    reference, candidate = save_linear("ref.onnx"), save_linear("cand.bf16.onnx", precision=Precision.BF16)
    onnx.save(bf16_from_fp32(onnx.load(candidate)), candidate)
    manifest = read_manifest(candidate, verify=False)
    write_manifest(candidate, kind="onnx", stage="export", parent=manifest, precision=Precision.BF16)
    verdict = _validate(reference, candidate)
    assert verdict and f"candidate: {BF16_NOTE}" in verdict.notes
    assert verdict.limits.min_sqnr_db == 21.1  # -20 log10(5 * 2^-8 * sqrt(20)): BF16, resnet20


def _dull(k: int):
    """Weights of a network that never names class k."""

    def change(w, b):
        b = b.copy()
        b[k] -= 100
        return w, b

    return change


def test_a_network_against_itself_differs_in_nothing(save_linear) -> None:
    found = _validate(save_linear("ref.onnx"), save_linear("same.onnx")).statistics
    assert (found.top1.p_exact, found.top1.p_mid, found.top5.p_mid) == (1, 1, 1) and not found.top1.differs
    assert found.flips.rate.num_hits == 0 and found.class_regressions.num_significant == 0
    assert found.decision.conclusion is Conclusion.WITHIN and all(row.suffices for row in found.images_needed)
    assert found.sequential is None and found.level == 0.05


def test_statistics_and_verdict_say_the_same(save_linear) -> None:
    reference = save_linear("ref.onnx")
    noisy = save_linear("n.onnx", lambda w, b: (w + np.random.default_rng(0).normal(0, 0.02, w.shape), b))
    verdict = _validate(reference, noisy, thresholds=Thresholds(min_agreement=0, min_cosine=0, min_sqnr_db=-10))
    found, flips = verdict.statistics, verdict.statistics.flips
    assert found.top1.reference.num_hits == verdict.reference.accuracy.num_top1_hits
    assert found.top5.candidate.percent == pytest.approx(verdict.candidate.accuracy.top5_percent)
    assert flips.rate.num_hits == round(599 * (1 - verdict.parity.top1_agreement)) > 5
    assert flips.num_right_to_wrong == verdict.num_only_reference == found.top1.num_only_reference
    assert flips.num_wrong_to_right == verdict.num_only_candidate
    assert (verdict.drop_low, verdict.drop_high) == (found.top1.drop_low, found.top1.drop_high)
    assert verdict.parity.abs_error_p50 <= verdict.parity.abs_error_p90 <= verdict.parity.abs_error_p999


def test_flips_name_the_images_whatever_the_order(save_linear) -> None:
    reference = save_linear("ref.onnx")
    noisy = save_linear("n.onnx", lambda w, b: (w + np.random.default_rng(0).normal(0, 0.02, w.shape), b))
    source = open_images("digits", split="val")
    loose = Thresholds(max_top1_drop=0, min_agreement=0, min_cosine=0, min_sqnr_db=-10)
    plain = _validate(reference, noisy, thresholds=loose).statistics.flips
    random = _validate(reference, noisy, thresholds=loose, sequential=True, batch_size=599)  # one look, at all of them
    assert not random.statistics.sequential.stopped_early
    # Sums of float32 in batches of other images: margins are equal to 1e-5, and so is the order by them.
    assert [(f.index, f.kind, f.label) for f in plain.suspicious] == [
        (f.index, f.kind, f.label) for f in random.statistics.flips.suspicious
    ]
    for flip in random.statistics.flips.suspicious:
        assert flip.name == source.name(flip.index) and flip.label == source.classes[source.labels[flip.index]]


def test_a_class_that_is_no_longer_recognised_is_named(save_linear) -> None:
    verdict = _validate(save_linear("ref.onnx"), save_linear("bad.onnx", _dull(3)))
    found = verdict.statistics.class_regressions
    assert found.num_significant == 1 and found.worst[0].name == "3" and found.worst[0].p_holm < 1e-9
    assert any("3 (" in note and "significantly worse" in note for note in verdict.notes)
    assert verdict.statistics.top1.differs and verdict.statistics.decision.conclusion is Conclusion.BEYOND


def test_a_drop_that_is_not_proven_fails_only_where_proof_is_asked_for(save_linear) -> None:
    sides = save_linear("ref.onnx"), save_linear("same.onnx")
    judged = _validate(*sides, num_images=100)
    assert judged and judged.statistics.decision.conclusion is Conclusion.UNDECIDED
    assert any("is undecided" in note and "point estimate was judged" in note for note in judged.notes)
    proven = _validate(*sides, num_images=100, prove=True)
    assert _failed(proven) == {"top-1 drop, upper bound (points)"} and not proven.skipped
    assert any("counts as not proven" in note for note in proven.notes)
    assert _validate(*sides, prove=True)  # 599 equal answers: the bound is 0.45 points


def test_a_stricter_level_asks_for_more(save_linear) -> None:
    sides = save_linear("ref.onnx"), save_linear("same.onnx")
    assert _failed(_validate(*sides, prove=True, level=0.01)) == {"top-1 drop, upper bound (points)"}
    with pytest.raises(ConfigError, match=r"level is 0\.5"):
        _validate(*sides, level=0.5)


def test_a_sequential_verdict_stops_early_and_says_after_how_many_images(save_linear) -> None:
    reference, same = save_linear("ref.onnx"), save_linear("same.onnx")
    options = {"sequential": True, "batch_size": 25, "thresholds": Thresholds(max_top1_drop=3, min_agreement=0.95)}
    verdict = _validate(reference, same, **options)
    run = verdict.statistics.sequential
    assert verdict and run.stopped_early and verdict.num_images == run.num_images < 300 and run.num_available == 599
    assert verdict.statistics.decision.high == run.drop_high < 3 and run.agreement_low > 95
    assert verdict.drop_high > run.drop_high  # two-sided
    assert any(f"{run.num_images} of 599 images were compared" in note for note in verdict.notes)
    assert _validate(reference, same, **options).skipped and read_verdict(Path(verdict.file)) == verdict
    assert not _validate(reference, same, **{**options, "batch_size": 50}).skipped
    bad = _validate(reference, save_linear("bad.onnx", _dull(3)), **options)
    assert not bad and bad.statistics.sequential.stopped_early and bad.statistics.sequential.num_images < 300


def test_a_proof_or_an_early_stop_needs_something_to_count(save_linear, tmp_path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for i in range(4):
        Image.effect_noise((40, 40), 60 + i).save(folder / f"{i}.png")
    sides = {"reference": save_linear("r.onnx"), "candidate": save_linear("c.onnx"), "data": str(folder)}
    with pytest.raises(ConfigError, match="no labels, so no drop can be proven"):
        validate(ValidateOptions(**sides, prove=True))
    verdict = validate(ValidateOptions(**sides, sequential=True))
    assert verdict.statistics.top1 is None and verdict.statistics.sequential.drop_high is None
    assert verdict.statistics.flips.num_right_to_wrong is None and verdict.statistics.images_needed == ()


def test_limits_follow_the_number_of_layers_of_the_network(save_linear) -> None:
    fp16 = save_linear("c.onnx", precision=Precision.FP16)  # its manifest says resnet20
    verdict = _validate(save_linear("r.onnx"), fp16, thresholds=Thresholds(min_cosine=0.9))
    check = {check.name: check for check in verdict.checks}
    assert "20 layers" in check["SQNR of logits (dB)"].source and check["SQNR of logits (dB)"].limit == 39.2
    assert check["cosine of logits"].source == "given" and all(check.source for check in verdict.checks)
