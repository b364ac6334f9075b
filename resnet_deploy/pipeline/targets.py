"""Which file of a network is timed on which backend."""

from __future__ import annotations

__all__ = ["bench_targets"]

from collections.abc import Sequence

from resnet_deploy.bench.run import BenchTarget
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.availability import BackendStatus
from resnet_deploy.pipeline.artifacts import NetFiles

_ON_CPU = {"onnxruntime": (Precision.FP32,), "openvino": (Precision.FP32, Precision.INT8)}


def bench_targets(files: NetFiles, statuses: Sequence[BackendStatus]) -> list[BenchTarget]:
    """torch in FP32 (on a GPU in FP16 too), ONNX Runtime and OpenVINO, every engine; in that order for every network.

    What torch.compile takes minutes for is left to who asks for it. On a processor only what means something for a deployment is timed: ONNX Runtime computes FP16 operations, those
    between the Q/DQ pairs of an INT8 file too, in FP32 between casts, and OpenVINO has FP16 as FP32. An engine is
    listed even where no GPU can run it, so that the table says so.
    """
    targets = [BenchTarget(file=files.checkpoint, backend="torch")]
    if any(status.name == "torch-fp16" and status.device not in (None, "cpu") for status in statuses):
        targets.append(BenchTarget(file=files.checkpoint, backend="torch-fp16"))
    for status in statuses:
        if not status.available or status.name not in _ON_CPU:
            continue
        chosen = _ON_CPU[status.name] if status.device == "cpu" else tuple(Precision)
        targets += [
            BenchTarget(file=file, backend=status.name) for precision, file in files.onnx.items() if precision in chosen
        ]
    return [*targets, *(BenchTarget(file=file) for file in files.engines.values())]
