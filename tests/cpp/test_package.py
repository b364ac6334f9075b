"""The library's surface, and its CMake and pkg-config packages as an application meets them."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from resnet_deploy import __version__
from tests.cpp.conftest import REPOSITORY, not_here

CPP = REPOSITORY / "cpp"
HEADERS = sorted((CPP / "include" / "resnet_deploy").iterdir())
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")
# What the core may be linked with: decoding, hashing, the languages' run times. Nothing of a GPU or of a runtime.
NEEDED = re.compile(
    r"(libjpeg|libpng16|libz|libcrypto|libstdc\+\+|libm|libgcc_s|libc|libdl|libpthread|ld-linux-x86-64)\.so.*"
)


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)


def succeed(*command: object, cwd: Path | None = None) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prefix(cpp_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that was moved after it was made."""
    made = tmp_path_factory.mktemp("made") / "first"
    succeed("cmake", "--install", cpp_build.parent, "--prefix", made)
    return Path(shutil.move(made, tmp_path_factory.mktemp("moved") / "a place"))


@pytest.fixture(scope="module")
def cmake() -> str:
    return shutil.which("cmake") or not_here("cmake is not on PATH")


def exported_symbols(library: Path) -> set[str]:
    return {line.split()[-1].split("@")[0] for line in succeed("nm", "-D", "--defined-only", library).splitlines()}


def declared_functions() -> set[str]:
    return set(
        re.findall(r"^RD_API [^;(]*?\b(rd_\w+)\(", (CPP / "include/resnet_deploy/c_api.h").read_text(), re.MULTILINE)
    )


def test_the_library_exports_the_c_abi_and_nothing_else(cpp_build):
    assert exported_symbols(cpp_build / "libresnet_deploy.so") == declared_functions()


def test_a_backend_exports_its_entry_and_nothing_else(cpp_build):
    modules = sorted(cpp_build.glob("libresnet_deploy_*.so"))
    assert modules
    for module in modules:
        assert exported_symbols(module) == {"rd_backend_entry"}, module.name


def test_the_core_is_linked_with_no_gpu_library(cpp_build):
    dynamic = succeed("readelf", "-d", cpp_build / "libresnet_deploy.so")
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert needed
    assert [name for name in needed if not NEEDED.fullmatch(name)] == []
    assert "not found" not in succeed("ldd", cpp_build / "libresnet_deploy.so")


def test_all_say_the_same_version(cpp_build):
    library = ctypes.CDLL(str(cpp_build / "libresnet_deploy.so"))
    library.rd_version.restype = ctypes.c_char_p
    said = re.search(r'^version = "(.*)"', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert library.rd_version().decode() == __version__ == said
    assert f"project(resnet_deploy VERSION {said} " in (CPP / "CMakeLists.txt").read_text()


@pytest.mark.parametrize("standard", ["c99", "c11", "c++17", "c++20"])
@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_a_header_compiles_alone(header, standard, tmp_path):
    language = "c++" if "++" in standard else "c"
    if header.suffix == ".hpp" and language == "c":
        return
    compiler = shutil.which("g++" if language == "c++" else "gcc") or not_here("no gcc and g++")
    source = tmp_path / "alone"
    source.write_text(f"#include <resnet_deploy/{header.name}>\n#include <resnet_deploy/{header.name}>\n")
    succeed(compiler, f"-std={standard}", *WARNINGS, f"-I{CPP / 'include'}", "-x", language, "-fsyntax-only", source)


def consumer_project(folder: Path, package: str) -> Path:
    """A project of two applications, in C and in C++, that finds the SDK by the line `package`."""
    folder.mkdir()
    for name in ("c_consumer.c", "classify.cpp", "example_main.hpp", "exit_code.h"):
        shutil.copy(CPP / "examples" / name, folder)
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(consumer C CXX)\n"
        f"{package}\n"
        "add_executable(c_consumer c_consumer.c)\nadd_executable(classify classify.cpp)\n"
        "foreach(app c_consumer classify)\n"
        "  target_link_libraries(${app} PRIVATE resnet_deploy::resnet_deploy)\nendforeach()\n"
        "target_compile_features(classify PRIVATE cxx_std_17)\n"
    )
    return folder


def test_find_package_in_a_moved_installation(cmake, prefix, tmp_path):
    project = consumer_project(tmp_path / "app", "find_package(resnet_deploy 0.1 REQUIRED)")
    succeed(cmake, "-S", project, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    succeed(cmake, "--build", tmp_path / "build", "--parallel", 2)
    for program in ("c_consumer", "classify"):
        assert "usage: " in succeed(tmp_path / "build" / program, "--help")


@pytest.mark.parametrize(
    "package, message",
    [
        ("find_package(resnet_deploy 0.1 REQUIRED COMPONENTS abacus)", "backend 'abacus' is not in"),
        ("find_package(resnet_deploy 0.2 REQUIRED)", 'compatible with requested version "0.2"'),
    ],
)
def test_find_package_refuses_what_is_not_there(cmake, prefix, tmp_path, package, message):
    project = consumer_project(tmp_path / "app", package)
    done = run(cmake, "-S", project, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())


def test_find_package_knows_the_backends(cmake, prefix, tmp_path):
    installed = sorted(path.stem.split("_deploy_")[1] for path in prefix.glob("lib*/resnet_deploy/*.so"))
    names = " ".join(installed)
    package = f"find_package(resnet_deploy REQUIRED COMPONENTS {names})\nmessage(STATUS [${{resnet_deploy_BACKENDS}}])"
    project = consumer_project(tmp_path / "app", package)
    said = succeed(cmake, "-S", project, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    assert f"[{';'.join(installed)}]" in said
    assert "fake" not in installed


def test_pkg_config_in_a_moved_installation(prefix, tmp_path):
    if not shutil.which("pkg-config"):
        not_here("pkg-config is not on PATH")
    folder = next(prefix.rglob("resnet_deploy.pc")).parent
    shown = succeed("env", f"PKG_CONFIG_PATH={folder}", "pkg-config", "--cflags", "--libs", "resnet_deploy")
    flags = [flag.replace("\\", "") for flag in re.split(r"(?<!\\) ", shown.strip())]
    library = next(flag[2:] for flag in flags if flag.startswith("-L"))
    program = tmp_path / "c_consumer"
    succeed(
        "gcc", "-std=c99", *WARNINGS, CPP / "examples" / "c_consumer.c", *flags, f"-Wl,-rpath,{library}", "-o", program
    )
    assert "usage: " in succeed(program, "--help")


def test_add_subdirectory_leaves_the_application_its_flags(cmake, tmp_path):
    project = consumer_project(tmp_path / "app", f'add_subdirectory("{CPP}" resnet_deploy)')
    build = tmp_path / "build"
    succeed(cmake, "-S", project, "-B", build, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DRD_WERROR=ON")
    commands = json.loads((build / "compile_commands.json").read_text())
    ours = [entry["command"] for entry in commands if entry["file"].startswith(str(CPP))]
    theirs = [entry["command"] for entry in commands if entry["file"].startswith(str(project))]
    assert ours and all("-Werror" in command and "-fvisibility=hidden" in command for command in ours)
    assert len(theirs) == 2
    assert not [command for command in theirs if "-W" in command or "visibility" in command or "-O" in command]
    cache = (build / "CMakeCache.txt").read_text()
    assert "CMAKE_BUILD_TYPE:STRING=\n" in cache  # the application's choice, which it did not make


@pytest.mark.slow
def test_add_subdirectory_builds(cmake, tmp_path):
    project = consumer_project(tmp_path / "app", f'add_subdirectory("{CPP}" resnet_deploy EXCLUDE_FROM_ALL)')
    succeed(cmake, "-S", project, "-B", tmp_path / "build")
    succeed(cmake, "--build", tmp_path / "build", "--parallel", 2, "--target", "classify")
    assert "usage: " in succeed(tmp_path / "build" / "classify", "--help")


@pytest.mark.parametrize(
    "package, debian",
    [
        ("JPEG", "libjpeg-dev"),
        ("PNG", "libpng-dev"),
        ("OpenSSL", "libssl-dev"),
        ("nlohmann_json", "nlohmann-json3-dev"),
    ],
)
def test_a_missing_library_is_named_with_its_package(cmake, tmp_path, package, debian):
    done = run(cmake, "-S", CPP, "-B", tmp_path, f"-DCMAKE_DISABLE_FIND_PACKAGE_{package}=ON")
    assert done.returncode != 0
    assert f"Debian {debian}, vcpkg " in done.stderr
    assert done.stderr.count("Debian") == 1
