"""Which file of a network is timed on which backend."""

from __future__ import annotations

__all__ = ["bench_targets"]

from collections.abc import Sequence

from resnet_deploy.bench.run import BenchTarget
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.availability import BackendStatus
from resnet_deploy.pipeline.artifacts import NetFiles


def bench_targets(files: NetFiles, statuses: Sequence[BackendStatus]) -> list[BenchTarget]:
    """torch in FP32, the ONNX backends in FP32 and INT8, every engine; in that order for every network.

    FP16 on a processor is left out: without FP16 arithmetic a backend computes in FP32 between casts, which says
    nothing about a deployment. An engine is listed even where no GPU can run it, so that the table says so.
    """
    status = {s.name: s for s in statuses}
    targets = [BenchTarget(file=files.checkpoint, backend="torch")]
    for backend in ("onnxruntime", "openvino"):
        if not status[backend].available:
            continue
        on_cpu = status[backend].device == "cpu"
        targets += [
            BenchTarget(file=file, backend=backend)
            for precision, file in files.onnx.items()
            if precision is not Precision.FP16 or not on_cpu
        ]
    return [*targets, *(BenchTarget(file=file) for file in files.engines.values())]
