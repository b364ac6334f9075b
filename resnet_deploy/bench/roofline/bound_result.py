"""What a bound is: of a layer and of a network."""

from __future__ import annotations

__all__ = ["LayerBound", "NetworkBound"]

from dataclasses import dataclass

from resnet_deploy.core.specs import Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerBound:
    """One layer (one kernel) of a network on a GPU at a batch.

    Attributes:
        net, size_px, width_px, precision, batch, target, fusion: As in `NetworkBound`.
        stage: "stem", "layer1" ..., "head".
        kind: "conv", "conv+add", "linear", "pool", "pointwise", "add", "round", "other".
        type: In which it multiplies, or its result's.
        operations: Two a multiply-add, of the whole batch.
        read_bytes: Activations, without `residual_bytes`; of the whole batch, as are `written_bytes`.
        weight_bytes: Once a pass.
        intensity: Operations a byte, every tensor through memory; None where nothing moves.
        arithmetic_us: operations / peak.
        dram_us: All bytes / bandwidth. `l2_us`: those that can not stay on the chip / bandwidth.
        latency_us: The bound, the larger of arithmetic_us and l2_us. `dram_latency_us`: the same with dram_us.
        bound_by: "arithmetic" or "memory", of latency_us.
    """

    net: str
    size_px: int
    width_px: int
    precision: Precision
    batch: int
    target: str
    fusion: str
    name: str
    stage: str
    kind: str
    type: str
    operations: int
    read_bytes: int
    residual_bytes: int
    weight_bytes: int
    written_bytes: int
    intensity: float | None
    arithmetic_us: float
    dram_us: float
    l2_us: float
    latency_us: float
    dram_latency_us: float
    bound_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkBound:
    """One network on a GPU at a batch.

    Attributes:
        net: Name in the catalogue of networks, or name of the ONNX file.
        size_px, width_px: Height and width of the images.
        precision: In which most multiply-adds run.
        target: Name of the GPU in the catalogue of GPUs.
        fusion: "ideal" is what TensorRT documents, and the bound; "tensorrt-rtx" counts the kernels that TensorRT-RTX
            1.7 really makes of an INT8 network.
        tf32: FP32 multiply-adds were counted at TF32's rate where that is faster.
        latency_ms: The bound on one pass of `batch` images.
        images_per_second: The bound on throughput. Passes in flight may overlap, so that arithmetic of one hides
            traffic of another; so it can be more than batch / latency_ms. Every pass reads its weights.
        dram_latency_ms, dram_images_per_second: The same where every tensor goes through memory; can be beaten where
            the cache helps.
        bound_by: "arithmetic" or "memory": which kind of layer takes more of latency_ms.
        memory_bound_share: Share of latency_ms in layers that are bound by memory; `dram_memory_bound_share`: the same
            of dram_latency_ms.
        multiply_adds: For one image.
        moved_mb: 1e6 bytes that one pass reads and writes, cache or not.
        num_kernels: Layers after fusion.
        is_confirmed: Every figure of the GPU that was used is confirmed by a source.
    """

    net: str
    size_px: int
    width_px: int
    precision: Precision
    batch: int
    target: str
    fusion: str
    tf32: bool
    latency_ms: float
    images_per_second: float
    dram_latency_ms: float
    dram_images_per_second: float
    bound_by: str
    memory_bound_share: float
    dram_memory_bound_share: float
    multiply_adds: int
    moved_mb: float
    num_kernels: int
    is_confirmed: bool
