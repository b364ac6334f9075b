from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer.main

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import Manifest, read_manifest, write_manifest
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.building.options import BatchProfile
from resnet_deploy.engine.preflight.rebuild import rebuild_command

ALL_OPTIONS = {
    "product": "tensorrt",
    "targets": [],
    "tf32": True,
    "workspace_mib": 512,
    "strip": True,
    "refit": False,
    "pinned_timing_cache": "ab" * 32,
    "optimization_level": 5,
    "hardware_compatibility": "ampere-plus",
    "version_compatible": True,
    "dla_core": 0,
}
PROFILES = [{"min": [1, 3, 96, 96], "opt": [8, 3, 224, 224], "max": [32, 3, 448, 640]}]
OF_ANY_SIZE = [{"name": "images", "dtype": "float32", "shape": ["N", 3, "H", "W"]}]


def described(folder: Path, options: dict, details: dict) -> Manifest:
    source, file = folder / "net.onnx", folder / "net.engine"
    source.write_bytes(b"graph")
    file.write_bytes(b"engine")
    return write_manifest(file, kind="engine", stage="build", inputs={"onnx": source}, options=options, details=details)


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def test_every_recorded_option_is_asked_for_again(tmp_path: Path) -> None:
    details = {"profiles": PROFILES, "inputs": OF_ANY_SIZE, "timing_cache": "kernel.times"}
    file = tmp_path / "net.engine"
    command = rebuild_command(file, described(tmp_path, ALL_OPTIONS, details))
    assert command.endswith("# on the GPU it will run on")
    assert words(command) == [
        *("resnet-deploy", "build", str(tmp_path / "net.onnx"), "--product", "tensorrt"),
        *("--profile", "1:8:32", "--size", "96x96:224x224:448x640", "--tf32", "--strip", "--version-compatible"),
        *("--workspace", "512", "--optimization-level", "5", "--hardware-compatible", "ampere-plus", "--dla", "0"),
        *("--timing-cache", str(tmp_path / "kernel.times"), "--pin-timing-cache"),
    ]


def test_each_flag_is_one_that_build_has(tmp_path: Path) -> None:
    details = {"profiles": PROFILES, "inputs": OF_ANY_SIZE, "timing_cache": "kernel.times"}
    command = rebuild_command(tmp_path / "other.engine", described(tmp_path, ALL_OPTIONS, details))
    build = typer.main.get_command(app).commands["build"]
    known = {flag for parameter in build.params for flag in parameter.opts}
    used = {word for word in words(command) if word.startswith("--")}
    assert len(used) == 13 and used <= known


@pytest.mark.parametrize(
    ("product", "sms", "expected"),
    [
        ("tensorrt-rtx", (89,), ["--product", "tensorrt-rtx", "--target", "sm89"]),
        ("tensorrt-rtx", (86, 120), ["--product", "tensorrt-rtx", "--target", "sm86,sm120"]),
        ("tensorrt-rtx", (90,), ["--product", "tensorrt"]),
        ("tensorrt-rtx", (), ["--product", "tensorrt-rtx", "--target", "sm80"]),
        ("tensorrt", (89,), ["--product", "tensorrt"]),
    ],
)
def test_the_product_is_the_one_that_builds_for_the_gpu(
    tmp_path: Path, product: str, sms: tuple[int, ...], expected: list[str]
) -> None:
    manifest = described(tmp_path, {"product": product, "targets": ["sm80"] if "rtx" in product else []}, {})
    command = rebuild_command(tmp_path / "net.engine", manifest, sms=sms)
    assert words(command)[3:] == expected
    assert ("on a machine with sm" in command) == (expected[1] == "tensorrt")


def test_tensorrt_rtx_is_not_asked_for_what_it_lacks(tmp_path: Path) -> None:
    options = {**ALL_OPTIONS, "product": "tensorrt-rtx", "strip": False}
    command = rebuild_command(tmp_path / "net.engine", described(tmp_path, options, {}), sms=(89,))
    assert words(command)[3:] == [*("--product", "tensorrt-rtx", "--target", "sm89", "--tf32", "--workspace", "512")]


def test_another_name_is_kept_and_a_lost_manifest_leaves_a_guess(tmp_path: Path) -> None:
    manifest = described(tmp_path, {}, {"profiles": "1:8:32", "inputs": 3})
    assert words(rebuild_command(tmp_path / "net.sm89.engine", manifest))[-2:] == [
        "--out",
        str(tmp_path / "net.sm89.engine"),
    ]
    guess = rebuild_command(tmp_path / "net.engine", None, sms=(89,))
    assert words(guess)[2:] == [str(tmp_path / "net.onnx"), "--product", "tensorrt-rtx", "--target", "sm89"]
    assert rebuild_command(tmp_path / "alone.engine", None) == ""


def test_the_command_of_a_real_engine_finds_it_up_to_date(save_onnx, rtx) -> None:
    batches = (BatchProfile(min=1, opt=2, max=4), BatchProfile(min=8, opt=8, max=8))
    options = BuildOptions(onnx=save_onnx("fp16"), targets=("sm86", "sm89"), batches=batches, tf32=True)
    file = build_engine(options).file
    command = rebuild_command(file, read_manifest(file))
    with typer.main.get_command(app).commands["build"].make_context("build", words(command)[2:]) as context:
        given = context.params
    assert given["profile"] == ["1:2:4,8:8:8"] and given["target"] == ["sm86,sm89"] and given["tf32"] is True
    assert Path(str(given["onnx"][0])) == Path(options.onnx)
