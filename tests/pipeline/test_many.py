"""How the processes that make the files of several networks end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from resnet_deploy.core.errors import WorkerError

_WITHIN_S = 30.0  # for a start of two processes, or their end, on a machine that is busy

# `make_files` as far as this module goes: it says who it is, begins a file, and takes its time.
_PROGRAM = """
import os, sys, time
from pathlib import Path
import resnet_deploy.pipeline.many as many
from resnet_deploy.cli import main as program
from resnet_deploy.core.files import atomic_write
from resnet_deploy.nets.catalogue import find_net

def make_slowly(spec, *, folder, build, progress=None):
    with atomic_write(folder / spec.name) as partial:
        (folder / f"{spec.name}.pid").write_text(str(os.getpid()))
        time.sleep(120)

many.make_files = make_slowly

def work():
    specs = [find_net(name) for name in ("resnet8", "resnet14", "resnet20")]
    many.make_untrained(specs, folder=Path(sys.argv[1]), num_processes=2)

if __name__ == "__main__":
    program.app = lambda: sys.exit(program.error_exit(work))
    program.main()
"""


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(condition):
    end = time.monotonic() + _WITHIN_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def at_work(tmp_path):
    """The program with both its workers in the middle of a file: the process, and the workers' ids."""
    (tmp_path / "program.py").write_text(_PROGRAM)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", tmp_path], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert _until(lambda: len([p for p in tmp_path.glob("*.pid") if p.read_text()]) == 2), process.stderr.read()
    workers = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert all(_alive(pid) for pid in workers) and len(list(tmp_path.glob(".*.part"))) == 2
    yield process, workers
    process.kill()
    process.wait()
    for pid in filter(_alive, workers):
        os.kill(pid, signal.SIGKILL)
    process.stderr.close()


@pytest.mark.parametrize(
    ("how", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_what_ends_the_program_ends_its_workers_and_removes_their_half_files(at_work, tmp_path, how, code, word):
    process, workers = at_work
    process.send_signal(how)
    assert process.wait(timeout=_WITHIN_S) == code
    assert not any(_alive(pid) for pid in workers)
    assert not list(tmp_path.glob(".*.part"))
    assert len(list(tmp_path.glob("*.pid"))) == 2  # none went on to the third network
    said = process.stderr.read()
    assert f"error: {word}" in said and "Traceback" not in said


def test_workers_of_a_killed_parent_end_by_themselves_and_remove_their_half_files(at_work, tmp_path):
    process, workers = at_work
    process.kill()
    assert _until(lambda: not any(_alive(pid) for pid in workers))
    assert not list(tmp_path.glob(".*.part"))


def test_a_worker_that_is_killed_is_one_error_with_a_remedy(at_work):
    process, workers = at_work
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait(timeout=_WITHIN_S) == WorkerError.exit_code
    said = process.stderr.read()
    assert "was killed or crashed" in said and "remedy:" in said and "fault in resnet-deploy" not in said
    assert not any(_alive(pid) for pid in workers)
