"""The processes of one job: who I am, sums over all of us, and one voice for what went wrong.

PyTorch's own engine does the work (`torchrun`, DistributedDataParallel; gloo between CPUs, NCCL between GPUs).
"""

from __future__ import annotations

__all__ = ["SINGLE", "World", "agree_who_tells", "join_world"]

import gc
import hashlib
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from resnet_deploy.core.errors import ConfigError, ResnetDeployError, Terminated, TrainError

_TIMEOUT = timedelta(hours=1)  # the first process may decode a large set while the others wait
_VOICE_TIMEOUT = timedelta(seconds=10)
_GO_ON = "give the same command again: training resumes at the last state"


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Place of this process in the job.

    Attributes:
        rank: From 0; the first one writes the files.
        size: Number of processes.
        device: What this process computes on.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` images; every process has as many where `size` divides `count`."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def total(self, values: list[float]) -> list[float]:
        """Sums over all processes, in float64, the same on each."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def gather(self, value: Any) -> list[Any]:
        """`value` of every process, by rank, on each."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def wait_for_all(self) -> None:
        """Go on when every process is here."""
        self.total([0.0])

    def check_same(self, what: str, value: int) -> None:
        """Make sure that every process read the same from the disk.

        Raises:
            ConfigError: They differ, as on several machines that do not share the folder.
        """
        found = self.gather(value)
        if len(set(found)) > 1:
            raise ConfigError(
                f"the {self.size} processes disagree about {what}: {', '.join(map(str, found))}",
                remedy="let --out name a folder that all machines of the job share",
            )

    def copy_buffers_of_first(self, net: nn.Module) -> None:
        """BN statistics of the first process, which are the ones that are written, on every process."""
        if self.size > 1:
            for buffer in net.buffers():
                dist.broadcast(buffer, 0)


SINGLE = World(rank=0, size=1, device=torch.device("cpu"))


@contextmanager
def join_world(*, distributed: bool, attempt: int = 0) -> Iterator[World]:
    """Join the job that `torchrun` describes in the environment, or be a job of one.

    An error of ours leaves with `is_told` set where another process of the job has told it already.

    Args:
        attempt: How often the launcher has restarted the job.
    Raises:
        ConfigError: The environment describes no job, or one that this machine has too few GPUs for.
        TrainError: Another process of the job ended; the state on the disk is whole.
    """
    if not distributed:
        yield World(rank=0, size=1, device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        return
    store, rank, size = _meet(attempt)
    with _heard_sigterm():
        try:
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT)
            yield World(rank=rank, size=size, device=_device(rank))
        except ResnetDeployError as error:
            _ignore_sigterm()
            _mark(error, store)
            raise
        except (RuntimeError, Terminated) as error:
            if isinstance(error, RuntimeError) and not _is_lost_connection(error):
                raise
            _ignore_sigterm()
            lost = _lost(error, rank, size)
            _mark(lost, store)
            raise lost from error
        except KeyboardInterrupt:
            with suppress(RuntimeError):
                store.add("told", 1)  # who loses this one now needs no further explanation
            raise
        finally:
            _leave(sys.exc_info()[1])


def _leave(error: BaseException | None) -> None:
    """Take the group of processes down, after all that holds it.

    A DistributedDataParallel that outlives it (in a frame of `error`'s traceback, say) takes it down under Python's
    lock, and waits there for a thread of the group that wants the lock: seen once in 15 runs with gloo, PyTorch 2.13.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()


def agree_who_tells(error: ResnetDeployError, *, attempt: int = 0) -> None:
    """Set `error.is_told` where another process of the job, not joined yet, has told the same error."""
    _ignore_sigterm()
    try:
        _mark(error, _meet(attempt, timeout=_VOICE_TIMEOUT)[0])
    except ConfigError:
        return  # nobody to agree with: everyone tells


def _meet(attempt: int, *, timeout: timedelta = _TIMEOUT) -> tuple[Any, int, int]:
    """The store that all processes of the job share, my rank, and their number.

    With the c10d rendezvous (`--standalone`) the store outlives a restart of the job, and with it the addresses of
    the processes that are gone, for which gloo then waits; so each attempt has keys of its own.
    """
    if not dist.is_available():
        raise ConfigError("this PyTorch has no torch.distributed", remedy="train in one process, without torchrun")
    try:
        store, rank, size = next(iter(dist.rendezvous("env://", timeout=timeout)))
        return dist.PrefixStore(f"attempt_{attempt}", store), rank, size
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"can not join the job that RANK and WORLD_SIZE in the environment speak of: {_first_line(error)}",
            remedy="start with torchrun --nproc-per-node N -m resnet_deploy train ..., or unset RANK and WORLD_SIZE",
        ) from error


def _device(rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local, count = dist.get_node_local_rank(fallback_rank=rank), torch.cuda.device_count()
    if local >= count:
        raise ConfigError(
            f"process {local + 1} on this machine has no GPU of its own, there are {count}",
            remedy=f"start with --nproc-per-node {count}",
        )
    device = torch.device("cuda", local)
    torch.cuda.set_device(device)
    return device


@contextmanager
def _heard_sigterm() -> Iterator[None]:
    """`torchrun` ends the processes that are left with SIGTERM; unwinding, so that no half file stays."""

    def stop(*_: Any) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets the main thread alone handle signals
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, before)


def _ignore_sigterm() -> None:
    """From an error to the end: the message is still to be told, while torchrun already ends who is left."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _mark(error: ResnetDeployError, store: Any) -> None:
    """Let one process tell each error, and nobody that the others are lost where one has told why."""
    lost = isinstance(error, _LostOthersError)
    key = "lost" if lost else hashlib.sha256(error.message.encode()).hexdigest()
    try:
        others = store.add("told", 0 if lost else 1)
        error.is_told = store.add(f"told/{key}", 1) > 1 or (lost and others > 0)
    except RuntimeError:
        return  # the store went with torchrun: nobody else speaks


class _LostOthersError(TrainError):
    """The job ends, for a reason that this process does not know."""


def _lost(error: BaseException, rank: int, size: int) -> TrainError:
    if isinstance(error, Terminated):
        why = "SIGTERM: torchrun was stopped, or another process ended"
    else:
        why = f"lost the connection: another process ended ({_first_line(error)})"
    return _LostOthersError(
        f"process {rank} of {size} can not go on, {why}", remedy=f"see what else was told here, then {_GO_ON}"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _is_lost_connection(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(
        word in text for word in ("connection closed", "connection reset", "gloo", "broken pipe", "nccl", "socket")
    )
