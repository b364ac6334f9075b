"""Damaged and hostile bundles, opened by the C++ library as an application does, with OpenVINO to run what is left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cpp.conftest import REPOSITORY, not_here
from tests.ship.bundles import sound_bundle
from tests.ship.mutations import Verdict, mutate

FEW, MANY = 164, 2000
REFUSALS = {"RD_BAD_MANIFEST", "RD_DAMAGED", "RD_NOT_FOUND", "RD_BAD_SIGNATURE", "RD_ENGINE_REFUSED", "RD_SELF_TEST_FAILED", "RD_BAD_IMAGE",
            "RD_UNSUPPORTED", "RD_NO_BACKEND"}  # fmt: skip
"""What a bundle may be refused with. RD_NO_BACKEND: an engine that is left as the only model, on a machine without its
runtime; RD_INTERNAL, RD_INVALID_ARGUMENT and the like would be faults of the library."""


def opened(program: Path, paths: list[Path], folder: Path) -> list[tuple[str, str]]:
    """Status and message of each bundle; a crash or a report of a sanitizer fails the test."""
    listed = folder / "bundles.txt"
    listed.write_text("".join(f"{path}\n" for path in paths))
    done = subprocess.run(
        [program, listed, "openvino"],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=3000,
        env=os.environ | {"TBB_ENABLE_SANITIZERS": "1"},  # else TBB opens a library as AddressSanitizer refuses it
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [str(path) for path in paths]
    return [(status, message) for _, status, message in rows]


def faults_of(program: Path, folder: Path, seeds: range) -> list[str]:
    """What went otherwise than it must, of one mutated bundle a seed; ends with a check that nothing was written."""
    sound = sound_bundle(folder)
    bundles = folder / "bundles"
    bundles.mkdir()
    paths = [bundles / f"{seed:05}.bundle" for seed in seeds]
    made = [mutate(sound, path, seed) for path, seed in zip(paths, seeds, strict=True)]
    before = listing(folder)
    found = opened(program, [*paths, sound], folder)
    assert listing(folder) == before | {folder / "bundles.txt"}, "the library wrote a file"
    assert found.pop()[0] == "RD_OK", "the sound bundle does not open, so that nothing is shown by the others"
    faults = []
    for path, mutation, (status, message) in zip(paths, made, found, strict=True):
        must_fail = mutation.verdict in (Verdict.REJECT, Verdict.REJECT_ON_RUN)
        if status not in REFUSALS | {"RD_OK"} or (status != "RD_OK" and not message):
            faults.append(f"{path.name} ({mutation.description}) ended with {status}: {message!r}")
        elif (must_fail and status == "RD_OK") or (mutation.verdict is Verdict.HARMLESS and status != "RD_OK"):
            faults.append(f"{path.name} ({mutation.description}, {mutation.verdict}): {status} {message}")
    return faults


def listing(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def program_of(build: Path) -> Path:
    """`open_many` of a build with the OpenVINO backend beside its library."""
    if not (build / "lib" / "libresnet_deploy_openvino.so").exists() or not (build / "bin" / "open_many").exists():
        not_here(f"{build} has no open_many with the openvino backend; run: make cpp cpp-sanitize")
    return build / "bin" / "open_many"


def test_mutated_bundles_are_refused_or_harmless(cpp_build, tmp_path):
    assert not faults_of(program_of(cpp_build.parent), tmp_path, range(FEW))


@pytest.mark.slow
def test_many_mutated_bundles_under_address_sanitizer(tmp_path):
    """`open_many` ends with another code than 0 at the first report of AddressSanitizer or UBSan."""
    build = Path(os.environ.get("RESNET_DEPLOY_CPP_ASAN_BUILD", REPOSITORY / "build" / "cpp-asan"))
    assert not faults_of(program_of(build), tmp_path, range(FEW, FEW + MANY))


def test_a_library_that_takes_everything_would_be_found(tmp_path):
    program = tmp_path / "takes_everything"
    program.write_text('#!/bin/sh\nwhile read -r path; do printf "%s\\tRD_OK\\t\\n" "$path"; done < "$1"\n')
    program.chmod(0o755)
    faults = faults_of(program, tmp_path, range(41))
    assert len(faults) > 30 and all("reject" in fault for fault in faults)


def test_a_library_that_ends_with_a_fault_of_its_own_would_be_found(tmp_path):
    program = tmp_path / "faulty"
    program.write_text(
        "#!/bin/sh\n"
        'while read -r path; do case "$path" in *small.bundle) status=RD_OK;; *) status=RD_INTERNAL;; esac\n'
        'printf "%s\\t%s\\tfault\\n" "$path" "$status"; done < "$1"\n'
    )
    program.chmod(0o755)
    assert len(faults_of(program, tmp_path, range(10))) == 10
