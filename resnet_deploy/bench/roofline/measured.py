"""Bounds against this project's own measurements: rows of `bench` on a GPU of the catalogue."""

from __future__ import annotations

__all__ = ["MeasuredShare", "compare_measured"]

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_deploy.bench.roofline.bound import NetworkBound, estimate_network
from resnet_deploy.bench.roofline.catalogue import Catalogue, Gpu
from resnet_deploy.core.errors import ConfigError

if TYPE_CHECKING:  # brings numpy and the runners
    from resnet_deploy.bench.rows import BenchRow


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredShare:
    """One row of a benchmark beside its bound.

    Attributes:
        target: Name of the GPU in the catalogue; empty where the row is not compared, and `reason` says why.
        p50_ms, images_per_second: Measured; None where it was not run.
        latency_share: bound / measured latency; over 1, the bound was beaten.
        throughput_share: measured / bound throughput.
        dram_latency_share: As latency_share, every tensor through memory; over 1, the cache helped.
    """

    net: str
    precision: str
    backend: str
    device: str
    batch: int
    target: str
    p50_ms: float | None
    images_per_second: float | None
    bound_latency_ms: float | None
    bound_images_per_second: float | None
    latency_share: float | None
    throughput_share: float | None
    dram_latency_share: float | None
    reason: str


def compare_measured(
    rows: Iterable[BenchRow], catalogue: Catalogue, *, targets: tuple[str, ...] = (), tf32: bool = False
) -> tuple[MeasuredShare, ...]:
    """Every row with the bound of its network, precision and batch on the GPU it ran on.

    Args:
        targets: GPUs of the catalogue to choose from, where a device's name fits several (every Orin is "Orin").
        tf32: FP32 rows may have used TF32. PyTorch's convolutions do unless told otherwise, so theirs always count so.
    """
    wanted = {catalogue.find(name).name for name in targets}
    return tuple(_share(row, catalogue, wanted, tf32=tf32) for row in rows)


def _share(row: BenchRow, catalogue: Catalogue, wanted: set[str], *, tf32: bool) -> MeasuredShare:
    bound: NetworkBound | None = None
    try:
        gpu = _gpu_of(row, catalogue, wanted)
        bound = _bound_of(row, gpu, tf32=tf32)
        reason = ""
    except ConfigError as error:
        reason = error.message
    timing = row.timing
    compared = bound is not None and timing is not None
    return MeasuredShare(
        net=row.net,
        precision="" if row.precision is None else row.precision.value,
        backend=row.backend,
        device=row.device,
        batch=row.batch,
        target=bound.target if bound else "",
        p50_ms=timing.p50_ms if timing else None,
        images_per_second=timing.images_per_second if timing else None,
        bound_latency_ms=bound.latency_ms if bound else None,
        bound_images_per_second=bound.images_per_second if bound else None,
        latency_share=bound.latency_ms / timing.p50_ms if compared else None,
        throughput_share=timing.images_per_second / bound.images_per_second if compared else None,
        dram_latency_share=bound.dram_latency_ms / timing.p50_ms if compared else None,
        reason=reason,
    )


def _gpu_of(row: BenchRow, catalogue: Catalogue, wanted: set[str]) -> Gpu:
    if row.timing is None:
        raise ConfigError(row.reason or "not run")
    if row.mode != "kernel":
        raise ConfigError(f"measured in {row.mode} mode: more than the network ran")
    if row.device in ("", "cpu"):
        raise ConfigError("ran on a processor")
    fitting = catalogue.find_device(row.device)
    chosen = [gpu for gpu in fitting if gpu.name in wanted] or list(fitting)
    if not chosen:
        raise ConfigError(f"no GPU of the catalogue is called {row.device!r}")
    if len(chosen) > 1:
        raise ConfigError(f"{row.device!r} may be {', '.join(gpu.name for gpu in chosen)}: name one with --target")
    return chosen[0]


def _bound_of(row: BenchRow, gpu: Gpu, *, tf32: bool) -> NetworkBound:
    if row.precision is None:
        raise ConfigError("its precision is not known")
    bound = estimate_network(
        row.net, precision=row.precision, batch=row.batch, gpu=gpu, tf32=tf32 or row.backend.startswith("torch")
    )
    if row.multiply_adds not in (None, bound.multiply_adds):
        raise ConfigError(
            f"it has {row.multiply_adds:,} multiply-adds, {row.net} of the catalogue {bound.multiply_adds:,}: "
            "another image size or number of classes"
        )
    return bound
