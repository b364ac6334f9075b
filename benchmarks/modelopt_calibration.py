"""One INT8 quantisation of an ONNX file by NVIDIA ModelOpt; run by `calibration.py` in ModelOpt's own environment.

    .venv-peers/bin/python benchmarks/modelopt_calibration.py max|entropy NETWORK.onnx IMAGES.npy OUT.onnx

IMAGES.npy holds the preprocessed network input, so decoding is not charged to ModelOpt. Prints seconds and peak memory.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import numpy as np
from modelopt.onnx.quantization import quantize


def main() -> None:
    method, network, images, out = sys.argv[1:]
    started = time.perf_counter()
    quantize(
        network,
        quantize_mode="int8",
        calibration_method=method,
        calibration_data=np.load(images),  # ModelOpt's own way; one image per pass
        calibration_eps=["cpu"],
        output_path=out,
        log_level="ERROR",
    )
    seconds = time.perf_counter() - started
    peak_kib = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    print(json.dumps({"seconds": seconds, "peak_memory_gib": peak_kib / 2**20}))


if __name__ == "__main__":
    main()
