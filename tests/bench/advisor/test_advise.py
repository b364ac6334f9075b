from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_deploy.bench.advisor import advise as module
from resnet_deploy.bench.advisor.advice import Needs, Standing, read_advice
from resnet_deploy.bench.advisor.advise import AdviseOptions, advise
from resnet_deploy.bench.advisor.measured import Findings
from resnet_deploy.bench.advisor.target import find_target
from resnet_deploy.bench.machine.environment import capture_environment
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from tests.bench.advisor.conftest import a_run, a_score, plain_bound


@pytest.fixture(autouse=True)
def _plain_roofline(monkeypatch):
    """The arithmetic of `plain_bound` in place of the roofline, which imports torch."""
    monkeypatch.setattr(module, "roofline_of", lambda gpu, progress: plain_bound)


def _with(monkeypatch, *runs, scores=()) -> Path:
    monkeypatch.setattr(module, "read_folder", lambda folder: Findings(runs=runs, accuracies=tuple(scores)))
    return Path("somewhere")


def test_the_usual_options_are_five_depths_five_sizes_three_precisions_and_three_batches():
    found = advise(AdviseOptions(target="l4"))
    assert len(found.options) == 5 * 5 * 3 * 3 and found.target_name == "NVIDIA L4"
    assert {option.speed.label for option in found.options} == {"roofline bound"}
    assert any("225 roofline bounds" in note for note in found.notes)
    assert found.pareto == tuple(n for n, option in enumerate(found.options) if option.on_front)


def test_what_was_named_is_looked_at_and_nothing_else():
    options = AdviseOptions(
        target="t4", nets=("resnet18",), sizes_px=(224,), precisions=(Precision.INT8,), batches=(4,)
    )
    (option,) = advise(options).options
    assert (option.net, option.size_px, option.precision, option.batch) == ("resnet18", 224, "int8", 4)


def test_measured_sizes_and_batches_join_the_usual_ones_and_are_labelled(monkeypatch):
    folder = _with(monkeypatch, a_run(size_px=320, batch=4), a_run("resnet18", device="Tesla T4"))
    found = advise(AdviseOptions(target="l4", folder=folder))
    measured = [option for option in found.options if option.speed.label == "measured"]
    assert [(option.size_px, option.batch, option.device) for option in measured] == [(320, 4, "NVIDIA L4")]
    assert {o.speed.label for o in found.options if o.precision is Precision.INT8 and o is not measured[0]} == {
        "scaled from 1 measured run"
    }


def test_the_answer_is_written_and_read_back(tmp_path: Path):
    out = tmp_path / "advice.json"
    found = advise(AdviseOptions(target="l4", needs=Needs(max_latency_ms=1.0, min_top1=76.0), out=out))
    assert read_advice(out) == found and found and found.choice.standing is Standing.MEASURE
    manifest = read_manifest(out, kind="advice")
    assert manifest.details["recommended"] == found.choice.name and manifest.options["needs"]["min_top1"] == 76.0
    json.loads(out.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


def test_impossible_needs_make_a_false_answer_without_steps(tmp_path: Path):
    out = tmp_path / "advice.json"
    found = advise(AdviseOptions(target="l4", needs=Needs(max_latency_ms=0.001), out=out))
    assert not found and found.choice is None and found.steps == () and read_advice(out) == found


def test_the_boards_power_limit_counts(monkeypatch):
    low, high = (advise(AdviseOptions(target="l4", needs=Needs(max_watts=watts))) for watts in (80.0, 40.0))
    assert low.choice.standing is Standing.MEETS and high.choice.standing is Standing.MEASURE
    hungry = _with(monkeypatch, a_run(watts=70.0))
    found = advise(AdviseOptions(target="l4", needs=Needs(max_watts=40.0), folder=hungry))
    (measured,) = [option for option in found.options if option.device]
    assert measured.standing is Standing.FAILS and "70 W" in measured.checks[0].reason


def test_a_processor_has_only_what_was_measured_on_it(monkeypatch):
    here = capture_environment().cpu
    runs = (
        a_run("resnet20", size_px=32, device="cpu", cpu=here, p50_ms=3.0),
        a_run("resnet56", size_px=32, device="cpu", cpu="another processor", p50_ms=1.0),
    )
    scores = [a_score("resnet20", Precision.INT8, size_px=32, num_classes=10, top1_percent=81.0, low=80.2, high=81.8)]
    folder = _with(monkeypatch, *runs, scores=scores)
    found = advise(AdviseOptions(target="here", folder=folder, needs=Needs(max_latency_ms=5.0, min_top1=80.0)))
    assert [option.net for option in found.options] == ["resnet20"] and found.choice.standing is Standing.MEETS
    assert any("8 combinations were left out" in note for note in found.notes)
    both = advise(AdviseOptions(target="cpu", folder=folder))
    assert {option.net for option in both.options} == {"resnet20", "resnet56"}
    assert any("2 different processors" in note for note in both.notes)


def test_a_processor_of_which_nothing_was_measured_is_refused_with_the_way_out(monkeypatch):
    with pytest.raises(ConfigError, match="no folder was named") as caught:
        advise(AdviseOptions(target="cpu"))
    assert "resnet-deploy bench" in caught.value.remedy
    folder = _with(monkeypatch, a_run())
    with pytest.raises(ConfigError, match="runs there are of NVIDIA L4"):
        advise(AdviseOptions(target="cpu", folder=folder))


def test_a_precision_that_the_gpu_has_not_is_refused():
    with pytest.raises(ConfigError, match="no unit"):
        advise(AdviseOptions(target="t4", precisions=(Precision.FP8,)))


def test_a_median_that_meets_and_a_tail_that_does_not_is_noted(monkeypatch):
    folder = _with(monkeypatch, a_run(p50_ms=0.5, p99_ms=3.0))
    options = AdviseOptions(
        target="l4", folder=folder, nets=("resnet50",), sizes_px=(224,), precisions=(Precision.INT8,), batches=(1,),
        needs=Needs(max_latency_ms=1.0),
    )  # fmt: skip
    assert any("99th percentile does not: 3 ms" in note for note in advise(options).notes)


def test_int8_by_a_bound_is_noted_where_tensorrt_rtx_would_run_it():
    options = AdviseOptions(target="l4", precisions=(Precision.INT8,), needs=Needs(max_latency_ms=9.0))
    assert any("TensorRT-RTX 1.7" in note and "estimate --net" in note for note in advise(options).notes)
    assert not any("TensorRT-RTX" in note for note in advise(replace(options, target="h100")).notes)


def test_a_run_that_beats_its_bound_is_noted(monkeypatch):
    folder = _with(monkeypatch, a_run(p50_ms=0.05))
    found = advise(AdviseOptions(target="l4", folder=folder))
    assert any("faster than their roofline bound" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "l44"}, "unknown GPU 'l44'"),
        ({"target": "l4", "weights": "mine"}, "unknown weights 'mine'"),
        ({"target": "l4", "nets": ("resnet51",)}, "resnet51"),
        ({"target": "l4", "batches": (0,)}, r"\[0\]"),
    ],
)
def test_wrong_names_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        advise(AdviseOptions(**options))


@pytest.mark.parametrize(
    ("needs", "says"), [({"max_latency_ms": 0.0}, "max_latency_ms is 0"), ({"min_top1": 101.0}, "at most 100")]
)
def test_needs_out_of_range_are_refused(needs, says):
    with pytest.raises(ConfigError, match=says):
        Needs(**needs)


def test_a_gpu_here_is_looked_up_by_its_name(monkeypatch):
    from resnet_deploy.bench.advisor import target as targets
    from resnet_deploy.bench.machine.environment import Gpu

    machine = capture_environment()

    def with_gpu(name):
        gpu = Gpu(name=name, driver="1", power_limit_w=60.0)
        monkeypatch.setattr(targets, "capture_environment", lambda: replace(machine, gpus=(gpu,)))

    with_gpu("NVIDIA L4")
    here = find_target("here")
    assert (here.gpu.name, here.watts, find_target("l4").watts) == ("l4", 60.0, 72.0)  # the limit that is set here
    with_gpu("Orin")  # several modules call themselves so
    with pytest.raises(ConfigError, match="orin-agx"):
        find_target("here")
    with_gpu("Voodoo 2")
    with pytest.raises(ConfigError, match="none"):
        find_target("here")
