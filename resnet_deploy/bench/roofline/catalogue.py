"""The GPUs that a bound can be computed for: peak rates, bandwidth, cache, power, each figure with its source."""

from __future__ import annotations

__all__ = ["Catalogue", "Figure", "Gpu", "Peaks", "find_gpu", "load_catalogue"]

import difflib
import functools
from dataclasses import dataclass, field
from pathlib import Path

from resnet_deploy.core.config import load_toml
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision

PRODUCTS = ("tensorrt", "tensorrt-rtx")
_OWN_FILE = Path(__file__).with_name("gpus.toml")
_FIRST_BF16 = 8.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number of a GPU.

    Attributes:
        source: Key of the catalogue's `sources`.
        confirmed: False where no source says it in so many words, or where sources do not agree.
    """

    value: float
    source: str
    confirmed: bool = True

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ConfigError(f"value is {self.value}, expected a positive number")


@dataclass(frozen=True, kw_only=True, slots=True)
class Peaks:
    """Dense peak rates in 1e12 operations a second, two operations a multiply-add; None: no such unit, or not known.

    Attributes:
        fp32: On the ordinary units. `tf32`: FP32 tensors multiplied on the tensor units in TF32.
        fp16, fp8: On the tensor units, summed in FP32. BF16 has FP16's rate from compute capability 8.0 on.
        fp16_half_sums, fp8_half_sums: Summed in FP16, where that is faster (GeForce).
    """

    fp32: Figure | None = None
    tf32: Figure | None = None
    fp16: Figure | None = None
    fp16_half_sums: Figure | None = None
    int8: Figure | None = None
    fp8: Figure | None = None
    fp8_half_sums: Figure | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One entry of the catalogue.

    Attributes:
        name: What --target takes. `aliases`: other spellings that are taken.
        title: As its maker calls it.
        device_names: What the driver calls it; several entries may share one (every Orin is "Orin").
        compute_capability: "8.9" and the like.
        products: TensorRT products that serve it.
        peaks: In 1e12 operations a second.
        gb_per_s: Bandwidth of the memory in 1e9 bytes a second.
        memory_gb, l2_mib: Sizes of memory and of the second-level cache.
        watts: Power limit, the highest where there are several modes.
        note: What a reader of its bounds should know.
    """

    name: str
    title: str
    compute_capability: str
    products: tuple[str, ...]
    peaks: Peaks
    gb_per_s: Figure
    memory_gb: Figure
    l2_mib: Figure
    watts: Figure
    aliases: tuple[str, ...] = ()
    device_names: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if not self.products or set(self.products) - set(PRODUCTS):
            raise ConfigError(f"{self.name}: products are {list(self.products)}, expected some of {list(PRODUCTS)}")

    @property
    def sm(self) -> str:
        """The compute capability as build targets are written: "sm89"."""
        return "sm" + self.compute_capability.replace(".", "")

    def peak(self, precision: Precision, *, tf32: bool = False) -> Figure | None:
        """The fastest rate at which multiply-adds of that type can run; None where there is none.

        The fastest, because a lower bound on the time must hold for every kernel: FP16 sums count where they are
        faster, though a kernel may well sum in FP32.
        """
        peaks = self.peaks
        bf16 = peaks.fp16 if float(self.compute_capability) >= _FIRST_BF16 else None
        choices = {
            Precision.FP32: (peaks.fp32, peaks.tf32 if tf32 else None),
            Precision.FP16: (peaks.fp16, peaks.fp16_half_sums),
            Precision.BF16: (bf16,),
            Precision.INT8: (peaks.int8,),
            Precision.FP8: (peaks.fp8, peaks.fp8_half_sums),
        }[precision]
        return max((figure for figure in choices if figure is not None), key=lambda f: f.value, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """All GPUs, and the sources that their figures name.

    Attributes:
        sources: Key -> who says it.
    """

    gpu: tuple[Gpu, ...]
    sources: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = []
        names = [name for gpu in self.gpu for name in (gpu.name, *gpu.aliases)]
        problems += [f"the name {name!r} is there twice" for name in sorted({n for n in names if names.count(n) > 1})]
        for gpu in self.gpu:
            missing = {figure.source for _, figure in figures_of(gpu)} - set(self.sources)
            problems += [f"{gpu.name}: source {key!r} is not under [sources]" for key in sorted(missing)]
        if problems:
            raise ConfigError("; ".join(problems), remedy="see docs/guides/estimate.md for the form of a catalogue")

    @property
    def names(self) -> tuple[str, ...]:
        """Of all entries, without aliases."""
        return tuple(gpu.name for gpu in self.gpu)

    def find(self, name: str) -> Gpu:
        """The GPU of that name or alias; capitals, blanks, "_" and "NVIDIA" do not matter.

        Raises:
            ConfigError: None has it; lists all names, and the nearest.
        """
        known = {_plain(alias): gpu for gpu in self.gpu for alias in (gpu.name, gpu.title, *gpu.aliases)}
        if _plain(name) in known:
            return known[_plain(name)]
        near = difflib.get_close_matches(_plain(name), known, n=1)
        hint = f", did you mean {known[near[0]].name}?" if near else ""
        raise ConfigError(
            f"unknown GPU {name!r}{hint}",
            remedy=f"known: {', '.join(self.names)}; or describe yours in a file: --catalogue FILE.toml",
        )

    def find_device(self, device: str) -> tuple[Gpu, ...]:
        """All entries that the driver's name of a device may mean."""
        return tuple(gpu for gpu in self.gpu if device.casefold() in {name.casefold() for name in gpu.device_names})


def figures_of(gpu: Gpu) -> tuple[tuple[str, Figure], ...]:
    """Every figure of an entry with its name."""
    peaks = [(name, getattr(gpu.peaks, name)) for name in Peaks.__dataclass_fields__]
    others = [(name, getattr(gpu, name)) for name in ("gb_per_s", "memory_gb", "l2_mib", "watts")]
    return tuple((name, figure) for name, figure in (*peaks, *others) if figure is not None)


def load_catalogue(file: Path | None = None) -> Catalogue:
    """The catalogue that comes with the package, and in front of it the GPUs of `file` where one is given.

    Raises:
        ConfigError: `file` is missing, is not TOML, or does not fit; says where.
    """
    own = _own_catalogue()
    if file is None:
        return own
    given = load_toml(Catalogue, file, remedy="docs/guides/estimate.md has an example of a catalogue file")
    named = {name for gpu in given.gpu for name in (gpu.name, *gpu.aliases)}
    kept = tuple(gpu for gpu in own.gpu if not named & {gpu.name, *gpu.aliases})
    return Catalogue(gpu=(*given.gpu, *kept), sources={**own.sources, **given.sources})


def find_gpu(name: str) -> Gpu:
    """The GPU of that name in the package's own catalogue; raises ConfigError as `Catalogue.find`."""
    return load_catalogue().find(name)


@functools.cache
def _own_catalogue() -> Catalogue:
    return load_toml(Catalogue, _OWN_FILE)


def _plain(name: str) -> str:
    return name.casefold().replace("nvidia", "").replace("_", "-").strip().replace(" ", "-").strip("-")
