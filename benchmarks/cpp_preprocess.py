"""The C++ preprocessing against Pillow, image by image, on one core.

    python benchmarks/cpp_preprocess.py [--sdk build/cpp/lib/libresnet_deploy.so] [--rounds 20] [--out ...json]

Best on a machine that does nothing else; takes about two minutes. Two sizes, 500x375 and 4000x3000, ImageNet's crop. In turns,
the order turned round in each round:

1. Pixels to tensor: C++; our Python path (Pillow's resize, then numpy); Pillow's resize alone, which every Python
   pipeline pays.
2. JPEG bytes to tensor: C++ (libjpeg-turbo of the system) and our Python path (that of Pillow's wheel).

The bytes of all are compared first. Beside the times stand what no implementation of the contract gets under: reading
the pixels once at the speed of memory, and its multiplications at two vector instructions a cycle.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

SIZES = ((500, 375), (4000, 3000))
MADDS_A_CYCLE = 2  # vpmaddwd of 32 bytes: Zen 2 and later, Skylake and later


def picture(width: int, height: int) -> np.ndarray:
    """Smooth colours and a little noise, as a photograph compresses."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    colours = [128 + 100 * np.sin(x / 60 + y / (90 + 30 * channel)) for channel in range(3)]
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    return np.clip(np.stack(colours, axis=-1) + noise, 0, 255).astype(np.uint8)


def candidates(width: int, height: int, library) -> dict[str, Callable[[], object]]:
    """Name -> one call; those that give a tensor have been compared."""
    from resnet_deploy.data.decode import decode_image
    from resnet_deploy.data.preprocess import preprocess
    from resnet_deploy.nets.catalogue import IMAGENET_PREPROCESS as SPEC

    pixels = picture(width, height)
    whole, file = Image.fromarray(pixels), io.BytesIO()
    whole.save(file, "JPEG", quality=90)
    data = file.getvalue()
    short = min(width, height)
    resized = (width * SPEC.resize_shorter_px // short, height * SPEC.resize_shorter_px // short)
    calls = {
        "cpp": lambda: library.preprocess(pixels, SPEC),
        "python": lambda: preprocess(pixels, SPEC),
        "pillow_resize": lambda: whole.resize(resized, Image.Resampling.BILINEAR),
        "cpp_from_jpeg": lambda: library.preprocess_file(data, SPEC),
        "python_from_jpeg": lambda: preprocess(decode_image(data, name="picture"), SPEC),
    }
    for ours, theirs in (("cpp", "python"), ("cpp_from_jpeg", "python_from_jpeg")):
        if calls[ours]().tobytes() != calls[theirs]().tobytes():
            sys.exit(f"{width}x{height}: {ours} and {theirs} give other bytes")
    return calls


def take_turns(calls: dict[str, Callable[[], object]], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of processor time of each call, one median a round and candidate.

    Every call runs in this thread alone; what other processes do on the core meanwhile is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        order = list(calls.items())
        for name, call in order if number % 2 == 0 else order[::-1]:
            call()  # its data and code back into the caches
            own, until = [], time.perf_counter() + seconds
            while not own or time.perf_counter() < until:
                start = time.process_time()
                call()
                own.append(1e3 * (time.process_time() - start))
            times[name].append(statistics.median(own))
    return times


def bounds(width: int, height: int) -> dict:
    """What reading the pixels and multiplying them takes at least, for the rows and columns that the crop needs."""
    from resnet_deploy.data.resize import axis_weights
    from resnet_deploy.nets.catalogue import IMAGENET_PREPROCESS as SPEC

    short, groups = min(width, height), []
    needed_rows = height
    for length, crop in ((width, SPEC.width_px), (height, SPEC.height_px)):
        resized = length * SPEC.resize_shorter_px // short
        start = round((resized - crop) / 2)
        first, weights = axis_weights(length, resized, range(start, start + crop))
        groups.append(-(-weights.shape[1] // 4))
        needed_rows = min(length, int(first.max()) + weights.shape[1]) - int(first.min())
    horizontal = needed_rows * SPEC.width_px * groups[0] * 2  # one vector of each half of four taps
    vertical = SPEC.height_px * -(-3 * SPEC.width_px // 32) * groups[1] * 2 * 4 * 2
    pixels = picture(width, height)
    words, reads = pixels.reshape(-1)[: pixels.size // 8 * 8].view(np.uint64), []
    for _ in range(20):
        start_s = time.perf_counter()
        np.bitwise_or.reduce(words)
        reads.append(time.perf_counter() - start_s)
    bytes_read = 3 * needed_rows * width
    gib_s = words.nbytes / min(reads) / 2**30
    ghz = clock_ghz()
    return {
        "multiply_adds": horizontal + vertical,
        "arithmetic_ms": (horizontal + vertical) / MADDS_A_CYCLE / ghz / 1e6,
        "clock_ghz": ghz,
        "read_mib": bytes_read / 2**20,
        "read_gib_s": gib_s,
        "memory_ms": 1e3 * bytes_read / gib_s / 2**30,
    }


def clock_ghz() -> float:
    """As the system states it; a virtual machine states the nominal clock."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return statistics.median(float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")) / 1e3


def measured(width: int, height: int, library, *, rounds: int, seconds: float) -> dict:
    from resnet_deploy.bench.measure.paired import ratio_of_rounds

    times = take_turns(candidates(width, height, library), rounds=rounds, seconds=seconds)
    report: dict = {"size": f"{width}x{height}", "times_ms": {}, "ratios": {}, "bounds": bounds(width, height)}
    for name, own in times.items():
        quartiles = statistics.quantiles(own, n=4)
        report["times_ms"][name] = {
            "median": quartiles[1],
            "quartiles": [quartiles[0], quartiles[2]],
            "least": min(own),
        }
    for ours, theirs in (("cpp", "pillow_resize"), ("cpp", "python"), ("cpp_from_jpeg", "python_from_jpeg")):
        ratio = ratio_of_rounds(np.log(times[ours]) - np.log(times[theirs]))
        report["ratios"][f"{ours} / {theirs}"] = {"mean": ratio.ratio, "low": ratio.low, "high": ratio.high}
    return report


def rounded(value: object) -> object:
    """The same report with 4 significant digits; a timing has no more."""
    if isinstance(value, dict):
        return {key: rounded(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(of) for of in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(rows: list[dict]) -> None:
    for row in rows:
        print(f"\n{row['size']}")
        for name, own in row["times_ms"].items():
            print(f"  {name:18} {own['median']:9.3f} ms  ({own['quartiles'][0]:.3f} to {own['quartiles'][1]:.3f})")
        for name, own in row["ratios"].items():
            print(f"  {name}: {own['mean']:.3f} ({own['low']:.3f} to {own['high']:.3f})")
        bound = row["bounds"]
        print(f"  at least: memory {bound['memory_ms']:.3f} ms, arithmetic {bound['arithmetic_ms']:.3f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdk", type=Path, default=REPOSITORY / "build" / "cpp" / "lib" / "libresnet_deploy.so")
    parser.add_argument("--rounds", type=int, default=20, help="at least 5")
    parser.add_argument("--seconds", type=float, default=0.05, help="of one candidate in one round")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "benchmarks" / "cpp-preprocess.json")
    options = parser.parse_args()
    if options.rounds < 5:
        parser.error("--rounds takes 5 or more")
    if not options.sdk.exists():
        parser.error(f"no {options.sdk}; run: make cpp")
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})

    from resnet_deploy.bench.machine.environment import capture_environment
    from resnet_deploy.core.config import to_plain
    from tests.cpp.pixels_library import PixelsLibrary

    environment, library = capture_environment(), PixelsLibrary(options.sdk)
    rows = [measured(*size, library, rounds=options.rounds, seconds=options.seconds) for size in SIZES]
    report = {
        "command": "python benchmarks/cpp_preprocess.py",
        "environment": to_plain(environment),
        "pillow": Image.__version__,
        "load_1min_after": capture_environment().load_1min,
        "rounds": options.rounds,
        "sizes": rows,
    }
    options.out.write_text(json.dumps(rounded(report), indent=1) + "\n", encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()
