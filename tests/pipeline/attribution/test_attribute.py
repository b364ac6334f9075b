"""Faults planted in real files of a chain land in the stage that holds them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.core.artifacts import manifest_path, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, MissingDependencyError
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net, save_checkpoint
from resnet_deploy.pipeline.attribution.attribute import AttributeOptions, attribute
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.quant.table import read_table, write_table
from resnet_deploy.verify import subject
from resnet_deploy.verify.attribution.result import Attribution, attribution_path, read_attribution


def _attribute(candidate: Path, **options) -> Attribution:
    given = {"data": "digits", "split": "val", "num_images": 150, "num_threads": 1} | options
    return attribute(AttributeOptions(candidate=candidate, **given))


def _int8(folder: Path, **options) -> Path:
    return quantize_onnx(QuantizeOptions(onnx=folder / "net.fp32.onnx", **options)).file


def _steps(found: Attribution) -> list[str]:
    return [step.cause for step in found.steps]


def _clear_steps(found: Attribution) -> set[str]:
    return {step.cause for step in found.steps if step.distinguishable}


def _break_scale(folder: Path) -> None:
    """The range of the first block's input becomes a fiftieth of what it is: nearly all of it saturates."""
    file = folder / "net.calib.json"
    manifest, table = read_manifest(file), read_table(file)
    name = sorted(table.tensors)[len(table.tensors) // 2]
    one = table.tensors[name]
    broken = replace(one, amax=one.amax / 50, scale=one.scale / 50, amax_unsigned=None)
    write_table(replace(table, tensors={**table.tensors, name: broken}), file)
    write_manifest(
        file,
        kind="calibration",
        stage="calibrate",
        inputs={"onnx": folder / "net.fp32.onnx"},
        parent=manifest,
        options=manifest.options,
        details=manifest.details,
    )


def test_a_sound_chain_is_split_into_all_its_stages_and_adds_up(chain: Path) -> None:
    found = _attribute(_int8(chain))
    assert _steps(found) == ["preprocessing", "export", "quantisation", "precision conversion"]
    assert [file.name for file in found.files] == [
        "reference",
        "reference, candidate's pixels",
        "fp32 onnx",
        "int8 onnx, fp32 floats",
        "int8 onnx",
    ]
    assert [file.made for file in found.files] == [False, False, False, True, False]
    assert "quantize of net.fp32.onnx with net.calib.json, --float fp32" in found.files[3].how
    assert found.files[0].top1_percent > 70
    assert sum(s.num_lost - s.num_gained for s in found.steps) == found.total.num_lost - found.total.num_gained
    assert found.steps[0].identical and found.steps[1].num_flips == 0 and found.steps[1].sqnr_db > 80
    assert found.interaction.drop_after == found.steps[3].drop
    assert found.reference == str(chain / "net.safetensors") and not found.not_run
    assert sorted(path.name for path in chain.glob("*fp32*.onnx")) == ["net.fp32.onnx"]  # what was made is gone


def test_a_broken_scale_lands_in_quantisation(chain: Path) -> None:
    _break_scale(chain)
    found = _attribute(_int8(chain))
    assert found.largest == "quantisation" and _clear_steps(found) == {"quantisation"}
    assert found.steps[2].drop > 10 and abs(found.steps[3].drop) < found.steps[2].drop / 4
    assert "Quantisation loses most" in found.sentence


def test_a_wrong_mean_lands_in_preprocessing(chain: Path) -> None:
    wrong = chain / "wrong.json"
    wrong.write_text(json.dumps(asdict(replace(DIGITS_PREPROCESS, mean=(3.0, 3.0, 3.0)))))
    found = _attribute(chain / "net.fp32.onnx", preprocess=str(wrong))
    assert _steps(found) == ["preprocessing", "export"]
    assert found.largest == "preprocessing" and found.steps[1].num_flips == 0 and found.steps[0].drop > 10
    # the same mistake on the other side: the reference is the one that is wrong, and the candidate gains
    other = _attribute(chain / "net.fp32.onnx", reference_preprocess=str(wrong), out=chain / "other.json")
    assert other.steps[0].drop == -found.steps[0].drop and other.largest == ""
    assert "Preprocessing gains" in other.sentence


def test_a_runner_that_permutes_lands_in_the_engine(chain: Path, monkeypatch) -> None:
    opened = subject.open_runner

    def open_runner(file: Path, *, backend: str | None = None, **options):
        runner = opened(file, backend=None if backend == "openvino" else backend, **options)
        if backend == "openvino":
            run = runner.run
            runner.run = lambda feeds: {name: np.roll(values, 1, axis=1) for name, values in run(feeds).items()}
        return runner

    monkeypatch.setattr(subject, "open_runner", open_runner)
    found = _attribute(chain / "net.fp32.onnx", candidate_backend="openvino")
    assert _steps(found) == ["preprocessing", "export", "engine"]
    assert found.largest == "engine" and _clear_steps(found) == {"engine"} and found.steps[1].num_flips == 0


def test_an_engine_that_can_not_run_here_is_said_and_the_split_ends_before_it(chain: Path, monkeypatch) -> None:
    engine = chain / "net.int8.engine"
    engine.write_bytes(b"an engine for another GPU")
    int8 = _int8(chain)
    write_manifest(engine, kind="engine", stage="build", inputs={"onnx": int8}, parent=read_manifest(int8))
    opened = subject.open_runner

    def open_runner(file: Path, **options):
        if Path(file) == engine:
            raise MissingDependencyError("no CUDA device: none in this test")
        return opened(file, **options)

    monkeypatch.setattr(subject, "open_runner", open_runner)
    found = _attribute(engine)
    assert [(one.cause, one.reason) for one in found.not_run] == [("engine", "no CUDA device: none in this test")]
    assert _steps(found)[-1] == "precision conversion" and found.files[-1].file == str(int8)
    assert found.sentence.startswith("The last file that runs here (int8 onnx)")


@pytest.mark.slow
def test_refinement_is_told_apart(chain: Path) -> None:
    from resnet_deploy.quant.refine import RefineOptions

    refine = RefineOptions(refinements=("bias",), data="digits", num_images=16)
    found = _attribute(_int8(chain, refine=refine))
    assert _steps(found) == ["preprocessing", "export", "quantisation", "precision conversion", "refinement"]
    assert [file.made for file in found.files[-3:]] == [True, True, False]
    assert found.steps[-1].sqnr_db < 300  # it changed something


def test_fp16_has_one_step_and_fp32_floats_need_no_made_file(chain: Path) -> None:
    fp16 = export_onnx(ExportOptions(checkpoint=chain / "net.safetensors", precision=Precision.FP16)).file
    found = _attribute(fp16)
    assert _steps(found) == ["preprocessing", "export", "precision conversion"] and found.interaction is None
    found = _attribute(_int8(chain, float_precision=Precision.FP32))
    assert _steps(found) == ["preprocessing", "export", "quantisation"] and not any(f.made for f in found.files)


@pytest.mark.slow
def test_a_lost_network_is_exported_again_from_the_checkpoint_the_user_names(chain: Path) -> None:
    int8 = _int8(chain)
    (chain / "net.fp32.onnx").unlink()
    with pytest.raises(ConfigError, match=r"net\.fp32\.onnx, which is not here"):
        _attribute(int8)
    found = _attribute(int8, reference=chain / "net.safetensors")
    assert _steps(found) == ["preprocessing", "export", "quantisation", "precision conversion"]
    assert [file.made for file in found.files] == [False, False, True, True, False]
    assert found.interaction is not None and not found.not_run


@pytest.mark.slow
def test_what_was_not_measured_on_the_users_checkpoint_is_one_step(chain: Path) -> None:
    int8, other = _int8(chain), _untrained(chain)
    (chain / "net.fp32.onnx").unlink()
    found = _attribute(int8, reference=other)
    assert _steps(found) == ["preprocessing", "export", "quantisation + precision conversion"]
    assert "was made for the network with SHA-256" in found.not_run[0].reason


def test_a_file_from_elsewhere_needs_its_reference_and_its_pixels(chain: Path) -> None:
    int8 = _int8(chain)
    manifest_path(int8).unlink()
    with pytest.raises(ConfigError, match="a network before it: it has no manifest"):
        _attribute(int8)
    with pytest.raises(ConfigError, match="no manifest that says how its images are prepared"):
        _attribute(int8, reference=chain / "net.safetensors")
    found = _attribute(int8, reference=chain / "net.safetensors", preprocess="digits")
    assert _steps(found)[-1] == "quantisation + precision conversion" and found.total.agreement > 0.7


def _untrained(folder: Path) -> Path:
    manifest, file = read_manifest(folder / "net.safetensors"), folder / "other.safetensors"
    save_checkpoint(
        file,
        fresh_net(find_net("resnet8"), seed=3),
        spec=find_net("resnet8"),
        preprocess=manifest.preprocess,
        labels=manifest.labels,
        stage="train",
        inputs={},
        options={},
        details={},
    )
    return file


def test_another_network_as_reference_is_a_step_of_its_own(chain: Path) -> None:
    found = _attribute(chain / "net.fp32.onnx", reference=_untrained(chain))
    assert _steps(found) == ["preprocessing", "other weights", "export"]
    assert _clear_steps(found) == {"other weights"} and found.steps[1].drop < -30


def test_it_is_a_file_that_reads_back_and_is_not_made_twice(chain: Path) -> None:
    candidate = chain / "net.fp32.onnx"
    found = _attribute(candidate)
    file = attribution_path(candidate)
    assert found.file == str(file) and read_attribution(file) == found
    manifest = read_manifest(file, kind="attribution")
    assert manifest.details["top1_drop"] == found.total.drop and manifest.net.name == "resnet8"
    assert _attribute(candidate).skipped
    assert not _attribute(candidate, force=True).skipped
    with_pixels = _attribute(candidate, pixels=True)
    assert not with_pixels.skipped and len(with_pixels.pixel_alternatives) > 5
    assert not _attribute(candidate, num_images=100).skipped
    (chain / "net.safetensors").write_bytes(b"changed")
    with pytest.raises(ConfigError, match="was changed"):
        _attribute(candidate)


def test_a_checkpoint_a_missing_file_and_a_file_against_itself_are_refused(chain: Path) -> None:
    with pytest.raises(ConfigError, match="is a checkpoint"):
        _attribute(chain / "net.safetensors")
    with pytest.raises(ArtifactError, match="nowhere.onnx: no such file"):
        _attribute(chain / "nowhere.onnx")
    with pytest.raises(ConfigError, match="are the same file"):
        _attribute(chain / "net.fp32.onnx", reference=chain / "net.fp32.onnx")
    with pytest.raises(ConfigError, match="skip_bad is -1"):
        _attribute(chain / "net.fp32.onnx", skip_bad=-1)
