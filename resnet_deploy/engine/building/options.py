"""What to build: shapes, GPUs and the builder's own options, each refused where the chosen product lacks it."""

from __future__ import annotations

__all__ = [
    "USUAL_PIXEL_SIZES",
    "BatchProfile",
    "BuildOptions",
    "HardwareCompatibility",
    "SizeProfile",
    "parse_batch_profiles",
    "parse_size_profile",
]

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.engine.products import Product, find_product

_PROFILE_FORMS = "write min:opt:max, e.g. 1:8:32, or sizes that get a profile each, e.g. 1,8,32"
_SIZE_FORMS = "write one size, e.g. 224 or 480x640 (height x width), or min:opt:max, e.g. 224:256:448"


class HardwareCompatibility(str, Enum):
    """Which other GPUs an engine of `tensorrt` may run on, at the price of speed.

    NONE: the model it was built on. SAME_COMPUTE_CAPABILITY: all of that compute capability. AMPERE_PLUS: SM 8.0
    and newer.
    """

    NONE = "none"
    SAME_COMPUTE_CAPABILITY = "same-compute-capability"
    AMPERE_PLUS = "ampere-plus"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchProfile:
    """Batch sizes an engine takes: any from `min` to `max`, tuned for `opt`."""

    min: int = 1
    opt: int = 8
    max: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise ConfigError(
                f"batch profile {self.min}:{self.opt}:{self.max}",
                remedy="write min:opt:max with 1 <= min <= opt <= max",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeProfile:
    """Image sizes (height, width) in px that an engine of a network for any size takes."""

    min: tuple[int, int]
    opt: tuple[int, int]
    max: tuple[int, int]

    def __post_init__(self) -> None:
        if any(not 1 <= a <= b <= c for a, b, c in zip(self.min, self.opt, self.max, strict=True)):
            shown = ":".join(f"{height}x{width}" for height, width in (self.min, self.opt, self.max))
            raise ConfigError(f"image sizes {shown}", remedy="write min:opt:max in rising order of height and of width")


USUAL_PIXEL_SIZES = SizeProfile(min=(1, 1), opt=(480, 640), max=(2048, 2048))
"""Of a network that prepares its images itself. An engine reserves memory for the largest batch of the largest images,
as float32: 48 MiB an image here, and more for what lies between the two passes of the resize."""


def parse_batch_profiles(texts: list[str]) -> tuple[BatchProfile, ...]:
    """Read `--profile`: "1:8:32" is one profile, "1,8,32" one for each size; several texts add up.

    Raises:
        ConfigError: Neither form, or not in rising order.
    """
    return tuple(_parse_batch_profile(part) for text in texts for part in text.split(","))


def _parse_batch_profile(text: str) -> BatchProfile:
    numbers = _whole_numbers(text.split(":"))
    if len(numbers) not in (1, 3):
        raise ConfigError(f"--profile has {text!r}", remedy=_PROFILE_FORMS)
    return BatchProfile(min=numbers[0], opt=numbers[len(numbers) // 2], max=numbers[-1])


def parse_size_profile(text: str) -> SizeProfile:
    """Read `--size`: "224", "480x640", or three of them with colons between.

    Raises:
        ConfigError: No such form, or not in rising order.
    """
    sizes = []
    for part in text.split(":"):
        numbers = _whole_numbers(part.lower().split("x"))
        if len(numbers) not in (1, 2):
            raise ConfigError(f"--size is {text!r}", remedy=_SIZE_FORMS)
        sizes.append((numbers[0], numbers[-1]))
    if len(sizes) not in (1, 3):
        raise ConfigError(f"--size is {text!r}", remedy=_SIZE_FORMS)
    return SizeProfile(min=sizes[0], opt=sizes[len(sizes) // 2], max=sizes[-1])


def _whole_numbers(parts: list[str]) -> list[int]:
    """None of them where one is no number."""
    stripped = [part.strip() for part in parts]
    return [int(part) for part in stripped] if all(part.isdecimal() for part in stripped) else []


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What to build, and for which GPUs.

    Attributes:
        onnx: The file whose graph, precision included, becomes the engine.
        product: "tensorrt-rtx" or "tensorrt"; None takes the one that fits this machine.
        targets: GPUs to build for, e.g. ("sm86", "sm89"), or ("current",) for the one in this machine; empty
            takes the product's own choice: TensorRT-RTX builds for sm80 and newer (not sm75, which needs FP16
            and a build of its own; sm89 and newer for FP8), TensorRT for the GPU here.
        batches: Sizes of the first axis, one optimization profile each; a graph with a fixed batch keeps that.
        size: Image sizes, for a network of any size; no other takes it. None takes USUAL_PIXEL_SIZES for one that
            prepares its images itself.
        tf32: Let FP32 convolutions use TF32 tensor cores; off, because then FP32 is not FP32.
        workspace_mib: Most scratch memory a layer may use; None leaves it to the product (all the GPU has).
        strip: Leave the weights out; they are put in from the ONNX file when the engine is opened. TensorRT-RTX
            needs a GPU to build such an engine.
        refit: Let the weights be replaced later; as `strip`.
        timing_cache: File of measured kernel times to read and extend; None keeps one beside the engine. TensorRT
            only.
        pin_timing_cache: Take every kernel from `timing_cache`, fail where one is missing, and leave the file as it
            is: the same kernels in every rebuild. TensorRT only.
        optimization_level: How many kernels are tried, 0 to 5; None is the product's default. TensorRT only:
            TensorRT-RTX 1.7.1 accepts a level, but builds the same bytes for each.
        hardware_compatibility: TensorRT only; for TensorRT-RTX `targets` say it.
        version_compatible: Run on later versions of the same major too, which embeds a small runtime. TensorRT only.
        dla_core: Run what a Jetson's DLA can on that core, the rest on the GPU. TensorRT only; FP16 or INT8.
        out: None puts the engine beside the ONNX file.
        sanity: Run the sanity gate on the finished engine where a GPU can.
        force: Build even where the engine is up to date.
    """

    onnx: Path
    product: str | None = None
    targets: tuple[str, ...] = ()
    batches: tuple[BatchProfile, ...] = (BatchProfile(),)
    size: SizeProfile | None = None
    tf32: bool = False
    workspace_mib: int | None = None
    strip: bool = False
    refit: bool = False
    timing_cache: Path | None = None
    pin_timing_cache: bool = False
    optimization_level: int | None = None
    hardware_compatibility: HardwareCompatibility = HardwareCompatibility.NONE
    version_compatible: bool = False
    dla_core: int | None = None
    out: Path | None = None
    sanity: bool = True
    force: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            problems.append(f"optimization level is {self.optimization_level}, expected 0 to 5")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            problems.append(f"workspace is {self.workspace_mib} MiB, expected 1 or more")
        if self.dla_core is not None and self.dla_core < 0:
            problems.append(f"DLA core is {self.dla_core}, expected 0 or more")
        if not self.batches:
            problems.append("no batch profile was given")
        if len(set(self.batches)) != len(self.batches):
            problems.append("a batch profile was given twice")
        if len(set(self.targets)) != len(self.targets):
            problems.append(f"targets {', '.join(self.targets)} name one GPU twice")
        if self.pin_timing_cache and self.timing_cache is None:
            problems.append("a pinned timing cache must be named")
        if self.out is not None and Path(self.out).suffix != ".engine":
            problems.append(f"out is {self.out}, expected a name that ends in .engine")
        if problems:
            raise ConfigError("; ".join(problems), remedy="see `resnet-deploy build --help`")
        if self.product is not None:
            self.check_product(find_product(self.product))

    def check_product(self, product: Product) -> None:
        """Raises ConfigError where an option is set that `product` does not have; names the one that does."""
        if not product.ahead_of_time:
            return
        given = {
            "timing cache: it measures nothing while it builds": self.timing_cache is not None,
            "optimization level: it builds the same bytes for each": self.optimization_level is not None,
            "hardware compatibility level: the targets name the GPUs an engine runs on": self.hardware_compatibility
            is not HardwareCompatibility.NONE,
            "version-compatible engines: an engine runs on the version that built it": self.version_compatible,
            "DLA: it runs on GPUs alone": self.dla_core is not None,
        }
        lacking = [what for what, is_set in given.items() if is_set]
        if lacking:
            raise ConfigError(
                f"{product.name} has no {'; no '.join(lacking)}",
                remedy="leave the option away, or build with product tensorrt, which has it",
            )

    @property
    def file(self) -> Path:
        """Where the engine goes."""
        return Path(self.out) if self.out is not None else Path(self.onnx).with_suffix(".engine")
