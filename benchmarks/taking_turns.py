"""Endless loops, each in a process of its own, that run a few steps in turn while the others stand still.

A candidate keeps what it has built (compiled code, worker processes, caches), and a machine that drifts meets all
candidates alike.
"""

from __future__ import annotations

__all__ = ["Candidate", "Turns"]

import itertools
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

SETTLE_S = 0.5  # between two turns: loader workers fill their queues, and idle threads stop spinning


class _Over(BaseException):
    """Ends a candidate's loop; no Exception, so that nothing in between takes it for a failure."""


class Turns:
    """The candidate's side: counts its steps, and holds it where its turn ends.

    Args:
        lead_in: Steps at the beginning of each turn that are not timed, at least 1: they use up what was prepared
            while the candidate stood still, and fetch its data back into the caches.
        steps: Steps of a turn that are timed.
    """

    def __init__(self, pipe: Connection, *, lead_in: int, steps: int) -> None:
        self._pipe, self._lead_in, self._steps = pipe, lead_in, steps
        self._marks: list[float] = []

    def step_done(self) -> None:
        """Called by the candidate after each of its steps; returns when the next one may begin."""
        self._marks.append(time.perf_counter())
        if len(self._marks) < self._lead_in + self._steps:
            return
        timed = itertools.pairwise(self._marks[-self._steps - 1 :])
        self.wait([1000 * (after - before) for before, after in timed])
        self._marks = []

    def wait(self, times_ms: list[float]) -> None:
        """Hand over the turn's times, and wait for the next turn or the end."""
        try:
            self._pipe.send(times_ms)
            go_on = self._pipe.recv()
        except (EOFError, BrokenPipeError) as error:  # the other side was interrupted
            raise _Over from error
        if not go_on:
            raise _Over


class Candidate:
    """The other side: one process that runs `loop(step_done=..., **arguments)`. The first turn is over when it is made.

    Args:
        loop: A function of a module (it is sent to another process) that calls `step_done` after every step.
    """

    def __init__(self, name: str, loop: Callable, arguments: dict, *, lead_in: int, steps: int) -> None:
        context = multiprocessing.get_context("spawn")  # each with its own threads, allocator and imports
        self._pipe, theirs = context.Pipe()
        self.name = name
        self._process = context.Process(target=_run, args=(loop, arguments, theirs, lead_in, steps))
        self._process.start()
        theirs.close()
        try:
            self._take()
        except BaseException:  # also Ctrl-C while the others wait for this one
            self.close()
            raise

    def close(self) -> None:
        """End the process: by itself at the end of its turn, by force where that takes too long."""
        self._pipe.close()
        self._process.join(20)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def turn(self) -> list[float]:
        """Milliseconds of each step of one turn."""
        time.sleep(SETTLE_S)
        self._pipe.send(True)
        return self._take()

    def _take(self) -> list[float]:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            sys.exit(f"{self.name} ended with exit code {self._process.exitcode}; its own message is above")


def _run(loop: Callable, arguments: dict, pipe: Connection, lead_in: int, steps: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side ends us by closing the pipe
    turns = Turns(pipe, lead_in=lead_in, steps=steps)
    try:
        loop(step_done=turns.step_done, **arguments)
    except _Over:
        pass
