"""Training runs in processes of their own, that can be killed as `kill -9` kills, without a new import of torch.

A fork server imports torch once and computes nothing; every run is forked from it.
"""

from __future__ import annotations

__all__ = ["Ended", "Kill", "run_job", "run_killed", "trained", "write_digit_folder"]

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_deploy.core.errors import ResnetDeployError

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["resnet_deploy.train.loop", "resnet_deploy.draw.error_curves", "torch._dynamo", "pytest", "tests.train.jobs"]
)  # an optimizer imports torch._dynamo, which takes longest
_LIMIT_S = 120  # for a job that hangs; a run here takes seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How one process of a job ended.

    Attributes:
        code: Exit code, negative for a signal.
        result: What the function returned, None where it did not.
        error: Type, message and whether another process told it, of an error of ours.
        lines: What the run logged.
    """

    code: int | None
    result: Any = None
    error: tuple[str, str, bool] | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """When a process kills itself with SIGKILL.

    Attributes:
        at: "step" (the `count`-th of this process is done), "write" (half of the `count`-th state is on the disk),
            "rename" (all of it, under its temporary name) or "look" (the `count`-th evaluation begins).
        rank: Which process of the job.
    """

    at: str
    count: int
    rank: int = 0


def run_job(target: Callable[..., Any], *arguments: Any, size: int = 1) -> list[Ended]:
    """Run `target(*arguments)` in `size` processes that can join one job; gives how each ended, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = [_CONTEXT.Pipe(duplex=False) for _ in range(size)]
    processes = [
        _CONTEXT.Process(target=_run, args=(pipe[1], rank, size, port, target, arguments), daemon=False)
        for rank, pipe in enumerate(pipes)
    ]
    for process, pipe in zip(processes, pipes, strict=True):
        process.start()
        pipe[1].close()
    found = []
    try:
        for process, (reader, _) in zip(processes, pipes, strict=True):
            process.join(_LIMIT_S)
            assert process.exitcode is not None, "the job hangs"
            try:
                told = reader.recv()
            except EOFError:  # killed before it could tell
                told = {}
            found.append(Ended(code=process.exitcode, **told))
    finally:
        for process in processes:
            process.kill()
    return found


def trained(options: Any, kill: Kill | None = None) -> tuple[Any, tuple[str, ...]]:
    """Train in this process, with its end built in; gives the result and what was logged."""
    from resnet_deploy.train.loop import train

    log = _Log(kill if kill is not None and kill.rank == int(os.environ["RANK"]) else None)
    return train(options, progress=log), tuple(log.lines)


def run_killed(options: Any, kills: list[Kill]) -> Ended:
    """Train, killed at each of `kills`, each time resumed; then to the end in one process."""
    for kill in kills:
        assert run_job(trained, options, kill)[0].code == -signal.SIGKILL, f"not killed: {kill}"
        assert not options.out.exists()
    return run_job(trained, options)[0]


def write_digit_folder(root: Path, *, train: int, val: int, size_px: int = 8) -> Path:
    """train/ and val/ with so many of the bundled digits as PNG files, `size_px` square."""
    from PIL import Image

    from resnet_deploy.data.source import open_images, stratified_sample

    for split, count in (("train", train), ("val", val)):
        source = stratified_sample(open_images("digits", split=split), count, seed=0)
        for index in range(len(source)):
            folder = root / split / source.classes[source.labels[index]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.image(index)).resize((size_px, size_px)).save(folder / f"{index:03d}.png")
    return root


class _Log:
    """Progress that remembers the lines, and kills its process at the wanted moment."""

    def __init__(self, kill: Kill | None) -> None:
        self.lines: list[str] = []
        self._kill, self._left, self._trains = kill, kill.count if kill else 0, False
        if kill is not None and kill.at != "step":
            self._plant(kill.at)

    def start(self, description: str, total: int | None) -> None:
        self._trains = False  # the steps that a resumed run starts with are told at once, and are not its own
        self._is_next = description.startswith("training")

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        if self._is_next:
            self._is_next, self._trains = False, True
        elif self._trains and self._kill is not None and self._kill.at == "step":
            self._count_down(steps)

    def log(self, message: str) -> None:
        self.lines.append(message)

    def _count_down(self, by: int = 1) -> None:
        self._left -= by
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def _plant(self, at: str) -> None:
        from resnet_deploy.train import trainer

        rename, look = os.replace, trainer.error_counts

        def kill_in_rename(source: Any, target: Any) -> None:
            if str(target).endswith(".state.safetensors"):
                if at == "write" and self._left == 1:
                    os.truncate(source, os.path.getsize(source) // 2)
                self._count_down()
            rename(source, target)

        def kill_in_look(*arguments: Any, **named: Any) -> Any:
            self._count_down()
            return look(*arguments, **named)

        if at == "look":
            trainer.error_counts = kill_in_look
        else:
            os.replace = kill_in_rename


def _run(pipe: Any, rank: int, size: int, port: int, target: Callable[..., Any], arguments: tuple) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    import faulthandler

    import torch

    faulthandler.dump_traceback_later(_LIMIT_S - 5)  # where it hangs, if it does
    torch.set_num_threads(1)
    told: dict[str, Any] = {}
    try:
        result = target(*arguments)
        if isinstance(result, tuple) and target is trained:
            told["result"], told["lines"] = result
        else:
            told["result"] = result
    except ResnetDeployError as error:
        told["error"] = (type(error).__name__, str(error), error.is_told)
    pipe.send(told)
