"""Calibration of ResNet-50: ours, ONNX Runtime's `quantize_static` and NVIDIA ModelOpt, in one run on one machine.

    make peers
    python benchmarks/calibration.py --images FOLDER [--num-images 64,512] [--rounds 3] [--out docs/benchmarks/calibration.json]

Each candidate runs in a process of its own, in turn (A B C A B C ...), so that a drifting machine meets all of them
and peak memory is each one's own. The bound is the forward passes alone. Latency only: weights are untrained.

FOLDER is a flat folder of photographs. Where it has fewer than the images asked for, random crops of them make up the
number before anything is timed; the report says how many different images each of our runs counted.

ModelOpt gets preprocessed arrays (its own environment has none of our code), so decoding is charged to all but it.
ONNX Runtime's Entropy and Percentile keep every activation of every image, 7 GB at 64 images: they run up to
`--most-for-onnxruntime` images only, and are reported as not run beyond.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BATCH = 8
PEERS = Path(".venv-peers/bin/python")
KEEPS_ACTIVATIONS = ("ONNX Runtime Entropy", "ONNX Runtime Percentile")


def _inputs(folder: str, num_images: int):
    """Batches of preprocessed images."""
    from resnet_deploy.data.batches import input_batches
    from resnet_deploy.data.source import open_images, stratified_sample
    from resnet_deploy.nets.catalogue import find_net

    images = stratified_sample(open_images(folder, split="train"), num_images, seed=0)
    return input_batches(images, find_net("resnet50").preprocess, batch_size=BATCH)


def forward_alone(onnx: Path, folder: str, num_images: int, work: Path) -> dict:
    """Decode, preprocess and run, in batches of 8: what no calibration can do without."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    for batch in _inputs(folder, num_images):
        session.run(None, {"images": batch.images})
    return {}


def ours(method: str) -> Callable[[Path, str, int, Path], dict]:
    """`resnet-deploy calibrate` and `quantize`."""

    def run(onnx: Path, folder: str, num_images: int, work: Path) -> dict:
        from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
        from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx

        options = CalibrateOptions(
            onnx=onnx, data=folder, num_images=num_images, method=method, out=work / "t.calib.json", force=True
        )
        result = calibrate(options)
        quantize_onnx(QuantizeOptions(onnx=onnx, table=result.file, out=work / "ours.int8.onnx", force=True))
        return {"num_distinct": result.num_distinct}

    return run


def onnxruntime_static(method: str) -> Callable[[Path, str, int, Path], dict]:
    """`onnxruntime.quantization.quantize_static`, Q/DQ, symmetric, per channel, fed one batch after the other."""

    def run(onnx: Path, folder: str, num_images: int, work: Path) -> dict:
        from onnxruntime import quantization

        class Reader(quantization.CalibrationDataReader):
            def __init__(self) -> None:
                self.batches = _inputs(folder, num_images)

            def get_next(self):
                batch = next(self.batches, None)
                return None if batch is None else {"images": batch.images}

        quantization.quantize_static(
            str(onnx),
            str(work / "ort.int8.onnx"),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            calibrate_method=getattr(quantization.CalibrationMethod, method),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
        )
        return {}

    return run


CANDIDATES = {
    "forward passes alone": forward_alone,
    "resnet-deploy max": ours("max"),
    "resnet-deploy entropy": ours("entropy"),
    "ONNX Runtime MinMax": onnxruntime_static("MinMax"),
    "ONNX Runtime Entropy": onnxruntime_static("Entropy"),
    "ONNX Runtime Percentile": onnxruntime_static("Percentile"),
}
MODELOPT = {"ModelOpt max": "max", "ModelOpt entropy": "entropy"}


def _child(name: str, arguments: tuple, results: multiprocessing.Queue) -> None:
    import numpy  # noqa: F401  (imports are not what is compared)
    import onnx  # noqa: F401
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    started = time.perf_counter()
    more = CANDIDATES[name](*arguments)
    seconds = time.perf_counter() - started
    # Not getrusage's ru_maxrss: a new process begins with its parent's, which has exported a network.
    peak_kib = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    results.put({"seconds": seconds, "peak_memory_gib": peak_kib / 2**20, **more})


def _measure(name: str, onnx: Path, folder: str, num_images: int, work: Path) -> dict:
    """Seconds and peak memory of one run of one candidate in a new process."""
    if name in MODELOPT:
        copy = work / "for-modelopt.onnx"  # it writes into the file that it is given
        shutil.copy(onnx, copy)
        script = "benchmarks/modelopt_calibration.py"
        words = [PEERS, script, MODELOPT[name], copy, work / "images.npy", work / "mo.onnx"]
        done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_child, args=(name, (onnx, folder, num_images, work), results))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{name} ended with {process.exitcode}")
    return results.get()


def _make_images(folder: Path, num_images: int, out: Path) -> None:
    """The photographs of `folder`, and random crops of them until there are `num_images`."""
    import numpy as np
    from PIL import Image

    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not photos:
        sys.exit(f"{folder}: no .jpg, .jpeg or .png file")
    rng = np.random.default_rng(0)
    out.mkdir()
    for i in range(num_images):
        with Image.open(photos[i % len(photos)]) as picture:
            picture = picture.convert("RGB")
            if i >= len(photos):
                width, height = (max(1, int(side * rng.uniform(0.6, 0.9))) for side in picture.size)
                left, top = (
                    int(rng.integers(0, a - b + 1)) for a, b in zip(picture.size, (width, height), strict=True)
                )
                picture = picture.crop((left, top, left + width, top + height))
            picture.save(out / f"{i:05}.jpg", quality=95)


def _rows(runs: dict[str, list[dict]], num_images: int) -> list[dict]:
    bound = statistics.median(run["seconds"] for run in runs["forward passes alone"])
    rows = []
    for name, of_name in runs.items():
        if not of_name:
            rows.append({"num_images": num_images, "name": name, "not_run": "keeps every activation in memory"})
            continue
        median = statistics.median(run["seconds"] for run in of_name)
        row = {
            "num_images": num_images,
            "name": name,
            "seconds": [round(run["seconds"], 2) for run in of_name],
            "median_seconds": round(median, 2),
            "over_forward_passes": round(median / bound, 2),
            "peak_memory_gib": round(max(run["peak_memory_gib"] for run in of_name), 3),
        }
        if "num_distinct" in of_name[0]:
            row["num_distinct"] = of_name[0]["num_distinct"]
        rows.append(row)
    return rows


def _run_all(options: argparse.Namespace, names: list[str], work: Path) -> list[dict]:
    import numpy as np

    from resnet_deploy.export.onnx_export import ExportOptions, export_onnx

    onnx = export_onnx(ExportOptions(net="resnet50", out=work / "resnet50.fp32.onnx")).file
    rows = []
    for num_images in options.num_images:
        folder = work / f"images-{num_images}"
        _make_images(options.images, num_images, folder)
        if any(name in MODELOPT for name in names):
            np.save(work / "images.npy", np.concatenate([b.images for b in _inputs(str(folder), num_images)]))
        runs: dict[str, list[dict]] = {name: [] for name in names}
        for _ in range(options.rounds):
            for name in names:
                if name in KEEPS_ACTIVATIONS and num_images > options.most_for_onnxruntime:
                    continue
                runs[name].append(_measure(name, onnx, str(folder), num_images, work))
                last = runs[name][-1]
                shown = f"{last['seconds']:.1f} s, {last['peak_memory_gib']:.2f} GiB"
                print(f"{num_images} images, {name}: {shown}", file=sys.stderr)
        rows += _rows(runs, num_images)
    return rows


def _versions(with_modelopt: bool) -> dict[str, str]:
    from importlib.metadata import version

    found = {name: version(name) for name in ("resnet-deploy", "numpy", "onnx")}
    found["onnxruntime"] = __import__("onnxruntime").__version__
    if with_modelopt:
        code = "import importlib.metadata as m, onnxruntime as o; print(m.version('nvidia-modelopt'), o.__version__)"
        words = subprocess.run([PEERS, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        found["nvidia-modelopt"], found["onnxruntime of ModelOpt"] = words
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="flat folder of photographs")
    parser.add_argument("--num-images", type=lambda text: [int(n) for n in text.split(",")], default=[64, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-for-onnxruntime", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=[*CANDIDATES, *MODELOPT], help="beside the forward passes")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/calibration.json"))
    options = parser.parse_args()
    names = ["forward passes alone", *(options.only or [*list(CANDIDATES)[1:], *MODELOPT])]
    if any(name in MODELOPT for name in names) and not PEERS.is_file():
        sys.exit(f"{PEERS}: not there; make it with `make peers`, or leave ModelOpt out with --only")
    with tempfile.TemporaryDirectory() as folder:
        rows = _run_all(options, list(dict.fromkeys(names)), Path(folder))
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {multiprocessing.cpu_count()} processors",
        "versions": _versions(any(name in MODELOPT for name in names)),
        "command": " ".join(["python", *sys.argv]),
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{'images':>6}  {'':24} {'median s':>9} {'x forward':>10} {'peak GiB':>9}")
    for row in rows:
        figures = f"{'not run: ' + row['not_run']}" if "not_run" in row else (
            f"{row['median_seconds']:9.2f} {row['over_forward_passes']:10.2f} {row['peak_memory_gib']:9.2f}"
        )  # fmt: skip
        print(f"{row['num_images']:6}  {row['name']:24} {figures}")


if __name__ == "__main__":
    main()
