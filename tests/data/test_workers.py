import faulthandler
import os
import signal
import subprocess
import sys
import time

import pytest

from resnet_deploy.core.errors import DataError, WorkerError
from resnet_deploy.data.workers import map_in_processes
from tests.data.conftest import children


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_results_come_in_order(num_workers):
    def task(item):
        time.sleep(0.002 * (item % 3))  # later items finish first
        return item * item

    assert list(map_in_processes(task, iter(range(40)), num_workers=num_workers)) == [i * i for i in range(40)]
    assert not children()


def test_items_are_drawn_no_further_ahead_than_said():
    drawn = []

    def items():
        for item in range(20):
            drawn.append(item)
            yield item

    results = map_in_processes(lambda item: item, items(), num_workers=2, ahead=3)
    assert next(results) == 0 and drawn == [0, 1, 2, 3]
    results.close()
    assert not children()


def test_no_item_starts_no_process():
    assert list(map_in_processes(lambda item: item, [], num_workers=2)) == []


def test_an_error_of_ours_arrives_whole_and_ends_the_workers():
    def task(item):
        if item == 3:
            raise DataError("image 3 is bad", remedy="replace it")
        return item

    with pytest.raises(DataError, match="image 3 is bad") as caught:
        list(map_in_processes(task, range(100), num_workers=2))
    assert caught.value.remedy == "replace it" and caught.value.message == "image 3 is bad"
    assert not children()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_killed_worker_gives_one_error_and_no_hang(how):
    def task(item):
        if item == 5:
            faulthandler.disable()  # pytest's would print a page about the planted fault
            os.kill(os.getpid(), how)
        time.sleep(0.01)
        return item

    started = time.monotonic()
    with pytest.raises(WorkerError, match="a decoding process was killed or crashed"):
        list(map_in_processes(task, range(1000), num_workers=2))
    assert time.monotonic() - started < 10  # 1,000 items would take 5 s; a hang takes for ever
    assert not children()


_SLOW = """
import os, time
from resnet_deploy.data.workers import map_in_processes

def task(item):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(0.2)
    return item

list(map_in_processes(task, range(1000), num_workers=2))
"""


def _start_slow():
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    workers = set()
    while len(workers) < 2:
        workers.add(int(process.stdout.readline()))
    return process, workers


def _all_gone(pids, within_s):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_of_a_killed_parent_end_by_themselves():
    process, workers = _start_slow()
    process.kill()
    process.wait()
    assert _all_gone(workers, within_s=8)  # they look once a second
    process.communicate()


def test_ctrl_c_leaves_no_process():
    process, workers = _start_slow()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the parent and to every worker
    assert process.wait(timeout=20) == -signal.SIGINT  # the parent saw KeyboardInterrupt
    assert _all_gone(workers, within_s=1)
    process.communicate()
