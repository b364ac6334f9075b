import json
import signal
import subprocess
import sys

import pytest

from resnet_deploy.core.artifacts import read_manifest
from tests.e2e.conftest import run_program

HAS_RTX = pytest.importorskip("importlib.util").find_spec("tensorrt_rtx") is not None
FILES = ["resnet8.safetensors", "resnet8.fp32.onnx", "resnet8.fp16.onnx", "resnet8.calib.json", "resnet8.int8.onnx"]
ENGINES = [f"resnet8.{precision}.engine" for precision in ("fp32", "fp16", "int8")]


def test_every_file_is_there_with_a_manifest_that_fits(deployed):
    folder, _ = deployed
    for name in FILES + (ENGINES if HAS_RTX else []):
        assert read_manifest(folder / "out" / name).file == name
    assert not list(folder.rglob("*.part"))


def test_the_chain_walks_back_from_the_engine_to_the_images(deployed):
    folder, _ = deployed
    out = folder / "out"
    int8 = read_manifest(out / "resnet8.int8.onnx")
    fp32 = read_manifest(out / "resnet8.fp32.onnx")
    checkpoint = read_manifest(out / "resnet8.safetensors")
    if HAS_RTX:
        assert read_manifest(out / "resnet8.int8.engine").input_sha256("onnx") == int8.sha256
    assert int8.input_sha256("calibration") == read_manifest(out / "resnet8.calib.json").sha256
    assert int8.input_sha256("onnx") == fp32.sha256
    assert fp32.input_sha256("checkpoint") == checkpoint.sha256
    assert {record.role for record in checkpoint.inputs} == {"images", "held-out images"}
    assert int8.labels == tuple("0123456789") and int8.preprocess == checkpoint.preprocess


def test_calibration_saw_no_held_out_image(deployed):
    """The table names its images by the SHA-256 of their shape and cropped pixels."""
    from resnet_deploy.core.files import sha256_of_bytes
    from resnet_deploy.data.digits import DIGITS_PREPROCESS
    from resnet_deploy.data.preprocess import crop_pixels
    from resnet_deploy.data.source import open_images

    def hashes(split):
        source = open_images("digits", split=split)
        pixels = (crop_pixels(source.image(i), DIGITS_PREPROCESS) for i in range(len(source)))
        return {sha256_of_bytes(str(image.shape).encode() + image.tobytes()) for image in pixels}

    seen = set(json.loads((deployed[0] / "out" / "resnet8.calib.json").read_text())["images"])
    assert len(seen) == 128
    assert seen <= hashes("train")
    assert not seen & hashes("val")


def test_verdicts_rows_and_report(deployed):
    folder, result = deployed
    assert [v["candidate"]["file"].split(".")[-2] for v in result["verdicts"]][:3] == ["fp32", "fp16", "int8"]
    assert result["passed"] is True
    rows = result["benchmark"]["rows"]
    assert {row["batch"] for row in rows} == {1, 2}
    for row in rows:
        assert (row["timing"] is None) == bool(row["reason"])
    html = (folder / "out" / "report.html").read_text()
    assert "<script src" not in html and 'href="http' not in html and "resnet8" in html


def test_a_second_run_does_no_work_again(deployed):
    folder, _ = deployed
    before = {p: p.stat().st_mtime_ns for p in (folder / "out").glob("resnet8.*") if p.suffix != ".html"}
    done = run_program("deploy", "plan.toml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    states = {(s["stage"], s["state"]) for s in json.loads(done.stdout)["stages"]}
    for stage in ("train", "export", "calibrate", "quantize"):
        assert (stage, "up to date") in states and (stage, "done") not in states
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_validate_fails_with_exit_1_where_the_candidate_is_wrong(program, deployed, tmp_path):
    """A planted fault: the classifier's rows are shifted by one class, so every answer is another."""
    import onnx

    from resnet_deploy.core.artifacts import write_manifest

    folder, _ = deployed
    model = onnx.load(folder / "out" / "resnet8.fp32.onnx")
    weight = next(t for t in model.graph.initializer if t.name.startswith("fc") and len(t.dims) == 2)
    import numpy as np

    values = onnx.numpy_helper.to_array(weight)
    axis = 0 if values.shape[0] == 10 else 1
    weight.CopyFrom(onnx.numpy_helper.from_array(np.roll(values, 1, axis=axis).copy(), weight.name))
    broken = tmp_path / "broken.fp32.onnx"
    onnx.save(model, broken)
    parent = read_manifest(folder / "out" / "resnet8.fp32.onnx")
    write_manifest(broken, kind="onnx", stage="export", parent=parent, precision=parent.precision)
    done = program("validate", broken, "-r", "out/resnet8.fp32.onnx", "--data", "digits", "--split", "val", "--json")
    assert done.returncode == 1, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["passed"] is False and verdict["parity"]["top1_agreement"] < 0.5


def test_a_plan_is_checked_whole_before_any_work(tmp_path):
    (tmp_path / "plan.toml").write_text(
        'net = "resnet8"\ndepth = 18\ndata = "digits"\n[train]\nepoch = 3\n[bench]\nbatches = "all"\n'
    )
    done = run_program("deploy", "plan.toml", cwd=tmp_path)
    assert done.returncode == 2
    for part in ("'epoch'", "did you mean 'epochs'", "plan.toml.bench.batches"):
        assert part in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["plan.toml"]


def test_a_plan_killed_in_stage_after_stage_goes_on_to_the_same_files(deployed, tmp_path):
    """kill -9 when a stage begins, and in the next; then the same command ends well and no half-written file is used."""
    plan = (deployed[0] / "plan.toml").read_text().replace("epochs = 8", "epochs = 2")
    (tmp_path / "plan.toml").write_text(plan.replace("[bench]", "[bench]\nenabled = false"))
    for stage in ("training", "export", "calibrate", "building"):
        _kill_at(stage, tmp_path)
    done = run_program("deploy", "plan.toml", "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # two epochs may not be enough for the verdict
    assert "Traceback" not in done.stderr
    for name in FILES:
        read_manifest(tmp_path / "out" / name)


def _kill_at(stage, folder):
    command = [sys.executable, "-m", "resnet_deploy.cli.main", "deploy", "plan.toml"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith(stage):
            break
    else:
        pytest.fail(f"no stage {stage!r}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
