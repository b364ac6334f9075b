"""Worker processes for decoding, on the standard library's pool, with the endings it leaves out.

The workers are forked: they inherit the source and the task instead of being sent them, start in milliseconds,
and need no importable main module. They run Pillow and numpy only, never torch or CUDA, which do not survive a
fork. See docs/decisions/0008-decoding-processes.md.
"""

from __future__ import annotations

__all__ = ["map_in_processes", "num_processors"]

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from resnet_deploy.core.errors import WorkerError

_ORPHAN_CHECK_S = 1.0


def num_processors() -> int:
    """Processors this process may use (containers and `taskset` allow fewer than the machine has)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def map_in_processes(
    task: Callable[[Any], Any], items: Iterable[Any], *, num_workers: int = 0, ahead: int | None = None
) -> Generator[Any, None, None]:
    """`task(item)` for every item, in order, computed by worker processes a little ahead of the reader.

    Ctrl-C, an error and a reader that closes this generator all end the workers before it ends; workers whose
    parent was killed end by themselves within a second.

    Args:
        task: Runs in the workers; inherited by fork, so it may hold open files and shared memory.
        items: Drawn as they are needed; each is pickled to a worker.
        num_workers: 0 takes one a processor.
        ahead: Items handed out before the oldest result is asked for; None takes two a worker.
    Raises:
        WorkerError: A worker was killed or crashed.
        Exception: What `task` raised, as it raised it.
    """
    count = num_workers or num_processors()
    window = ahead if ahead is not None else 2 * count
    pool = ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_begin_worker,
        initargs=(task, os.getpid()),
    )
    waiting: deque = deque()
    try:
        for item in items:
            waiting.append(pool.submit(_run, item))
            if len(waiting) > window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a decoding process was killed or crashed before its work was done; the system kills processes "
            "when memory runs out",
            remedy="run again, with fewer workers if memory is short (`dmesg` says so)",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_task: Callable[[Any], Any] | None = None


def _begin_worker(task: Callable[[Any], Any], parent: int) -> None:
    global _task
    _task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not whatever handler the parent had at the fork
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """Siblings hold the queue's pipe open, so a killed parent would be waited for without end."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_S)
    os._exit(1)


def _run(item: Any) -> Any:
    assert _task is not None
    return _task(item)
