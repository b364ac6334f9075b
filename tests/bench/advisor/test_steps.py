from __future__ import annotations

import functools
import shlex

import pytest
import typer
from typer.core import TyperGroup

from resnet_deploy.bench.advisor.steps import next_steps
from resnet_deploy.bench.advisor.target import CPU, AdvisorTarget, find_target
from resnet_deploy.cli.main import app
from resnet_deploy.core.specs import Precision
from tests.bench.advisor.conftest import an_option

_CPU = AdvisorTarget(name=CPU, title="the processor")


def _parse(command: str) -> None:
    """Let the real command line read `command` without running it; it refuses unknown options and missing words."""
    program, verb, *words = shlex.split(command)
    assert program == "resnet-deploy"
    found = _program().commands[verb]
    context = found.make_context(verb, words)
    if isinstance(found, TyperGroup):  # `bench`, which sends its words to a sub-command
        verb, found, words = found.resolve_command(context, [*context._protected_args, *context.args])
        found.make_context(verb, list(words))


@functools.cache
def _program() -> TyperGroup:
    return typer.main.get_command(app)


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize(("net", "size"), [("resnet50", 224), ("resnet50", 288), ("resnet20", 32)])
@pytest.mark.parametrize("target", ["l4", "h100", CPU])
def test_every_step_is_a_command_line_that_exists(precision, net, size, target):
    option = an_option(precision=precision, net=net, size_px=size, batch=8)
    steps = next_steps(option, _CPU if target == CPU else find_target(target))
    for step in steps:
        _parse(step)
    assert steps[-1].startswith("resnet-deploy advise")


def test_a_step_with_an_unknown_option_would_be_noticed():
    with pytest.raises(Exception, match="--no-such"):
        _parse("resnet-deploy bench a.onnx --no-such 1")


def test_int8_is_calibrated_and_quantised_and_an_engine_is_built_where_the_target_is_a_gpu():
    verbs = [step.split()[1] for step in next_steps(an_option(), find_target("l4"))]
    assert verbs == ["import", "export", "calibrate", "quantize", "build", "validate", "bench", "advise"]
    build = next_steps(an_option(batch=8), find_target("l4"))[4]
    assert build == "resnet-deploy build out/resnet50.int8.onnx --target sm89 --profile 8"
    assert "--product tensorrt" in next_steps(an_option(), find_target("h100"))[4]
    assert "build" not in [step.split()[1] for step in next_steps(an_option(), _CPU)]


def test_a_measured_option_is_measured_again_on_its_own_backend():
    steps = next_steps(an_option(net="resnet20", size_px=32, backend="openvino, 2 threads", device="cpu"), _CPU)
    assert "validate openvino:out/resnet20.int8.onnx " in steps[-3] and "bench openvino:out/" in steps[-2]
    torch = next_steps(an_option(precision=Precision.FP32, backend="torch-compile", device="cpu"), _CPU)
    assert "bench torch-compile:out/resnet50.safetensors" in torch[-2]


def test_another_size_takes_a_file_for_any_size():
    steps = next_steps(an_option(size_px=288), find_target("l4"))
    assert "--dynamic-size" in steps[1] and "out/resnet50.dynamic-size.int8.engine --batches 1 --size 288" in steps[-2]
    assert "--size 288" in steps[4] and "--preprocess PIXELS.json" in steps[5]


def test_a_network_that_is_not_of_the_catalogue_has_no_steps():
    assert next_steps(an_option(net="mobilenet"), find_target("l4")) == ()
