"""Every block of docs/guides/embed-in-cpp.md is compiled or run, in its order; its table of errors is the library's.

A block that begins with a comment naming a file is written to that file; shell blocks run in one shell, beside them, with
the SDK installed and moved; any other C++ block is compiled by itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cpp.conftest import REPOSITORY, not_here

PAGE = REPOSITORY / "docs" / "guides" / "embed-in-cpp.md"
INCLUDE = REPOSITORY / "cpp" / "include"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")
FILE_NAME = re.compile(r"(?://|#|/\*) ([\w/]+\.\w+)( \*/)?\n")

# As much of cv::Mat as the guide touches; its names and types are those of OpenCV 4.
OPENCV_STAND_IN = """
#pragma once
#include <cstddef>
#define CV_8UC1 0
#define CV_8UC3 16
#define CV_8UC4 24
namespace cv {
struct MatStep {
  operator std::size_t() const { return bytes; }
  std::size_t bytes;
};
struct Mat {
  int rows, cols;
  unsigned char* data;
  MatStep step;
  int type() const { return kind; }
  int kind;
};
}  // namespace cv
"""


@dataclass(frozen=True)
class Block:
    language: str
    line: int
    text: str

    @property
    def file(self) -> str | None:
        found = FILE_NAME.match(self.text)
        return found[1] if found else None


def blocks() -> list[Block]:
    page = PAGE.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [Block(match[1], page[: match.start()].count("\n") + 1, match[2]) for match in found]


LONE = [block for block in blocks() if block.language == "cpp" and block.file is None]


def test_every_block_has_a_way_to_be_checked():
    assert {block.language for block in blocks()} == {"cpp", "c", "cmake", "sh"}
    assert [block.line for block in blocks() if block.language in ("c", "cmake") and block.file is None] == []
    assert len(LONE) >= 8


def compile_alone(text: str, standard: str, folder: Path) -> subprocess.CompletedProcess:
    (folder / "opencv2").mkdir()
    (folder / "opencv2" / "core.hpp").write_text(OPENCV_STAND_IN)
    source = folder / "block.cpp"
    source.write_text(f"#include <resnet_deploy/engine.hpp>\n{text}")
    compiler = shutil.which("g++") or not_here("no g++")
    command = [compiler, f"-std={standard}", *WARNINGS, f"-I{INCLUDE}", f"-I{folder}", "-fsyntax-only", source]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("block", LONE, ids=lambda block: f"line {block.line}")
def test_a_block_compiles(block, tmp_path):
    done = compile_alone(block.text, "c++17", tmp_path)
    assert done.returncode == 0, done.stderr


def test_all_blocks_compile_as_one_newer_program(tmp_path):
    done = compile_alone("".join(block.text for block in LONE), "c++20", tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_block_that_is_wrong_does_not_compile(tmp_path):
    done = compile_alone("void f(resnet_deploy::Engine& e) { e.sesion(1); }", "c++17", tmp_path)
    assert done.returncode != 0
    assert "sesion" in done.stderr


@pytest.fixture(scope="module")
def reader(cpp_programs, bundle, photos, openvino_libraries, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A reader's folder with the bundle and a photograph, and a `resnet-deploy` whose SDK is built already."""
    folder = tmp_path_factory.mktemp("reader")
    prefix, programs = folder / "sdk", folder / "programs"
    subprocess.run(["cmake", "--install", cpp_programs.parent, "--prefix", prefix], check=True, capture_output=True)
    shutil.copytree(bundle, folder / "resnet50.bundle")
    shutil.copy(photos[0], folder / "photo.jpg")
    programs.mkdir()
    program = programs / "resnet-deploy"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in "cpp-path" | "cpp-path --build") echo "{prefix}" ;;\n'
        f'*) exec "{sys.executable}" -m resnet_deploy.cli.main "$@" ;; esac\n'
    )
    program.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return folder, {**openvino_libraries, "PATH": path, "PYTHONPATH": str(REPOSITORY)}


def test_the_files_and_commands_of_the_guide_work(reader):
    folder, environment = reader
    said = "set -euo pipefail\n"
    for block in blocks():
        if block.file is not None:
            (folder / block.file).parent.mkdir(exist_ok=True)
            (folder / block.file).write_text(block.text)
        elif block.language == "sh":
            said += f"echo 'BLOCK {block.line}'\n{block.text}"
    done = subprocess.run(
        ["bash", "-c", said], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = re.split(r"BLOCK \d+\n", done.stdout)[1:]
    cmake, pkg_config, _, c, deployed = outputs
    table = [line.split() for line in pkg_config.splitlines()]
    assert len(table) == 5
    assert all(0 < float(probability) <= 1 for probability, *_ in table)
    assert pkg_config.strip() in cmake and pkg_config.strip() in deployed
    assert c.split()[1:] == table[0][1:]  # the same label; C prints the class's number before it


def statuses_of_the_header() -> set[str]:
    text = (INCLUDE / "resnet_deploy" / "c_api.h").read_text()
    return set(re.findall(r"\bRD_\w+(?= = )", text.split("typedef enum rd_status {")[1].split("}")[0]))


def error_rows() -> dict[str, str]:
    """Status -> the typical message."""
    rows = re.findall(r"^\| `(RD_\w+)` \|[^|]*\|([^|]*)\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {status: "".join(re.findall("`(.*)`", message)) for status, message in rows}


def test_the_table_has_every_status():
    assert set(error_rows()) == statuses_of_the_header()


def cut(bundle: Path) -> None:
    with open(bundle / "model.onnx", "r+b") as file:
        file.truncate(1000)


def edited(change):
    def apply(bundle: Path) -> None:
        file = bundle / "bundle.json"
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))

    return apply


PLANTED = {
    "RD_DAMAGED": (cut, ()),
    "RD_BAD_MANIFEST": (edited(lambda document: document.update(schema="resnet-deploy/bundle/2")), ()),
    "RD_SELF_TEST_FAILED": (edited(lambda document: document["models"][0]["self_test"]["expected"].reverse()), ()),
    "RD_NO_BACKEND": (lambda bundle: None, ("--backends", "tensorrt_rtx")),
    "RD_NOT_FOUND": (lambda bundle: shutil.move(bundle, bundle.with_name("elsewhere")), ()),
    "RD_BAD_IMAGE": (lambda bundle: (bundle.parent / "late.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), ()),
}


@pytest.mark.parametrize("status", PLANTED)
def test_a_typical_message_is_what_the_library_says(cpp_programs, bundle, photos, tmp_path, status):
    if status == "RD_NO_BACKEND" and (cpp_programs.parent / "lib" / "libresnet_deploy_tensorrt_rtx.so").exists():
        pytest.skip("the tensorrt_rtx backend was built here")
    planted = tmp_path / "none.bundle"
    shutil.copytree(bundle, planted)
    shutil.copy(photos[0], tmp_path / "late.png")
    change, options = PLANTED[status]
    change(planted)
    command = [cpp_programs / "classify", *options, planted, tmp_path / "late.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    pieces = [re.escape(piece) for piece in error_rows()[status].split("...")]
    assert re.search(".*".join(pieces), done.stderr), done.stderr
    assert done.returncode == (3 if status == "RD_NO_BACKEND" else 4 if status == "RD_SELF_TEST_FAILED" else 2)
