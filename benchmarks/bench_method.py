"""Does `bench` measure what is there, and does it claim a difference only where there is one?

    python benchmarks/bench_method.py [--comparisons 100] [--planted 40] [--rounds 40] [--out docs/benchmarks/bench-method.json]

Needs a machine that does nothing else; takes about five minutes. Three parts:

1. The p50 of `bench` for ResNet-18 in ONNX Runtime against a bare loop written by hand (its own session, `session.run`,
   `perf_counter`), in turns. Asked: within 2 %.
2. ResNet-20 against itself, opened twice for every comparison: how many are called "no difference". Asked: 95 of 100.
   Then with 2, 5 and 10 % of extra work on one side: how many are found.
3. Valid rows while the machine does nothing else, and while other processes keep every processor busy.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

BARE_NET, PAIR_NET = "resnet18", "resnet20"
WITHIN_PERCENT, SAME_OF_100 = 2.0, 95
PLANTED = (0.02, 0.05, 0.10)
SHAPES = {BARE_NET: (1, 3, 224, 224), PAIR_NET: (1, 3, 32, 32)}


def onnx_file(net: str, folder: Path) -> Path:
    """An FP32 ONNX file of an untrained network."""
    from resnet_deploy.core.specs import Precision
    from resnet_deploy.nets.catalogue import find_net
    from resnet_deploy.pipeline.many import make_untrained

    (files,) = make_untrained([find_net(net)], folder=folder, num_processes=1)
    return files.onnx[Precision.FP32]


def bare_loop(file: Path, images: np.ndarray, *, threads: int) -> Callable[[float], list[float]]:
    """What anyone writes first: a session, a few passes to warm up, a list of times."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: images}

    def loop(seconds: float) -> list[float]:
        for _ in range(10):
            session.run(None, feeds)
        times, until = [], time.perf_counter() + seconds
        while time.perf_counter() < until:
            start = time.perf_counter()
            session.run(None, feeds)
            times.append(time.perf_counter() - start)
        return times

    return loop


def against_bare_loop(file: Path, *, rounds: int, threads: int, seconds: float) -> dict:
    """p50 of `bench` over that of the bare loop, one after the other in each round, the order turned round each time."""
    from resnet_deploy.bench.measure.paired import ratio_of_rounds
    from resnet_deploy.bench.measure.timing import Sampling, measure
    from resnet_deploy.engine.open import open_runner

    images = np.random.default_rng(0).standard_normal(SHAPES[BARE_NET], dtype=np.float32)
    bare = bare_loop(file, images, threads=threads)
    sampling = Sampling(min_seconds=seconds, max_seconds=4 * seconds)
    ours: list[float] = []
    theirs: list[float] = []
    with open_runner(file, backend="onnxruntime-cpu", num_threads=threads) as runner:
        feeds = {runner.info.inputs[0].name: images}
        sides = [
            lambda: ours.append(measure(runner, feeds, sampling=sampling).p50_ms),
            lambda: theirs.append(1e3 * statistics.median(bare(seconds))),
        ]
        for number in range(rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                side()
    ratio = ratio_of_rounds(np.log(ours) - np.log(theirs))
    return {
        "bench_p50_ms": statistics.median(ours),
        "bare_p50_ms": statistics.median(theirs),
        "ratio": {"mean": ratio.ratio, "low": ratio.low, "high": ratio.high, "confidence": ratio.confidence},
        "ratios": [own / bare_ms for own, bare_ms in zip(ours, theirs, strict=True)],
        "within": abs(ratio.ratio - 1) <= WITHIN_PERCENT / 100,
    }


def comparisons(file: Path, number: int, extra: float, *, threads: int, seconds: float) -> dict:
    """So many comparisons of a file with itself, each with both sides opened anew; `extra` work on the second one.

    With extra work, both sides make single passes and then wait in a loop: the first until 0 %, the second until
    `extra` of the pass's own time is over.
    """
    from resnet_deploy.bench.measure.interleave import compare_turns, take_turns
    from resnet_deploy.bench.measure.timing import Sampling
    from resnet_deploy.engine.open import open_runner

    sampling = Sampling(min_seconds=seconds, max_seconds=4 * seconds)
    images = np.random.default_rng(0).standard_normal(SHAPES[PAIR_NET], dtype=np.float32)
    found = []
    for seed in range(number):
        with ExitStack() as stack:
            runners = [
                stack.enter_context(open_runner(file, backend="onnxruntime-cpu", num_threads=threads)) for _ in "ab"
            ]
            feeds = {runners[0].info.inputs[0].name: images}
            if extra:
                loops = [slowed(runner, feeds, part) for runner, part in zip(runners, (0.0, extra), strict=True)]
            else:
                loops = [partial(runner.timed_loop, feeds) for runner in runners]
            found.append(compare_turns(*take_turns(loops, sampling=sampling, seed=seed)))
    return {
        "planted_percent": 100 * extra,
        "comparisons": number,
        "differences": sum(ratio.differs for ratio in found),
        "no_difference": sum(not ratio.differs for ratio in found),
        "interval_holds_the_truth": sum(ratio.low <= 1 + extra <= ratio.high for ratio in found),
        "ratio_median": statistics.median(ratio.ratio for ratio in found),
        "noise_floor_median": statistics.median(ratio.noise_floor for ratio in found),
        "half_width_median": statistics.median((ratio.high - ratio.low) / 2 for ratio in found),
    }


def slowed(runner, feeds: dict, part: float) -> Callable[[int], np.ndarray]:
    """Passes that take `part` longer, by a loop that does nothing."""

    def loop(passes: int) -> np.ndarray:
        seconds = np.empty(passes)
        for index in range(passes):
            own = float(runner.timed_loop(feeds, 1)[0])
            start = time.perf_counter()
            while time.perf_counter() - start < part * own:
                pass
            seconds[index] = own + (time.perf_counter() - start if part else 0.0)
        return seconds

    return loop


def validity(file: Path, folder: Path, *, rows: int, seconds: float) -> dict:
    """Rows of `bench` that are called valid, and why others are not."""
    from resnet_deploy.bench.measure.timing import Sampling
    from resnet_deploy.bench.options import BenchOptions, BenchTarget
    from resnet_deploy.bench.run import bench

    options = BenchOptions(
        targets=(BenchTarget(file=file, backend="onnxruntime-cpu"),),
        out=folder / "validity.json",
        batches=(1,),
        sampling=Sampling(min_seconds=seconds, max_seconds=4 * seconds),
        repeats=rows,
    )
    result = bench(options)
    reasons = sorted({reason for row in result.rows for reason in row.validity.reasons})
    return {
        "rows": rows,
        "valid": sum(row.validity.valid for row in result.rows),
        "p50_ms": statistics.median(row.timing.p50_ms for row in result.rows),
        "reasons": reasons,
        "run_reasons": list(result.validity.reasons),
    }


@contextmanager
def other_work():
    """A busy process for every processor."""
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=_burn, daemon=True) for _ in os.sched_getaffinity(0)]
    for process in busy:
        process.start()
    time.sleep(1.0)
    try:
        yield
    finally:
        for process in busy:
            process.terminate()
            process.join()


def _burn() -> None:
    while True:
        math.sqrt(2.0)


def rounded(value: object) -> object:
    """The same report with 4 significant digits; a timing has no more."""
    if isinstance(value, dict):
        return {key: rounded(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(of) for of in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(report: dict) -> None:
    """The figures, and what was asked for beside what came out."""
    bare, ratio = report["bare_loop"], report["bare_loop"]["ratio"]
    print(
        f"bench p50 {bare['bench_p50_ms']:.2f} ms, bare loop {bare['bare_p50_ms']:.2f} ms: ratio {ratio['mean']:.4f} "
        f"({ratio['low']:.4f} to {ratio['high']:.4f}); asked: within {WITHIN_PERCENT:g} %: "
        f"{'reached' if bare['within'] else 'not reached'}"
    )
    print("\n| planted, % | comparisons | called different | interval holds it | median ratio | noise floor |")
    print("|---|---|---|---|---|---|")
    for row in report["comparisons"]:
        print(
            f"| {row['planted_percent']:.0f} | {row['comparisons']} | {row['differences']} | "
            f"{row['interval_holds_the_truth']} | {row['ratio_median']:.4f} | {row['noise_floor_median']:.4f} |"
        )
    same = report["comparisons"][0]
    share = 100 * same["no_difference"] / same["comparisons"]
    print(
        f"\nA/A: {share:.0f} in 100 no difference; asked: {SAME_OF_100}: "
        f"{'reached' if share >= SAME_OF_100 else 'not reached'}"
    )
    for name, part in report["validity"].items():
        print(f"{name}: {part['valid']} of {part['rows']} rows valid, p50 {part['p50_ms']:.2f} ms")
        for reason in (*part["run_reasons"], *part["reasons"]):
            print(f"    {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=100, help="of a file with itself")
    parser.add_argument("--planted", type=int, default=40, help="comparisons of each planted difference")
    parser.add_argument("--rounds", type=int, default=40, help="of the bare loop, at least 5")
    parser.add_argument("--seconds", type=float, default=0.25, help="sampling time of one side of a comparison")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime; one leaves a processor to the system")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/bench-method.json"))
    options = parser.parse_args()
    if options.rounds < 5 or min(options.comparisons, options.planted, options.threads) < 1:
        parser.error("--rounds takes 5 or more, --comparisons, --planted and --threads 1 or more")

    from resnet_deploy.bench.machine.environment import capture_environment
    from resnet_deploy.core.config import to_plain

    begun, environment = time.perf_counter(), capture_environment()
    if environment.load_1min:
        print(f"load at the start: {environment.load_1min} (0 is an idle machine)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, small = (onnx_file(net, folder / net) for net in (BARE_NET, PAIR_NET))
        settings = {"threads": options.threads, "seconds": options.seconds}
        print("bare loop ...", file=sys.stderr)
        bare = against_bare_loop(
            large, rounds=options.rounds, threads=options.threads, seconds=max(0.5, options.seconds)
        )
        found = []
        for extra, number in ((0.0, options.comparisons), *((extra, options.planted) for extra in PLANTED)):
            print(f"{number} comparisons, {extra:.0%} planted ...", file=sys.stderr)
            found.append(comparisons(small, number, extra, **settings))
        print("validity ...", file=sys.stderr)
        quiet = validity(small, folder, rows=5, seconds=0.5)
        with other_work():
            loaded = validity(small, folder, rows=5, seconds=0.5)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "environment": to_plain(environment),
        "load_1min_after": capture_environment().load_1min,
        "bare_loop": bare,
        "comparisons": found,
        "validity": {"nothing else": quiet, "every processor busy": loaded},
        "seconds": time.perf_counter() - begun,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rounded(report), indent=1) + "\n", encoding="utf-8")
    show(report)


if __name__ == "__main__":
    main()
