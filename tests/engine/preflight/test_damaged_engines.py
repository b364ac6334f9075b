"""`preflight` and `inspect`, as a user types them, on one good engine and on five that are not."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner, Result

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import manifest_path
from resnet_deploy.engine.cuda_driver import CudaDriver
from resnet_deploy.engine.preflight import run as preflight
from tests.engine.conftest import small_classifier

GOOD = "good.engine"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "no CUDA device: NVIDIA's driver is not installed"
    monkeypatch.setattr(preflight, "query_cuda_driver", lambda: CudaDriver(version=None, gpus=(), reason=reason))


@pytest.fixture(scope="module")
def six(tmp_path_factory) -> Path:
    """A folder with six engines, all built by TensorRT-RTX but for the picture; all but one for sm89."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    folder = tmp_path_factory.mktemp("bundle")
    source = tmp_path_factory.mktemp("source") / "small.onnx"
    onnx.save(small_classifier("fp16"), source)
    for name, target in ((GOOD, "sm89"), ("other-sm.engine", "sm86")):
        assert call("build", source, "--target", target, "--out", folder / name).exit_code == 0
    for name in ("truncated.engine", "flipped.engine", "foreign-manifest.engine"):
        assert call("build", source, "--target", "sm89", "--out", folder / name).exit_code == 0
    whole = (folder / "truncated.engine").read_bytes()
    (folder / "truncated.engine").write_bytes(whole[: len(whole) // 2])
    data = bytearray((folder / "flipped.engine").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "flipped.engine").write_bytes(data)
    shutil.copy(manifest_path(folder / "other-sm.engine"), manifest_path(folder / "foreign-manifest.engine"))
    (folder / "picture.engine").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    return folder


SIX = {
    # file: (state for sm89, the check that decides, words of it, exit code alone)
    GOOD: ("good", "GPU sm89", "built for sm89", 0),
    "truncated.engine": ("damaged", "header", "was cut off", 1),
    "flipped.engine": ("damaged", "manifest", "same length", 1),
    "other-sm.engine": ("does not fit", "GPU sm89", "built for sm86, not for sm89", 1),
    "foreign-manifest.engine": ("does not fit", "manifest", "belongs to another file", 1),
    "picture.engine": ("damaged", "header", "a PNG image", 1),
}


def test_preflight_answers_each_of_six(six: Path) -> None:
    result = call("preflight", six, "--for", "sm89", "--json")
    assert result.exit_code == 1
    found = {Path(one["file"]).name: one for one in json.loads(result.stdout)["files"]}
    assert {name: one["state"] for name, one in found.items()} == {name: row[0] for name, row in SIX.items()}
    for name, (state, subject, words, code) in SIX.items():
        check = next(check for check in found[name]["checks"] if check["subject"] == subject)
        assert check["state"] == state and words in check["text"]
        assert call("preflight", six / name, "--for", "sm89").exit_code == code
        assert bool(found[name]["remedy"]) == (state != "good")
        told_by_its_own_manifest = name in ("truncated.engine", "flipped.engine", "other-sm.engine")
        assert ("--target sm89" in found[name]["rebuild"]) == told_by_its_own_manifest


def test_the_rebuild_command_makes_an_engine_that_fits(six: Path, tmp_path: Path) -> None:
    file = tmp_path / "bundle" / "other-sm.engine"
    shutil.copytree(six, file.parent)
    shutil.copytree(six.with_name("source0"), tmp_path / "source0")  # where the manifest says the ONNX file is
    answer = json.loads(call("preflight", file, "--for", "sm89", "--json").stdout)["files"][0]
    words = shlex.split(answer["rebuild"])
    assert words[:2] == ["resnet-deploy", "build"]
    assert call(*words[1:]).exit_code == 0
    assert call("preflight", file, "--for", "sm89").exit_code == 0


def test_without_a_gpu_the_good_one_is_good_as_far_as_can_be_told(six: Path) -> None:
    plain = call("preflight", six / GOOD)
    assert plain.exit_code == 0
    assert "good as far as can be told without a GPU; not checked: GPU" in " ".join(plain.stderr.split())
    required = call("preflight", six / GOOD, "--require-gpu")
    assert required.exit_code == 3 and "no CUDA device" in required.stderr
    assert call("preflight", six / "flipped.engine", "--require-gpu").exit_code == 1


def test_the_table_shows_every_file_and_a_line_below_how_to_rebuild(six: Path, monkeypatch) -> None:
    monkeypatch.chdir(six)
    shown = call("preflight", "*.engine", "--for", "sm89")
    assert shown.exit_code == 1 and all(f" {name} " in shown.stdout for name in SIX)
    source = f"resnet-deploy build ../{six.with_name('source0').name}/small.onnx --product tensorrt-rtx --target sm89"
    assert (
        f"other-sm.engine: take an engine built for that GPU, or build it again:\n  {source} --profile 1:8:32 --out other-sm.engine\n"
        in shown.stdout
    )
    told = " ".join(shown.stderr.split())
    assert "preflight failed for 5 of 6 files" in told and told.endswith("Of the engines, good: good.engine")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.engine"], 2, "no such file or folder"),
        ([GOOD, "--for", "rtx4090"], 2, "'rtx4090' is no compute capability"),
        ([GOOD, "--for", "sm89", "--require-gpu"], 2, "--for asks for GPUs that need not be here"),
        ([GOOD, "--library", "libmissing.so"], 2, "library libmissing.so: no such file"),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_usage_is_told(six: Path, monkeypatch, arguments: list[str], code: int, says: str) -> None:
    monkeypatch.chdir(six)
    result = call("preflight", *arguments)
    assert result.exit_code == code and says in " ".join(result.stderr.split())


def test_inspect_answers_each_of_six(six: Path) -> None:
    names = list(SIX)
    result = call("inspect", *(six / name for name in names), "--json")
    assert result.exit_code == 2
    found = dict(zip(names, json.loads(result.stdout), strict=True))
    assert found[GOOD]["manifest_state"] == "matches"
    assert found["other-sm.engine"]["facts"]["runs on"] == "sm86"
    assert "was cut off" in found["truncated.engine"]["error"]
    assert "a PNG image" in found["picture.engine"]["error"]
    assert "same length" in found["flipped.engine"]["manifest_state"]
    assert "belongs to another file" in found["foreign-manifest.engine"]["manifest_state"]
    codes = {name: call("inspect", six / name).exit_code for name in names}
    assert codes == {
        GOOD: 0,
        "truncated.engine": 2,
        "flipped.engine": 1,
        "other-sm.engine": 0,
        "foreign-manifest.engine": 1,
        "picture.engine": 2,
    }


def test_one_damaged_file_does_not_hide_the_others_from_inspect(six: Path) -> None:
    shown = call("inspect", six / "picture.engine", six / GOOD)
    assert shown.exit_code == 2 and "sm89" in shown.stdout and "a PNG image" in " ".join(shown.stderr.split())
