"""`cpp-path` with a stand-in for CMake, which writes what it was asked and fails where it is told to."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from resnet_deploy.core.errors import ConfigError, MissingDependencyError, ResnetDeployError
from resnet_deploy.ship.sdk_build import SdkBuildOptions, build_sdk, copy_sdk, installed_sdk
from resnet_deploy.ship.sdk_sources import sdk_sources, source_files, sources_sha256

REPOSITORY = Path(__file__).resolve().parents[2]
CPP = REPOSITORY / "cpp"

STAND_IN = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
  -S) step=configure ;; --build) step=build ;; --install) step=install ;;
esac
if [ "$step" = install ]; then
  mkdir -p "$4/lib/resnet_deploy" "$4/include"
  echo half > "$4/lib/libresnet_deploy.so.1"
  ln -sf libresnet_deploy.so.1 "$4/lib/libresnet_deploy.so"
fi
if [ "$step" = "$FAIL_AT" ]; then echo "$SAY"; exit 1; fi
if [ "$step" = install ]; then echo x > "$4/lib/resnet_deploy/libresnet_deploy_openvino.so"; fi
"""


class StandIn:
    """What the stand-in was called with, and how it shall fail."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._calls = folder / "calls"
        program = folder / "bin" / "cmake"
        program.parent.mkdir()
        program.write_text(STAND_IN)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        monkeypatch.setenv("CALLS", str(self._calls))
        self.fail_at("", "")

    def fail_at(self, step: str, said: str) -> None:
        self._monkeypatch.setenv("FAIL_AT", step)
        self._monkeypatch.setenv("SAY", said)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def cmake(tmp_path, monkeypatch) -> StandIn:
    return StandIn(tmp_path, monkeypatch)


def options(tmp_path: Path, **changes) -> SdkBuildOptions:
    return SdkBuildOptions(cache=tmp_path / "cache", **changes)


def test_it_configures_builds_and_installs_once(cmake, tmp_path):
    sdk = build_sdk(options(tmp_path, jobs=3, defines=("TENSORRT_ROOT=/usr",)))
    configure, build, install = cmake.calls
    assert f"-S {CPP} " in configure and "-DTENSORRT_ROOT=/usr" in configure
    assert build.endswith("--parallel 3")
    assert install.endswith(f"--prefix {sdk.prefix}.part")  # renamed when all is there
    assert sdk.backends == ("openvino",)
    assert (sdk.prefix / "lib" / "libresnet_deploy.so").is_symlink()
    assert installed_sdk(tmp_path / "cache") == sdk == build_sdk(options(tmp_path, defines=("TENSORRT_ROOT=/usr",)))
    assert len(cmake.calls) == 3
    build_sdk(options(tmp_path, defines=("TENSORRT_ROOT=/usr",), force=True))
    assert len(cmake.calls) == 6


def test_openvino_of_this_environment_is_found_unless_one_is_given(cmake, tmp_path):
    pytest.importorskip("openvino")
    build_sdk(options(tmp_path))
    build_sdk(options(tmp_path, defines=("OpenVINO_DIR:PATH=/usr",)))
    found, given = (call for call in cmake.calls if call.startswith("-S"))
    assert "/openvino/cmake" in found
    assert "-DOpenVINO_DIR:PATH=/usr" in given and "/openvino/cmake" not in given


@pytest.mark.parametrize("step", ["configure", "build", "install"])
def test_a_build_that_failed_is_never_given_and_goes_on(cmake, tmp_path, step):
    cmake.fail_at(step, "x.cpp:1: error: planted")
    with pytest.raises(ResnetDeployError, match="could not be built: x.cpp:1: error: planted") as failure:
        build_sdk(options(tmp_path))
    assert failure.value.exit_code == 4
    with pytest.raises(MissingDependencyError, match="has not been built"):
        installed_sdk(tmp_path / "cache")
    folders = list((tmp_path / "cache").glob("*/*.build"))
    assert len(folders) == 1  # kept, so that what was compiled is not compiled again
    cmake.fail_at("", "")
    assert build_sdk(options(tmp_path)).backends == ("openvino",)
    assert not list((tmp_path / "cache").glob("*/*.part"))


@pytest.mark.parametrize(
    "said, message",
    [
        ("resnet_deploy: libraries are missing:\n  libpng 1.6 (png.h): Debian libpng-dev, vcpkg x", "libpng 1.6"),
        ("No CMAKE_CXX_COMPILER could be found.", "no C and C[+][+] compiler"),
        ("CMake Error: Generator: CMAKE_MAKE_PROGRAM is not set", "neither ninja nor make"),
        ("CMake 3.18 or higher is required.  You are running version 3.10", "too old: CMake 3.18"),
    ],
)
def test_what_is_missing_is_exit_code_3_with_its_package(cmake, tmp_path, said, message):
    cmake.fail_at("configure", said)
    with pytest.raises(MissingDependencyError, match=message) as failure:
        build_sdk(options(tmp_path))
    assert failure.value.exit_code == 3
    assert "install" in failure.value.remedy


def test_without_cmake_the_remedy_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="cmake is not on PATH") as failure:
        build_sdk(options(tmp_path))
    assert "apt-get install cmake" in failure.value.remedy


def test_another_state_of_the_sources_is_another_prefix(tmp_path):
    shutil.copytree(CPP / "include", tmp_path / "include")
    before = sources_sha256(tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "new.cpp").write_text("")
    assert sources_sha256(tmp_path) == before
    header = tmp_path / "include" / "resnet_deploy" / "c_api.h"
    header.write_text(header.read_text() + "\n")
    assert sources_sha256(tmp_path) != before


def test_a_copy_is_whole_and_leaves_what_was_there(cmake, tmp_path):
    sdk = build_sdk(options(tmp_path))
    target = tmp_path / "local"
    (target / "lib").mkdir(parents=True)
    (target / "lib" / "other.so").write_text("stays")
    for _ in range(2):  # the second time over itself
        copied = copy_sdk(sdk, target)
    assert copied.prefix == target
    assert (target / "lib" / "other.so").read_text() == "stays"
    names = {path.relative_to(sdk.prefix) for path in sdk.prefix.rglob("*")}
    assert {path.relative_to(target) for path in target.rglob("*")} == names | {Path("lib/other.so")}


@pytest.mark.parametrize(
    "changes, value", [({"jobs": 0}, "jobs is 0"), ({"defines": ("-DX=1",)}, "'-DX=1'"), ({"defines": ("X",)}, "'X'")]
)
def test_bad_options_are_refused(tmp_path, changes, value):
    with pytest.raises(ConfigError, match=value):
        options(tmp_path, **changes)


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    program = [sys.executable, "-m", "resnet_deploy.cli.main", "cpp-path", *arguments]
    environment = {**os.environ, "NO_COLOR": "1", **variables}
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=False)


def test_the_command_prints_one_path_or_nothing(cmake, tmp_path):
    home = {"XDG_CACHE_HOME": str(tmp_path / ("long" * 60))}
    before = command(**home)
    assert (before.returncode, before.stdout) == (3, "")
    assert "remedy: resnet-deploy cpp-path --build" in before.stderr
    built = command("--build", "-j", "2", **home)
    assert built.returncode == 0, built.stderr
    assert built.stdout.count("\n") == 1 and (Path(built.stdout.strip()) / "lib" / "libresnet_deploy.so").exists()
    assert command(**home).stdout == built.stdout
    document = json.loads(command("--json", **home).stdout)
    assert (document["prefix"], document["backends"]) == (built.stdout.strip(), ["openvino"])
    other = command("--build", "--prefix", str(tmp_path / "other"), **home)
    assert other.stdout.strip() == str(tmp_path / "other")


def test_the_command_gives_its_sources():
    done = command("--sources")
    assert (Path(done.stdout.strip()) / "CMakeLists.txt").is_file()


@pytest.mark.parametrize("arguments", [("--jobs", "2"), ("--sources", "--build"), ("--build", "-D", "X")])
def test_wrong_usage_is_exit_code_2(arguments):
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "remedy: " in done.stderr


def test_a_wheel_carries_the_sources(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tree)
    shutil.copytree(CPP, tree / "cpp")
    shutil.copytree(REPOSITORY / "resnet_deploy", tree / "resnet_deploy", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path / "dist", tree]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    shipped = tmp_path / "site" / "resnet_deploy" / "cpp_sdk"
    assert source_files(shipped) == source_files(CPP)
    assert sources_sha256(shipped) == sources_sha256(CPP)
    assert not (shipped / "tests").exists()
    code = "from resnet_deploy.ship.sdk_sources import sdk_sources; print(sdk_sources())"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", check=True, capture_output=True, text=True
    ).stdout
    assert said.strip() == str(shipped)


def test_a_checkout_gives_its_own_sources():
    assert sdk_sources() == CPP


def test_a_runtime_that_is_not_where_it_was_said_is_told(tmp_path, cmake):
    with pytest.raises(ConfigError, match=r"TENSORRT_ROOT is .*nowhere: no such folder, so the backend tensorrt would"):
        SdkBuildOptions(cache=tmp_path, defines=(f"TENSORRT_ROOT={tmp_path / 'nowhere'}",))
    (tmp_path / "empty").mkdir()
    sdk = build_sdk(SdkBuildOptions(cache=tmp_path / "cache", defines=(f"TENSORRT_ROOT:PATH={tmp_path / 'empty'}",)))
    assert sdk.left_out == ("tensorrt",)  # openvino was built by the stand-in
