"""`resnet-deploy sanity` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner, Result

from resnet_deploy.cli.main import app
from resnet_deploy.engine import open as opening
from resnet_deploy.engine.sanity.checks import CHECKS
from tests.engine.conftest import small_classifier
from tests.engine.sanity.faulty_runners import FAULTS, FaultyRunner


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["sanity", *map(str, arguments), "--threads", "1"])


def test_a_sound_file_passes_and_shows_every_check(save_onnx) -> None:
    result = call(save_onnx("fp32"), "--preprocess", "digits")
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in CHECKS) and "PASSED" in result.stdout and "FAILED" not in result.stdout


def test_a_failed_check_is_exit_code_1_and_says_where(save_onnx, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = opening.open_runner

    class Faulty(FaultyRunner):
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            self._inner.close()

    fault = FAULTS["wrong above batch 8"][0]
    monkeypatch.setattr(opening, "open_runner", lambda *a, **k: Faulty(sound(*a, **k), fault))
    result = call(save_onnx("fp32"))
    assert result.exit_code == 1 and "batch 32" in result.stdout and "FAILED" in result.stdout


def test_a_network_of_nan_fails(tmp_path: Path) -> None:
    model = small_classifier("fp32")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "fc_b")
    values = numpy_helper.to_array(bias).copy()
    values[3] = float("nan")
    bias.CopyFrom(numpy_helper.from_array(values, "fc_b"))
    onnx.save(model, file := tmp_path / "nan.onnx")
    result = call(file, "--json")
    (document,) = json.loads(result.stdout)
    assert result.exit_code == 1 and document["state"] == "failed"
    finite = next(check for check in document["checks"] if check["name"] == "finite")
    assert finite["passed"] is False and finite["measured"] == len(document["images"])


def test_one_file_that_can_not_run_here_does_not_stop_the_others(save_onnx, rtx) -> None:
    source = save_onnx("fp32", manifest=True)
    engine = source.with_suffix(".engine")
    assert CliRunner().invoke(app, ["build", str(source)]).exit_code == 0
    result = call(engine, source, "--json")
    states = [one["state"] for one in json.loads(result.stdout)]
    if states[0] != "not run":
        pytest.skip("there is a GPU here")
    assert states == ["not run", "passed"] and result.exit_code == 3
    assert "small.fp32.engine is not run" in " ".join(result.stderr.split())


def test_a_missing_file_is_said_before_the_first_is_run(save_onnx) -> None:
    result = call(save_onnx("fp32"), "nope.onnx")
    assert result.exit_code == 2 and "sanity of" not in result.stderr and not result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope.onnx"], "nope.onnx: no such file"),
        (["ort:net.onnx"], "'ort' is not a backend"),
        (["README.md"], "can not be run"),
        (["net.onnx", "--preprocess", "imagnet"], "unknown preprocessing 'imagnet'"),
        (["net.onnx", "--seconds", "0"], "0.1"),
        ([], "Missing argument"),
    ],
)
def test_wrong_use_is_refused_with_code_2(arguments: list[str], says: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2 and says in " ".join(result.stderr.split()), result.output
