"""The real `torchrun`, with workers killed and Ctrl-C: how a job ends, what it says, and that it resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.jobs import write_digit_folder
from tests.train.test_resume import rows, same_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc to find a job's processes in"),
]

_STARTED: list[subprocess.Popen] = []


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    return write_digit_folder(tmp_path_factory.mktemp("digits"), train=64, val=31)


def start(
    out: Path, data: Path, *, restarts: int = 0, epochs: int = 10, recipe: str = "fast-digits"
) -> subprocess.Popen:
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "resnet_deploy", "train", "--net", "resnet8", "--data", data, "--recipe", recipe]
    length = ["--epochs", epochs, "--batch", 16, "--save-every", 3, "--threads", 1, "--out", out]
    command = [*runner, f"--max-restarts={restarts}", *program, *length]
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    )
    _STARTED.append(process)
    return process


def workers_of(process: subprocess.Popen) -> list[int]:
    """Process numbers of the job's workers, which began before their decoding processes."""
    return sorted(int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())


def wait_for_a_state(out: Path, process: subprocess.Popen) -> list[int]:
    state, end = out.with_name(f"{out.stem}.state.safetensors"), time.monotonic() + 240
    while not state.exists():
        assert process.poll() is None and time.monotonic() < end, "the job did not come to a state"
        time.sleep(0.02)
    return workers_of(process)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture(autouse=True)
def _no_job_is_left():
    """A test that fails must not leave processes behind; torchrun ends its workers when it is told to."""
    yield
    for process in _STARTED:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
    _STARTED.clear()


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    process = start(out, digits)
    assert "Traceback" not in process.communicate(timeout=300)[1]
    assert process.returncode == 0
    return out


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_ends_the_job_with_a_message_and_the_job_resumes(rank, whole, digits, tmp_path):
    out = tmp_path / "killed.safetensors"
    process = start(out, digits)
    pids = wait_for_a_state(out, process)
    os.kill(pids[rank], signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert said.count(f"process {1 - rank} of 2 can not go on") == 1, said
    assert "give the same command again" in said
    assert "Signal 9 (SIGKILL)" in said  # torchrun's own report
    assert all(is_gone(pid) for pid in pids)
    assert not list(tmp_path.glob(".*.part")) or rank == 0  # a process that is killed can not tidy up
    again = start(out, digits)
    said = again.communicate(timeout=300)[1]
    assert again.returncode == 0 and "resuming after step" in said
    assert same_weights(whole, out) and rows(whole) == rows(out)


def test_torchrun_restarts_a_killed_job_by_itself(whole, digits, tmp_path):
    out = tmp_path / "restarted.safetensors"
    process = start(out, digits, restarts=1)
    os.kill(wait_for_a_state(out, process)[1], signal.SIGKILL)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0 and "resuming after step" in said, said
    assert same_weights(whole, out) and rows(whole) == rows(out)


def test_ctrl_c_ends_all_processes_and_leaves_no_half_file(digits, tmp_path):
    out = tmp_path / "stopped.safetensors"
    process = start(out, digits, epochs=400)
    pids = wait_for_a_state(out, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert said.count("interrupted; finished files are kept") == 1, said
    assert all(is_gone(pid) for pid in pids)
    assert not out.exists() and not list(tmp_path.glob(".*.part"))


def test_wrong_images_are_told_once(tmp_path):
    process = start(tmp_path / "a.safetensors", tmp_path / "none")
    said = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    assert said.count("none: no such folder") == 1, said


def test_a_wrong_recipe_is_told_once(tmp_path, digits):
    process = start(tmp_path / "a.safetensors", digits, recipe="fastest")
    said = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    assert said.count("unknown recipe 'fastest'") == 1, said
