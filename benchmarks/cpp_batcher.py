"""The C++ library's batcher against sessions without one: eight clients that each want one image classified.

    cmake -S benchmarks/cpp -B BUILD -DOpenVINO_DIR=... && cmake --build BUILD -j
    python benchmarks/cpp_batcher.py --build BUILD [--bundle NET.bundle ...] [--rounds 3]

Two kinds of device. *Fake* is the library's test backend whose pass sleeps for 5 ms whatever the batch: a GPU on which a
batch of eight costs what one image does, with the processor free; the best case of batching. Each `--bundle` runs on
OpenVINO, on this machine's processor, where a batch costs nearly as many times an image as it holds; the worst case. Ways:

    own       each client has a session of its own (OpenVINO: one thread for each request)
    shared    one session, one request at a time (OpenVINO: all threads)
    batcher   one session behind the batcher, at most eight images, with different delays

Closed: a client asks again when it has its answer. Open: requests arrive at random at a given rate, and latency counts from
the planned arrival, so that a way that falls behind shows it. Rounds take turns over all cases; medians are given. Pixels
are prepared in the client's thread in every way.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.specs import OutputKind, Precision, Preprocess
from resnet_deploy.data.preprocess import crop_pixels
from resnet_deploy.ship.golden import golden_pixels
from resnet_deploy.ship.manifest import (
    BUNDLE_SCHEMA,
    BundleFile,
    BundleManifest,
    BundleModel,
    BundleNet,
    BundlePreprocess,
    BundleTensor,
    Golden,
    SelfTest,
)
from resnet_deploy.ship.manifest_file import manifest_bytes

CLIENTS = MAX_BATCH = 8
FAKE_PASS_US = 5000
FAKE_RATES = (100, 180, 800)  # requests a second: half of what one image at a time bears, just under it, four times it
SIDE, CLASSES = 32, 2
DELAYS_US = (0, 500, 2000, 5000)


def make_fake_bundle(folder: Path) -> Path:
    """A bundle of one "network" that the fake backend takes: its file says how long a pass takes."""
    spec = Preprocess(height_px=SIDE, width_px=SIDE, resize_shorter_px=SIDE + 4, mean=(0.5,) * 3, std=(0.25,) * 3)
    pixels = golden_pixels(61, 83)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png")
    content = {
        "model.onnx": f"fake:\ndelay_us={FAKE_PASS_US}\n".encode(),
        "golden.png": png.getvalue(),
        "LICENCES.txt": b"none\n",
    }
    model = BundleModel(
        path="model.onnx",
        format="onnx",
        product="",
        version="",
        precision=Precision.FP32,
        compute_capabilities=(),
        hardware_compatible=True,
        input=BundleTensor(name="images", dtype="float32", shape=(-1, 3, SIDE, SIDE)),
        output=BundleTensor(name="logits", dtype="float32", shape=(-1, CLASSES)),
        max_batch=0,
        self_test=SelfTest(expected=(0.0,) * CLASSES, max_abs_error=1.0, measured_on="nothing: it is skipped"),
    )
    crop = np.ascontiguousarray(crop_pixels(pixels, spec))
    manifest = BundleManifest(
        schema=BUNDLE_SCHEMA,
        name="fake",
        version="1",
        created="2026-01-01T00:00:00+00:00",
        made_by={"resnet-deploy": version("resnet-deploy")},
        net=BundleNet(name="fake", num_classes=CLASSES, output=OutputKind.LOGITS),
        preprocess=BundlePreprocess.of(spec),
        labels=None,
        golden=Golden(image="golden.png", pixels_sha256=sha256_of_bytes(crop.tobytes())),
        licences="LICENCES.txt",
        files=tuple(
            BundleFile(path=name, sha256=sha256_of_bytes(data), size_bytes=len(data)) for name, data in content.items()
        ),
        models=(model,),
    )
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    (folder / "bundle.json").write_bytes(manifest_bytes(manifest))
    return folder


def cases_of(fake: Path, bundles: list[Path], num_threads: int) -> list[dict]:
    """Every case: the bundle, the way, the rate (0: closed), the delay, and the threads of a session."""

    def case(device: str, bundle: Path, way: str, *, rate: int = 0, delay_us: int = 0, threads: int = 0) -> dict:
        return {
            "device": device,
            "bundle": str(bundle),
            "way": way,
            "rate": rate,
            "max_delay_us": delay_us,
            "threads": threads,
        }

    cases = [case("fake", fake, "shared")]
    cases += [case("fake", fake, "batcher", delay_us=delay) for delay in DELAYS_US]
    for rate in FAKE_RATES:
        cases.append(case("fake", fake, "shared", rate=rate))
        cases += [case("fake", fake, "batcher", rate=rate, delay_us=delay) for delay in (0, 2000)]
    for bundle in bundles:
        cases.append(case("openvino", bundle, "own", threads=1))
        cases.append(case("openvino", bundle, "shared", threads=num_threads))
        cases += [case("openvino", bundle, "batcher", delay_us=delay, threads=num_threads) for delay in (0, 2000)]
    return cases


def measure(program: Path, case: dict, seconds: float) -> dict:
    """One run of one case."""
    arguments = [
        case["bundle"],
        case["way"],
        CLIENTS,
        seconds,
        case["rate"],
        MAX_BATCH,
        case["max_delay_us"],
        case["threads"],
        case["device"],
    ]
    answer = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.exit(f"{program.name} {' '.join(map(str, arguments))}: {answer.stderr.strip()}")
    return json.loads(answer.stdout)


def summary_of(runs: list[dict]) -> dict:
    """Medians of the rounds, and of the throughput its extremes."""
    found = {
        key: round(statistics.median(run[key] for run in runs), 3)
        for key in ("requests_per_s", "p50_ms", "p90_ms", "p99_ms", "mean_batch")
    }
    rates = [run["requests_per_s"] for run in runs]
    return {**found, "requests_per_s_range": [min(rates), max(rates)], "runtime": runs[0]["runtime"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="where benchmarks/cpp was built")
    parser.add_argument("--bundle", type=Path, nargs="*", default=[], help="networks for OpenVINO")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each case in each round")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/cpp-batcher.json"))
    options = parser.parse_args()

    processors = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        cases = cases_of(make_fake_bundle(Path(name) / "fake.bundle"), options.bundle, processors)
        runs: list[list[dict]] = [[] for _ in cases]
        loads = []
        for _ in range(options.rounds):
            for case, found in zip(cases, runs, strict=True):
                found.append(measure(options.build / "batcher_load", case, options.seconds))
                loads.append(os.getloadavg()[0])
    rows = [
        {**case, "bundle": Path(case["bundle"]).name, **summary_of(found)}
        for case, found in zip(cases, runs, strict=True)
    ]
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {processors} processors",
        "load_average": [round(min(loads), 1), round(max(loads), 1)],
        "versions": {"resnet-deploy": version("resnet-deploy")},
        "command": f"python benchmarks/cpp_batcher.py --build BUILD --bundle {' '.join(p.name for p in options.bundle)} "
        f"--rounds {options.rounds} --seconds {options.seconds:g}",
        "clients": CLIENTS,
        "max_batch": MAX_BATCH,
        "fake_pass_us": FAKE_PASS_US,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    _show(rows)


def _show(rows: list[dict]) -> None:
    print(f"{'bundle':18}{'way':9}{'rate':>6}{'delay':>7}{'req/s':>9}{'p50':>8}{'p99':>8}{'batch':>7}")
    for row in rows:
        print(
            f"{row['bundle']:18}{row['way']:9}{row['rate'] or 'closed':>6}{row['max_delay_us']:>7}"
            f"{row['requests_per_s']:9.1f}{row['p50_ms']:8.2f}{row['p99_ms']:8.2f}{row['mean_batch']:7.2f}"
        )


if __name__ == "__main__":
    main()
