"""The roofline: the least time that a network can take on a GPU, layer by layer.

A layer takes at least the larger of arithmetic / peak and bytes / bandwidth. What has to move is counted twice:

- *DRAM*: every tensor is written to memory and read from it.
- *L2*: of a tensor of s bytes at most the size C of the second-level cache can stay on the chip between the layer that
  writes it and the one that reads it, so s - C bytes move each way. Of all weights together at most C can stay from
  one pass to the next; the rest is counted where it costs least, in layers that are bound by arithmetic.

The L2 bound is the true lower bound for a GPU that runs one layer after another, and the one that is reported as *the*
bound. It leaves out: the start of a kernel, what a kernel falls short of the peak, copies to and from the GPU. It does
not hold for what it does not describe: a kernel of several convolutions, a batch run in slices, an algorithm with fewer
multiplications (Winograd), a clock above the data sheet's.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52(4), 2009; the cache rule is our own, derived above.
"""

from __future__ import annotations

__all__ = [
    "FUSIONS",
    "IDEAL",
    "PRECISION_OF_TYPE",
    "RTX",
    "LayerBound",
    "NetworkBound",
    "bound_of_layers",
    "estimate_network",
    "layers_of_net",
]

import functools

from resnet_deploy.bench.roofline.bound_result import LayerBound, NetworkBound
from resnet_deploy.bench.roofline.catalogue import Gpu, find_gpu
from resnet_deploy.bench.roofline.fusion import FusedLayer, as_tensorrt_rtx, fuse, in_precision
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision

IDEAL, RTX = "ideal", "tensorrt-rtx"
FUSIONS = (IDEAL, RTX)
PRECISION_OF_TYPE = {
    "float32": Precision.FP32,
    "float64": Precision.FP32,  # no tensor of a network; never faster than FP32
    "float16": Precision.FP16,
    "bfloat16": Precision.BF16,
    "int8": Precision.INT8,
    "uint8": Precision.INT8,
    "float8": Precision.FP8,
}
"""Type in which a layer multiplies -> the precision whose peak it has."""

_FIRST_RTX_INT8 = 8.0
_ARITHMETIC, _MEMORY = "arithmetic", "memory"


def estimate_network(
    net: str,
    *,
    precision: Precision,
    batch: int,
    gpu: Gpu | str,
    size_px: int | None = None,
    tf32: bool = False,
    fusion: str = IDEAL,
    converts_input: bool = True,
) -> NetworkBound:
    """The least time of a catalogue network on a GPU; needs no GPU and no weights.

    Args:
        gpu: An entry of a catalogue, or a name in the package's own.
        size_px: Side of the square images; None takes the network's own.
        converts_input: The images come in FP32, as the files of `export` take them; False leaves the change of type
            at the input out.
    Raises:
        ConfigError: Unknown network, size, GPU or fusion, a batch below 1, or a GPU that has no figure for `precision`.
    """
    layers = layers_of_net(net, precision=precision, size_px=size_px, fusion=fusion, converts_input=converts_input)
    return bound_of_layers(
        layers, net=net, sides_px=_sides(net, size_px), precision=precision, batch=batch,
        gpu=find_gpu(gpu) if isinstance(gpu, str) else gpu, tf32=tf32, fusion=fusion,
    )[0]  # fmt: skip


@functools.lru_cache(maxsize=512)
def layers_of_net(
    net: str,
    *,
    precision: Precision,
    size_px: int | None = None,
    fusion: str = IDEAL,
    converts_input: bool = True,
) -> tuple[FusedLayer, ...]:
    """The layers of a catalogue network after fusion, in `precision`."""
    from resnet_deploy.bench.roofline.module_graph import operations_of_net  # imports torch

    if fusion not in FUSIONS:
        raise ConfigError(f"unknown fusion {fusion!r}", remedy=f"known: {', '.join(FUSIONS)}")
    layers = in_precision(fuse(operations_of_net(net, size_px=size_px)), precision)
    if not converts_input and precision is not Precision.FP32:
        layers = layers[1:]
    return as_tensorrt_rtx(layers) if fusion == RTX else layers


def _sides(net: str, size_px: int | None) -> tuple[int, int]:
    from resnet_deploy.bench.roofline.module_graph import operations_of_net

    graph = operations_of_net(net, size_px=size_px)
    return graph.height_px, graph.width_px


def bound_of_layers(
    layers: tuple[FusedLayer, ...],
    *,
    net: str,
    sides_px: tuple[int, int],
    precision: Precision,
    batch: int,
    gpu: Gpu,
    tf32: bool = False,
    fusion: str = IDEAL,
) -> tuple[NetworkBound, tuple[LayerBound, ...]]:
    """The bound of a network and of each of its layers.

    Raises:
        ConfigError: A batch below 1, layers in a type for which the catalogue has no peak of this GPU, or nothing that
            takes time.
    """
    if batch < 1:
        raise ConfigError(f"batch is {batch}, expected 1 or more")
    _refuse_unknown(layers, precision, gpu, fusion, tf32=tf32)
    costs = [_Cost(layer, batch=batch, gpu=gpu, tf32=tf32) for layer in layers]
    weights_left = _weights_that_move(costs, l2_bytes=gpu.l2_mib.value * 2**20)
    shared = {
        "net": net, "size_px": sides_px[0], "width_px": sides_px[1], "precision": precision, "batch": batch,
        "target": gpu.name, "fusion": fusion,
    }  # fmt: skip
    found = tuple(cost.bound(moved, shared) for cost, moved in zip(costs, weights_left, strict=True))
    times = _add_up(found)
    if not times["latency_ms"]:
        raise ConfigError(f"{net} has no multiply-adds and fits into the cache: nothing bounds its time")
    network = NetworkBound(
        **shared,
        **times,
        tf32=tf32,
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        moved_mb=sum(cost.num_bytes for cost in costs) / 1e6,
        num_kernels=len(layers),
        is_confirmed=gpu.gb_per_s.confirmed and gpu.l2_mib.confirmed and all(cost.is_confirmed for cost in costs),
    )
    return network, found


def _add_up(layers: tuple[LayerBound, ...]) -> dict[str, float | str]:
    """The fields of `NetworkBound` that are sums and shares of its layers' times."""
    latency_us = sum(layer.latency_us for layer in layers)
    in_memory_us = sum(layer.latency_us for layer in layers if layer.bound_by == _MEMORY)
    dram_latency_us = sum(layer.dram_latency_us for layer in layers)
    in_dram_us = sum(layer.dram_us for layer in layers if layer.dram_us > layer.arithmetic_us)
    arithmetic_us = sum(layer.arithmetic_us for layer in layers)
    if not latency_us:
        return {"latency_ms": 0.0}
    images = layers[0].batch * 1e6
    return {
        "latency_ms": latency_us / 1e3,
        "images_per_second": images / max(arithmetic_us, sum(layer.l2_us for layer in layers)),
        "dram_latency_ms": dram_latency_us / 1e3,
        "dram_images_per_second": images / max(arithmetic_us, sum(layer.dram_us for layer in layers)),
        "bound_by": _MEMORY if in_memory_us > latency_us / 2 else _ARITHMETIC,
        "memory_bound_share": in_memory_us / latency_us,
        "dram_memory_bound_share": in_dram_us / dram_latency_us,
    }


def _refuse_unknown(layers: tuple[FusedLayer, ...], precision: Precision, gpu: Gpu, fusion: str, *, tf32: bool) -> None:
    for layer in layers:
        if layer.multiply_adds and gpu.peak(PRECISION_OF_TYPE[layer.type], tf32=tf32) is None:
            raise ConfigError(
                f"{gpu.name}: no {PRECISION_OF_TYPE[layer.type].value.upper()} rate of {gpu.title} is known "
                f"(compute capability {gpu.compute_capability})",
                remedy="choose another precision, or give the rate in a file: --catalogue FILE.toml",
            )
    if fusion == RTX and RTX not in gpu.products:
        raise ConfigError(f"{gpu.name} is not served by TensorRT-RTX", remedy="take the ideal fusion")
    if fusion == RTX and float(gpu.compute_capability) < _FIRST_RTX_INT8 and precision is Precision.INT8:
        raise ConfigError(
            f"{gpu.name}: TensorRT-RTX computes INT8 convolutions in FP16 on {gpu.sm}", remedy="estimate FP16"
        )


class _Cost:
    """Operations, bytes and times of one layer."""

    def __init__(self, layer: FusedLayer, *, batch: int, gpu: Gpu, tf32: bool) -> None:
        self.layer = layer
        self.operations = 2 * layer.multiply_adds * batch
        peak = gpu.peak(PRECISION_OF_TYPE[layer.type], tf32=tf32) if layer.multiply_adds else None
        self.is_confirmed = peak is None or peak.confirmed
        self.arithmetic_us = 0.0 if peak is None else self.operations / (peak.value * 1e6)
        self.bytes_per_us = gpu.gb_per_s.value * 1e3
        self.read = sum(tensor.value.num_bytes for tensor in layer.reads) * batch
        self.residual = 0 if layer.residual is None else layer.residual.value.num_bytes * batch
        self.written = sum(tensor.value.num_bytes for tensor in layer.writes) * batch
        self.weights = sum(weight.num_bytes for weight in layer.weights)
        l2_bytes = gpu.l2_mib.value * 2**20
        moved = (*layer.reads, *layer.writes, *(() if layer.residual is None else (layer.residual,)))
        self.beyond_l2 = sum(max(0.0, tensor.value.num_bytes * batch - l2_bytes) for tensor in moved)

    @property
    def num_bytes(self) -> int:
        return self.read + self.residual + self.written + self.weights

    def bound(self, weights_moved: float, shared: dict) -> LayerBound:
        """Args: weights_moved: Bytes of its weights that come from memory."""
        dram_us = self.num_bytes / self.bytes_per_us
        l2_us = (self.beyond_l2 + weights_moved) / self.bytes_per_us
        return LayerBound(
            **shared,
            name=self.layer.name,
            stage=self.layer.stage,
            kind=self.layer.kind,
            type=self.layer.type,
            operations=self.operations,
            read_bytes=self.read,
            residual_bytes=self.residual,
            weight_bytes=self.weights,
            written_bytes=self.written,
            intensity=self.operations / self.num_bytes if self.num_bytes else None,
            arithmetic_us=self.arithmetic_us,
            dram_us=dram_us,
            l2_us=l2_us,
            latency_us=max(self.arithmetic_us, l2_us),
            dram_latency_us=max(self.arithmetic_us, dram_us),
            bound_by=_MEMORY if l2_us > self.arithmetic_us else _ARITHMETIC,
        )


def _weights_that_move(costs: list[_Cost], *, l2_bytes: float) -> list[float]:
    """Bytes of weights that each layer reads from memory, where the cache keeps those that would cost most.

    All weights but `l2_bytes` move. They are taken first from layers whose arithmetic takes longer than their traffic,
    as far as that hides it; what is left over costs the same wherever it is, and is spread evenly. So the sum over the
    layers of max(arithmetic, traffic) is the least of all ways to choose.
    """
    move = max(0.0, sum(cost.weights for cost in costs) - l2_bytes)
    hidden = [
        min(float(cost.weights), max(0.0, cost.arithmetic_us * cost.bytes_per_us - cost.beyond_l2)) for cost in costs
    ]
    if sum(hidden) >= move:
        share = move / sum(hidden) if move else 0.0
        return [share * amount for amount in hidden]
    open_bytes = [cost.weights - amount for cost, amount in zip(costs, hidden, strict=True)]
    share = (move - sum(hidden)) / sum(open_bytes)
    return [amount + share * rest for amount, rest in zip(hidden, open_bytes, strict=True)]
