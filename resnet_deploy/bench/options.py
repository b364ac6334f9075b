"""What a benchmark is asked to time."""

from __future__ import annotations

__all__ = ["MODES", "BenchOptions", "BenchTarget", "Case"]

from dataclasses import dataclass, field
from pathlib import Path

from resnet_deploy.bench.measure.timing import Sampling
from resnet_deploy.core.errors import ConfigError

MODES = ("kernel", "application")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchTarget:
    """One file on one backend; backend None takes the file type's own."""

    file: Path
    backend: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is timed: passes ("kernel") of so many images in so many workers, or requests ("application")."""

    batch: int
    mode: str = "kernel"
    workers: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchOptions:
    """What to time.

    Attributes:
        batches: Images per pass; each target is timed at each.
        size_px: Height and width of the images, for files that take any size; None takes the size their manifest says.
        threads: Processor threads, each target is timed with each; 0 takes all.
        modes: Of MODES, each target is timed in each.
        workers: Forks of a runner that run at the same time, in kernel mode; each target is timed with each number.
        images: Folder of images for application mode; None makes JPEG files in memory.
        decode_threads: That decode ahead in application mode; 0 takes the number of processors.
        repeats: Times that everything is measured, each file opened anew: what differs between runs shows only so.
        interleave: Let the targets take turns, and give the ratio of each to the first.
        cuda_graphs: Replay the passes of engines as CUDA graphs.
        out: The benchmark's file (JSON).
    """

    targets: tuple[BenchTarget, ...]
    out: Path
    batches: tuple[int, ...] = (1, 8)
    sampling: Sampling = field(default_factory=Sampling)
    size_px: tuple[int, int] | None = None
    threads: tuple[int, ...] = (0,)
    modes: tuple[str, ...] = ("kernel",)
    workers: tuple[int, ...] = (1,)
    images: Path | None = None
    decode_threads: int = 0
    repeats: int = 1
    interleave: bool = False
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        problems = []
        if not self.targets:
            problems.append("no file to time was given")
        for name, values, least in (("batches", self.batches, 1), ("threads", self.threads, 0)):
            if not values or min(values) < least:
                problems.append(f"{name} are {list(values)}, expected one or more numbers from {least}")
        if not self.workers or min(self.workers) < 1:
            problems.append(f"workers are {list(self.workers)}, expected one or more numbers from 1")
        if self.size_px is not None and min(self.size_px) < 1:
            problems.append(f"size_px is {self.size_px}, expected two positive numbers")
        if not self.modes or set(self.modes) - set(MODES):
            problems.append(f"modes are {', '.join(self.modes) or 'none'}, expected some of {', '.join(MODES)}")
        if self.repeats < 1 or self.decode_threads < 0:
            problems.append(f"repeats {self.repeats}, decode_threads {self.decode_threads}: expected 1 and 0 or more")
        if "application" not in self.modes and (self.images is not None or self.decode_threads):
            problems.append("images and decode_threads are for application mode, which was not asked for")
        if "kernel" not in self.modes and self.workers != (1,):
            problems.append("workers are for kernel mode, which was not asked for")
        if self.interleave and (len(self.targets) < 2 or self.modes != ("kernel",) or self.workers != (1,)):
            problems.append("interleaving compares two or more files in kernel mode with one worker")
        if self.interleave and self.repeats > 1:
            problems.append("interleaving repeats by itself")
        if problems:
            raise ConfigError("; ".join(problems), remedy="see `resnet-deploy bench --help`")

    @property
    def cases(self) -> list[Case]:
        """What is timed of each target with one number of threads."""
        kernel = [Case(batch=batch, workers=workers) for batch in self.batches for workers in self.workers]
        requests = [Case(batch=batch, mode="application") for batch in self.batches]
        return [case for case in (*kernel, *requests) if case.mode in self.modes]
