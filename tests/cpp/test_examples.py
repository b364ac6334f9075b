"""The example programs, run on a real bundle by OpenVINO; what they answer is held against ONNX Runtime from Python."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.data.decode import decode_image
from tests.cpp.conftest import expected_best

PROGRAMS = ("classify", "c_consumer", "watch_folder", "raw_frames")
# Two runtimes round differently: about 20 layers of float32, logits of magnitude 10, and probabilities are printed with
# four digits after the point.
PROBABILITY_LIMIT = 1e-4


def run(*command: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, check=False, timeout=120, **options)


def lines(done: subprocess.CompletedProcess) -> list[list[str]]:
    assert done.returncode == 0, done.stderr.decode()
    return [line.split("\t") for line in done.stdout.decode().splitlines()]


def best_of(bundle: Path, file: Path) -> tuple[int, float]:
    return expected_best(bundle, decode_image(file.read_bytes(), name=file.name))


def test_classify_answers_as_python_does(cpp_programs, bundle, photos):
    done = run(cpp_programs / "classify", "--json", "-k", 3, "--batch", 2, bundle, *photos)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["net"], said["backend"]) == ("resnet20", "openvino")
    for file, image in zip(photos, said["images"], strict=True):
        index, probability = best_of(bundle, file)
        assert image["file"] == str(file)
        assert [len(image["classes"]), image["classes"][0]["index"]] == [3, index]
        assert image["classes"][0]["probability"] == pytest.approx(probability, abs=PROBABILITY_LIMIT)
        shown = [best["probability"] for best in image["classes"]]
        assert shown == sorted(shown, reverse=True)


def test_classify_and_the_c_consumer_print_the_same_table(cpp_programs, bundle, photos):
    first, second = (run(cpp_programs / name, bundle, *photos) for name in ("classify", "c_consumer"))
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout
    assert first.stdout.count(b"%") == 15


def test_a_file_that_is_no_image_does_not_hold_up_the_others(cpp_programs, bundle, photos, tmp_path):
    bad = tmp_path / 'a "quoted" name.jpg'
    bad.write_bytes(photos[0].read_bytes()[:200])
    for program in ("classify", "c_consumer"):
        done = run(cpp_programs / program, bundle, photos[0], bad, photos[2])
        assert done.returncode == 2
        assert done.stdout.decode().count("%") == 10
        assert str(bad).encode() in done.stderr
    said = json.loads(run(cpp_programs / "classify", "--json", bundle, bad).stdout)
    assert said["images"][0]["file"] == str(bad)
    assert "cut off" in said["images"][0]["error"]


@pytest.mark.parametrize("channels, name", [(3, "rgb"), (3, "bgr"), (1, "gray"), (4, "rgba"), (4, "bgra")])
def test_raw_frames_from_a_pipe(cpp_programs, bundle, channels, name):
    frames = np.random.default_rng(channels).integers(0, 256, (5, 40, 56, channels), np.uint8)
    frames[:, :20] //= 4  # frames of pure noise all look alike
    done = run(cpp_programs / "raw_frames", "--size", "56x40", "--format", name, "--every", 2, bundle,
               input=frames.tobytes())  # fmt: skip
    shown = lines(done)
    assert [int(line[0]) for line in shown] == [0, 2, 4]
    for number, probability, index, _ in shown:
        frame = np.repeat(frames[int(number)], 3, axis=2) if channels == 1 else frames[int(number)][..., :3]
        rgb = frame[..., ::-1] if name.startswith("bgr") else frame
        expected, expected_probability = expected_best(bundle, np.ascontiguousarray(rgb))
        assert int(index) == expected
        assert float(probability) == pytest.approx(expected_probability, abs=PROBABILITY_LIMIT)
    assert b"3 frames in" in done.stderr


def test_raw_frames_of_another_size_are_told(cpp_programs, bundle, tmp_path):
    file = tmp_path / "frames.rgb"
    file.write_bytes(bytes(56 * 40 * 3 + 1))
    done = run(cpp_programs / "raw_frames", "--size", "56x40", bundle, file)
    assert done.returncode == 2
    assert b"cut off: 1 bytes of 6720" in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_watch_folder_takes_what_is_there(cpp_programs, bundle, photos, tmp_path):
    for file in photos:
        shutil.copy(file, tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    shutil.copy(photos[0], tmp_path / ".hidden.jpg")
    (tmp_path / "folder.jpg").mkdir()
    done = run(cpp_programs / "watch_folder", "--once", "--poll-ms", 20, "--max-delay-ms", 200, bundle, tmp_path)
    shown = {Path(line[0]).name: (float(line[1]), int(line[2])) for line in lines(done)}
    assert set(shown) == {file.name for file in photos}
    for file in photos:
        index, probability = best_of(bundle, file)
        assert shown[file.name] == (pytest.approx(probability, abs=PROBABILITY_LIMIT), index)
    assert b"3 images in " in done.stderr


class Watcher:
    """watch_folder, running."""

    def __init__(self, program: Path, bundle: Path, folder: Path) -> None:
        self.process = subprocess.Popen(
            [program, "--poll-ms", "50", bundle, folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert b"watching" in self.process.stderr.readline()
        os.set_blocking(self.process.stdout.fileno(), False)

    def line(self, patience_s: float = 60.0) -> bytes:
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            line = self.process.stdout.readline()
            if line:
                return line
            time.sleep(0.02)
        return b""

    def end(self, number: signal.Signals) -> tuple[int, bytes]:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_folder_waits_for_whole_files_and_ends_on_a_signal(cpp_programs, bundle, photos, tmp_path, number):
    watcher = Watcher(cpp_programs / "watch_folder", bundle, tmp_path)
    try:
        whole = photos[2].read_bytes()
        with open(tmp_path / "slow.png", "wb") as file:
            for begin in range(0, len(whole), len(whole) // 20 + 1):  # grows between any two looks
                file.write(whole[begin : begin + len(whole) // 20 + 1])
                file.flush()
                time.sleep(0.02)
        assert watcher.line().startswith(str(tmp_path / "slow.png").encode())
        # One that rests half-written is reported, and taken when it is whole after all.
        (tmp_path / "late.png").write_bytes(whole[: len(whole) // 2])
        assert b"late.png: image can not be decoded: it is cut off" in watcher.process.stderr.readline()
        (tmp_path / "late.png").write_bytes(whole)
        assert watcher.line().startswith(str(tmp_path / "late.png").encode())
    finally:
        code, said = watcher.end(number)
    assert code == 0
    assert b"2 images in 2 batches" in said


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_and_wrong_usage(cpp_programs, program):
    shown = run(cpp_programs / program, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"usage: {program} ".encode()) and b"Exit codes: " in shown.stdout
    nothing = run(cpp_programs / program)
    assert (nothing.returncode, nothing.stdout) == (2, b"")
    assert f"usage: {program} ".encode() in nothing.stderr
    assert nothing.stderr.count(b"\n") <= 3  # a message, not a manual


@pytest.mark.parametrize(
    "program, arguments, message",
    [
        ("classify", ("--batch", "0", "x", "y"), '--batch is "0", a number from 1 to 1024'),
        ("classify", ("--batch", "99999999999", "x", "y"), '--batch is "99999999999"'),
        ("classify", ("--colour", "x", "y"), "unknown option --colour"),
        ("classify", ("x", "y", "-k"), "-k needs a value"),
        ("raw_frames", ("--size", "64", "x"), '--size is "64", WxH'),
        (
            "raw_frames",
            ("--size", "64x48", "--format", "yuv", "x"),
            '--format is "yuv", one of rgb, bgr, gray, rgba, bgra',
        ),
        ("raw_frames", ("x",), "--size is missing, WxH such as 1280x720"),
        ("raw_frames", ("--size", "64x48", "x", "nowhere.rgb"), "nowhere.rgb: No such file or directory"),
        ("watch_folder", ("x", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_wrong_arguments_are_named(cpp_programs, program, arguments, message):
    done = run(cpp_programs / program, *arguments)
    assert done.returncode == 2
    assert message in done.stderr.decode()


@pytest.mark.parametrize("program", ["classify", "c_consumer"])
def test_a_bundle_that_is_not_there_is_exit_code_2(cpp_programs, program, tmp_path):
    done = run(cpp_programs / program, tmp_path / "none.bundle", "a.jpg")
    assert done.returncode == 2
    assert b"none.bundle" in done.stderr and b"RD_NOT_FOUND" in done.stderr


def test_a_backend_that_is_not_there_is_exit_code_3(cpp_programs, bundle, photos):
    done = run(cpp_programs / "classify", "--backends", "abacus", bundle, photos[0])
    assert done.returncode == 3
    assert b"RD_NO_BACKEND" in done.stderr


@pytest.mark.parametrize(
    "file, message", [("/dev/null", "there is no frame"), (".", "can not be read: Is a directory")]
)
def test_frames_that_do_not_come_are_an_error(cpp_programs, bundle, file, message):
    done = run(cpp_programs / "raw_frames", "--size", "8x8", bundle, file)
    assert done.returncode == 2
    assert message in done.stderr.decode()


def test_a_frame_larger_than_the_memory_is_said(cpp_programs, bundle):
    done = run(cpp_programs / "raw_frames", "--size", "99999x99999", bundle, "/dev/null", preexec_fn=_little_memory)
    assert (done.returncode, done.stderr) == (4, b"error: out of memory; use smaller images, fewer at once\n")


def _little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))


@pytest.mark.parametrize("program", ["classify", "c_consumer"])
def test_answers_that_do_not_fit_on_the_disk_are_an_error(cpp_programs, bundle, photos, program):
    command = [cpp_programs / program, bundle, photos[0]]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=120)
    assert done.returncode == 4
    assert b"could not be written to the standard output" in done.stderr
