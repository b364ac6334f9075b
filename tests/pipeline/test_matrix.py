from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ConfigError, ExitCode
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.building.options import BuildOptions
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.pipeline import matrix as matrix_module
from resnet_deploy.pipeline.matrix import NetworkMatrix, build_all, build_matrix, jobs_for
from tests.reference.checkpoints import save_resnet8

NETS = tuple(find_net(name) for name in ("resnet8", "plain8"))
TARGETS = (("sm86",), ("sm89",))


@pytest.fixture
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


def matrix(folder: Path, **changes: object) -> NetworkMatrix:
    usual = {
        "nets": NETS,
        "template": BuildOptions(onnx=Path("net.onnx")),
        "precisions": (Precision.FP16, Precision.INT8),
        "target_groups": TARGETS,
        "folder": folder,
    }
    return NetworkMatrix(**{**usual, **changes})


def test_every_network_precision_and_gpu_gets_an_engine_once(tmp_path: Path, rtx) -> None:
    first = build_matrix(matrix(tmp_path))
    assert [cell.state for cell in first] == ["built"] * 8
    names = {cell.file.name for cell in first}
    assert names == {
        f"{net.name}.{precision}.{target[0]}.engine"
        for net in NETS
        for precision in ("fp16", "int8")
        for target in TARGETS
    }
    for cell in first:
        assert read_manifest(cell.file).details["targets"] == list(cell.targets) == list(cell.result.targets)
    before = {cell.file: cell.file.stat().st_mtime_ns for cell in first}
    second = build_matrix(matrix(tmp_path))
    assert [cell.state for cell in second] == ["up to date"] * 8
    assert {cell.file: cell.file.stat().st_mtime_ns for cell in second} == before


def test_what_an_interrupted_run_finished_is_kept(tmp_path: Path, rtx, monkeypatch: pytest.MonkeyPatch) -> None:
    build, left = matrix_module.build_and_ask, [3]

    def build_some(options, progress):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return build(options, progress)

    monkeypatch.setattr(matrix_module, "build_and_ask", build_some)
    with pytest.raises(KeyboardInterrupt):
        build_matrix(matrix(tmp_path))
    monkeypatch.setattr(matrix_module, "build_and_ask", build)
    assert [cell.state for cell in build_matrix(matrix(tmp_path))] == ["up to date"] * 3 + ["built"] * 5


def test_an_engine_that_is_refused_does_not_hinder_the_others(tmp_path: Path, rtx) -> None:
    cells = build_matrix(
        matrix(tmp_path, nets=NETS[:1], precisions=(Precision.FP32,), target_groups=(("sm75",), ("sm89",)))
    )
    assert [cell.state for cell in cells] == ["refused", "built"]
    assert "FP32 GEMM" in cells[0].reason and "FP16 file" in cells[0].reason
    assert cells[0].exit_code == ExitCode.FAILED and cells[1].exit_code == ExitCode.DONE
    assert not cells[0].file.exists()


def test_trained_weights_are_taken_and_never_calibrated_by_guess(tmp_path: Path, rtx) -> None:
    save_resnet8(tmp_path / "resnet8.safetensors")
    one = matrix(tmp_path, nets=NETS[:1], target_groups=((),))
    with pytest.raises(ConfigError, match=r"resnet8\.int8\.onnx is not there, and scales .* can not be guessed"):
        build_matrix(one)
    cells = build_matrix(matrix(tmp_path, nets=NETS[:1], target_groups=((),), precisions=(Precision.FP16,)))
    assert cells[0].file == tmp_path / "resnet8.fp16.engine"
    assert not (tmp_path / "untrained").exists()


def test_untrained_files_in_the_folder_count_as_none(tmp_path: Path, rtx) -> None:
    from resnet_deploy.export.onnx_export import ExportOptions, export_onnx

    export_onnx(ExportOptions(net="resnet8", out=tmp_path / "resnet8.fp32.onnx"))
    cells = build_matrix(matrix(tmp_path, nets=NETS[:1], precisions=(Precision.INT8,), target_groups=((),)))
    assert cells[0].file == tmp_path / "untrained" / "resnet8.int8.engine"


def test_one_group_of_gpus_needs_no_name_of_its_own(tmp_path: Path) -> None:
    template = BuildOptions(onnx=Path("x.onnx"))
    file = tmp_path / "net.int8.onnx"
    assert [job.file.name for job in jobs_for(file, template, (("sm86", "sm89"),))] == ["net.int8.engine"]
    names = [job.file.name for job in jobs_for(file, template, (("sm86",), ("sm89", "sm120")))]
    assert names == ["net.int8.sm86.engine", "net.int8.sm89-sm120.engine"]


def test_a_failed_sanity_gate_is_a_failed_check(tmp_path: Path, rtx, monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_deploy.engine.sanity import gate as sanity

    monkeypatch.setattr(
        sanity, "sanity_record", lambda file: {"state": "failed", "reason": "rows differ", "checks": []}
    )
    cells = build_matrix(matrix(tmp_path, nets=NETS[:1], precisions=(Precision.FP16,), target_groups=((),)))
    assert cells[0].state == "built" and cells[0].exit_code == ExitCode.CHECK_FAILED
    assert read_manifest(cells[0].file).details["sanity"]["reason"] == "rows differ"
    monkeypatch.setattr(sanity, "sanity_record", lambda file: pytest.fail("a finished verdict was asked for again"))
    assert build_all([BuildOptions(onnx=cells[0].onnx)])[0].exit_code == ExitCode.CHECK_FAILED


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_builds_networks_and_says_what_became_of_each(tmp_path: Path, rtx) -> None:
    arguments = ["build", "--net", "resnet8", "--precision", "fp16", "--target", "sm86,sm89", "--folder", tmp_path]
    result = call(*arguments, "--per-target", "--profile", "1,4")
    assert result.exit_code == 0, result.output
    assert "2 engines in" in result.stdout and "2 built" in result.stdout
    again = json.loads(call(*arguments, "--per-target", "--profile", "1,4", "--json").stdout)
    assert [engine["state"] for engine in again["engines"]] == ["up to date"] * 2
    assert [len(engine["result"]["profiles"]) for engine in again["engines"]] == [2, 2]


@pytest.mark.parametrize(
    ("option", "says"),
    [("--target=sm90", "can not build for sm90"), ("--optimization-level=5", "no optimization level")],
)
def test_what_no_engine_could_have_is_refused_before_a_network_is_made(tmp_path: Path, rtx, option, says) -> None:
    result = call("build", "--net", "resnet8", "--folder", tmp_path, "--product", "tensorrt-rtx", option)
    assert result.exit_code == 2 and says in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to build was named"),
        (["net.onnx", "--net", "resnet8"], "ONNX files and networks were both named"),
        (["--depth", "fifty"], "--depth has 'fifty'"),
        (["--depth", "51"], "51"),
        (["--net", "resnet8", "--precision", "int7"], "--precision is 'int7'"),
        (["--net", "resnet8", "--precision", ","], "--precision is ','"),
        (["--net", "resnet8", "--out", "a.engine"], "--out names one engine, --depth and --net make several"),
        (["net.onnx", "--per-target"], "--per-target needs --target"),
        (["net.onnx", "--hardware-compatible", "volta"], "'volta' is not one of"),
    ],
)
def test_what_can_not_be_meant_is_refused(arguments: list[str], says: str) -> None:
    result = call("build", *arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split()) and "Traceback" not in result.output
