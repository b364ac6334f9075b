"""Bounds against what others measured and published; none may be beaten without an explanation."""

from __future__ import annotations

__all__ = ["Comparison", "Published", "PublishedRow", "compare_published", "load_published"]

import functools
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.bench.roofline.bound import NetworkBound, estimate_network
from resnet_deploy.bench.roofline.catalogue import Catalogue, Gpu, load_catalogue
from resnet_deploy.core.config import load_toml
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision

_FILE = Path(__file__).with_name("published.toml")
_BATCHES = (1, 8, 32, 128, 1024)
_PRECISIONS = (Precision.INT8, Precision.FP8, Precision.FP16, Precision.FP32)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRow:
    """One published measurement.

    Attributes:
        what: Program and setting.
        gpu, net: Names in the catalogues. `size_px`: side of the images.
        precision, batch: None where the source does not state it.
        latency_ms, images_per_second: One of them.
        source: Key of the file's `sources`.
        explanation: Why the row may beat its bound; empty where it may not.
    """

    what: str
    gpu: str
    net: str
    source: str
    size_px: int = 224
    precision: Precision | None = None
    batch: int | None = None
    latency_ms: float | None = None
    images_per_second: float | None = None
    note: str = ""
    explanation: str = ""

    def __post_init__(self) -> None:
        given = [value for value in (self.latency_ms, self.images_per_second) if value is not None]
        if len(given) != 1 or not given[0] > 0:
            raise ConfigError(
                f"{self.gpu}, {self.what}: latency_ms is {self.latency_ms}, images_per_second "
                f"{self.images_per_second}, expected one positive number"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """All rows, and the sources that they name."""

    row: tuple[PublishedRow, ...]
    sources: dict[str, str]

    def __post_init__(self) -> None:
        if missing := sorted({row.source for row in self.row} - set(self.sources)):
            raise ConfigError(f"sources {', '.join(missing)} are named by a row but not under [sources]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A published measurement beside its bound.

    Attributes:
        measured: The row.
        source: Who published it, in words.
        precision, batch: Those of the bound, also where the row has none: the fastest precision of the GPU, and the
            batch with the highest throughput, or batch 1 for a latency.
        bound_latency_ms, bound_images_per_second: The one that the row has.
        share: Share of the bound that was reached; over 1, the bound was beaten.
        dram_share: The same for the bound where every tensor goes through memory; over 1, the cache helped.
        is_explained: Not beaten, or the row says why.
    """

    measured: PublishedRow
    source: str
    precision: Precision
    batch: int
    bound_latency_ms: float | None
    bound_images_per_second: float | None
    share: float
    dram_share: float
    is_explained: bool


def load_published() -> Published:
    """The rows that come with the package."""
    return _load()


def compare_published(
    catalogue: Catalogue | None = None, published: Published | None = None, *, targets: tuple[str, ...] = ()
) -> tuple[Comparison, ...]:
    """Every row on one of `targets` (empty: all) with its bound, most of the bound reached first."""
    catalogue, published = catalogue or load_catalogue(), published or load_published()
    wanted = {catalogue.find(name).name for name in targets}
    rows = [row for row in published.row if not wanted or catalogue.find(row.gpu).name in wanted]
    found = [_compare(row, catalogue.find(row.gpu), published.sources[row.source]) for row in rows]
    return tuple(sorted(found, key=lambda item: -item.share))


def _compare(row: PublishedRow, gpu: Gpu, source: str) -> Comparison:
    if row.latency_ms is not None:
        bounds = _bounds(row, gpu, batches=(row.batch or 1,))
        bound = min(bounds, key=lambda b: b.latency_ms)
        share = bound.latency_ms / row.latency_ms
        dram_share = min(b.dram_latency_ms for b in bounds) / row.latency_ms
    else:
        batches = _BATCHES if row.batch is None else (row.batch,)
        bounds = _bounds(row, gpu, batches=batches)
        bound = max(bounds, key=lambda b: b.images_per_second)
        share = row.images_per_second / bound.images_per_second
        dram_share = row.images_per_second / max(b.dram_images_per_second for b in bounds)
    return Comparison(
        measured=row,
        source=source,
        precision=bound.precision,
        batch=bound.batch,
        bound_latency_ms=None if row.latency_ms is None else bound.latency_ms,
        bound_images_per_second=None if row.latency_ms is not None else bound.images_per_second,
        share=share,
        dram_share=dram_share,
        is_explained=share <= 1 or bool(row.explanation),
    )


def _bounds(row: PublishedRow, gpu: Gpu, *, batches: tuple[int, ...]) -> list[NetworkBound]:
    """In every precision and batch that the row may mean. What type the images had is nowhere stated: none counts."""
    choices = _PRECISIONS if row.precision is None else (row.precision,)
    able = [precision for precision in choices if gpu.peak(precision, tf32=True) is not None]
    return [
        estimate_network(
            row.net, precision=precision, batch=batch, gpu=gpu, size_px=row.size_px, tf32=True, converts_input=False
        )
        for precision in able
        for batch in batches
    ]


@functools.cache
def _load() -> Published:
    return load_toml(Published, _FILE)
