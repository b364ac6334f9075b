"""Freed memory is used again without page faults; counted, not timed, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FAULTS = """
import ctypes, resource, sys
from resnet_deploy.train.allocator import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else True)
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
SIZE = 2**23  # as ResNet-20's activations at batch 128
def step():
    held = [ctypes.c_void_p(library.malloc(ctypes.c_size_t(SIZE))) for _ in range(16)]
    for place in held:
        ctypes.memset(place, 1, SIZE)
    for place in reversed(held):
        library.free(place)
for _ in range(4):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(mode: str) -> tuple[bool, int]:
    done = subprocess.run([sys.executable, "-c", _FAULTS, mode], capture_output=True, text=True, check=True)
    known, faults = done.stdout.split()
    return known == "True", int(faults)


def test_memory_freed_by_a_step_is_used_again():
    known, faults = _run("keep")
    if not known:
        pytest.skip("the C library is not glibc")
    # 4 steps of 16 x 8 MiB are 131,072 pages of 4 KiB, or 256 of 2 MiB where the system gives large ones
    assert faults < 50
    assert _run("leave")[1] > 150, "nothing was given back without it either: the test shows nothing"


def test_another_c_library_is_left_alone(monkeypatch):
    from resnet_deploy.train import allocator

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    assert allocator.keep_freed_memory() is False
