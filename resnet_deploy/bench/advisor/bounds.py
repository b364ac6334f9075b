"""The roofline of a target as the advisor asks for it, and what published runs make of such bounds."""

from __future__ import annotations

__all__ = ["KERNEL_MS", "USUAL_SHARE", "roofline_of"]

from resnet_deploy.bench.advisor.speeds import Bound, BoundModel, Key
from resnet_deploy.bench.roofline.catalogue import Gpu
from resnet_deploy.core.progress import NO_PROGRESS, Progress

USUAL_SHARE = 0.4
"""Share of a compute bound that published ResNet-50 runs in large batches reach: MLPerf's H200 39 % of the INT8 peak
(Inference v4.1, offline), timm's RTX 3090, 4090 and 5090 43, 41 and 48 % of the FP16 peak (its benchmark-infer files)."""

KERNEL_MS = 0.008
"""Time of one kernel at batch 1, where starting it takes longer than its work: 0.46 ms of ResNet-50 and 0.84 ms of
ResNet-101 in INT8 on an A100 (NVIDIA's TensorFlow quantization toolkit, TensorRT 8.4), with 57 and 108 kernels. Others
published, for ResNet-50: 0.004 on an L4 (Embedl, TensorRT 10.9), 0.011 on an AGX Orin (MLPerf Inference v3.1), 0.021 on
a T4 (MMDeploy, TensorRT 7.2)."""


def roofline_of(gpu: Gpu, progress: Progress = NO_PROGRESS) -> BoundModel:
    """The lower bound on `gpu` of whatever is asked for; None where it has no unit for the precision."""
    progress.start(f"bounds on {gpu.title}", None)

    def bound_of(key: Key) -> Bound | None:
        from resnet_deploy.bench.roofline.bound import estimate_network  # imports torch

        if gpu.peak(key.precision) is None:
            return None
        found = estimate_network(key.net, gpu=gpu, size_px=key.size_px, precision=key.precision, batch=key.batch)
        progress.advance(note=f"{key.net} {key.size_px} px")
        likely_ms = max(found.latency_ms / USUAL_SHARE, found.dram_latency_ms, found.num_kernels * KERNEL_MS)
        return Bound(
            latency_ms=found.latency_ms,
            images_per_second=found.images_per_second,
            limited_by=found.bound_by,
            likely_ms=likely_ms,
            likely_images_per_second=min(found.images_per_second, 1e3 * key.batch / likely_ms),
        )

    return bound_of
