"""Calibration of ResNet-50: ours against ONNX Runtime's `quantize_static`, in one run on one machine.

    python benchmarks/calibration.py --images FOLDER [--num-images 64] [--rounds 3] [--out docs/benchmarks/calibration.json]

Each candidate runs in a process of its own, in turn (A B C A B C ...), so that a drifting machine meets all of them
and peak memory is each one's own. The bound is the forward passes alone. Latency only: weights are untrained.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BATCH = 8


def _inputs(folder: str, num_images: int):
    from resnet_deploy.data.batches import input_batches
    from resnet_deploy.data.source import open_images, stratified_sample
    from resnet_deploy.nets.catalogue import find_net

    images = stratified_sample(open_images(folder, split="train"), num_images, seed=0)
    return input_batches(images, find_net("resnet50").preprocess, batch_size=BATCH)


def forward_alone(onnx: Path, folder: str, num_images: int, work: Path) -> None:
    """Decode, preprocess and run, in batches of 8: what no calibration can do without."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    for batch in _inputs(folder, num_images):
        session.run(None, {"images": batch.images})


def ours(method: str) -> Callable[[Path, str, int, Path], None]:
    """`resnet-deploy calibrate` and `quantize`."""

    def run(onnx: Path, folder: str, num_images: int, work: Path) -> None:
        from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
        from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx

        options = CalibrateOptions(
            onnx=onnx, data=folder, num_images=num_images, method=method, out=work / "t.calib.json", force=True
        )
        table = calibrate(options).file
        quantize_onnx(QuantizeOptions(onnx=onnx, table=table, out=work / "ours.int8.onnx", force=True))

    return run


def onnxruntime_static(method: str) -> Callable[[Path, str, int, Path], None]:
    """`onnxruntime.quantization.quantize_static`, Q/DQ, symmetric, per channel, fed one batch after the other."""

    def run(onnx: Path, folder: str, num_images: int, work: Path) -> None:
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

    return run


CANDIDATES = {
    "forward passes alone": forward_alone,
    "resnet-deploy max": ours("max"),
    "resnet-deploy entropy": ours("entropy"),
    "ONNX Runtime MinMax": onnxruntime_static("MinMax"),
    "ONNX Runtime Entropy": onnxruntime_static("Entropy"),
}


def _child(name: str, arguments: tuple, results: multiprocessing.Queue) -> None:
    import numpy  # noqa: F401  (imports are not what is compared)
    import onnx  # noqa: F401
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    started = time.perf_counter()
    CANDIDATES[name](*arguments)
    seconds = time.perf_counter() - started
    results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def _measure(name: str, arguments: tuple) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_child, args=(name, arguments, results))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{name} ended with {process.exitcode}")
    return results.get()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="noise", help="folder of images; `noise` needs none")
    parser.add_argument("--num-images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/calibration.json"))
    options = parser.parse_args()

    from importlib.metadata import version

    from resnet_deploy.export.onnx_export import ExportOptions, export_onnx

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in CANDIDATES}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        file = export_onnx(ExportOptions(net="resnet50", out=work / "resnet50.fp32.onnx")).file
        for _ in range(options.rounds):
            for name in CANDIDATES:
                times[name].append(_measure(name, (file, options.images, options.num_images, work)))
                print(f"{name}: {times[name][-1][0]:.1f} s", file=sys.stderr)
    bound = statistics.median(t for t, _ in times["forward passes alone"])
    rows = [
        {
            "name": name,
            "seconds": [round(t, 2) for t, _ in runs],
            "median_seconds": round(statistics.median(t for t, _ in runs), 2),
            "over_forward_passes": round(statistics.median(t for t, _ in runs) / bound, 2),
            "peak_memory_gib": round(max(m for _, m in runs), 2),
        }
        for name, runs in times.items()
    ]
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {multiprocessing.cpu_count()} processors",
        "versions": {name: version(name) for name in ("resnet-deploy", "numpy", "onnx")},
        "command": " ".join(["python", *sys.argv]),
        "num_images": options.num_images,
        "rows": rows,
    }
    report["versions"]["onnxruntime"] = __import__("onnxruntime").__version__
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{'':24} {'median s':>9} {'x forward':>10} {'peak GiB':>9}")
    for row in rows:
        print(
            f"{row['name']:24} {row['median_seconds']:9.2f} {row['over_forward_passes']:10.2f} "
            f"{row['peak_memory_gib']:9.2f}"
        )


if __name__ == "__main__":
    main()
