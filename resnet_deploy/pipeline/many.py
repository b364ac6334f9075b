"""The files of several networks, a few at a time in processes of their own."""

from __future__ import annotations

__all__ = ["for_each_network", "make_untrained"]

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TypeVar

from resnet_deploy.core.errors import Terminated, WorkerError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.nets.catalogue import NetSpec
from resnet_deploy.pipeline.artifacts import NetFiles, make_files
from resnet_deploy.pipeline.plan import BuildPlan

T = TypeVar("T")
_LAST_WISH_S = 5.0  # what an orphan has to remove its half-written file, while an engine builder may not listen


def make_untrained(
    specs: Sequence[NetSpec],
    *,
    folder: Path,
    build: BuildPlan | None = None,
    num_processes: int = 1,
    progress: Progress = NO_PROGRESS,
) -> list[NetFiles]:
    """All files of untrained networks, for latency; in the order of `specs`.

    Args:
        num_processes: Networks at a time; see `for_each_network`.
    Raises:
        ResnetDeployError: As the stages do; the other networks' finished files are kept.
        WorkerError: A worker was killed or crashed.
    """
    make = partial(make_files, folder=folder, build=build)
    return for_each_network(make, specs, title="files", num_processes=num_processes, progress=progress)


def for_each_network(
    work: Callable[..., T],
    specs: Sequence[NetSpec],
    *,
    title: str,
    num_processes: int = 1,
    progress: Progress = NO_PROGRESS,
) -> list[T]:
    """work(spec, progress=...) of every network, in the order of `specs`.

    Tracing and engine building use one processor each, so several networks at a time use several. An error and
    Ctrl-C (or what else raises in this process) end the workers first; workers whose parent was killed end alone.

    Args:
        work: What a process can be sent; its result too.
        title: What is made, for the progress line.
        num_processes: Networks at a time; with more than 1 the calling program must be importable (guarded by
            `if __name__ == "__main__"`), as `multiprocessing` asks.
    Raises:
        ResnetDeployError: As `work` does; what other networks have finished is kept.
        WorkerError: A worker was killed or crashed.
    """
    if num_processes == 1 or len(specs) < 2:
        return [work(spec, progress=progress) for spec in specs]
    progress.start(f"{title} of {', '.join(spec.name for spec in specs)}", len(specs))
    by_name = {}
    context = multiprocessing.get_context("spawn")
    # Largest first: the last one alone on its processor is then a short one.
    order = sorted(specs, key=lambda spec: spec.depth, reverse=True)
    with ProcessPoolExecutor(min(num_processes, len(specs)), mp_context=context, initializer=_obey_parent) as pool:
        try:
            futures = {pool.submit(_timed, work, spec): spec for spec in order}
            for future in as_completed(futures):
                result, seconds = future.result()
                by_name[futures[future].name] = result
                progress.advance(note=f"{futures[future].name} done")
                progress.log(f"{title} of {futures[future].name}: {seconds:.0f} s")
        except BrokenProcessPool as error:
            raise WorkerError(
                "a process that makes a network's files was killed or crashed; the system kills processes when memory "
                "runs out",
                remedy="run again: what is finished is kept; if memory is short, close other programs first",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
    return [by_name[spec.name] for spec in specs]


def _timed(work: Callable[..., T], spec: NetSpec) -> tuple[T, float]:
    begun = time.perf_counter()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return work(spec), time.perf_counter() - begun
    except Terminated:
        os._exit(1)  # half-written files are gone; the pool would take the exception for a result and go on
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _obey_parent() -> None:
    """Ctrl-C is the parent's to handle; its `terminate` ends a worker, and so does the parent's own end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _terminate(*_: object) -> None:
    raise Terminated


def _end_with_parent() -> None:
    """A parent that was killed can not tell; its end of the pipe that every spawned process has closes then."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_WISH_S)
    os._exit(1)
