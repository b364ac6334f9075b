"""Which GPUs an engine can be built for here, and which product does it."""

from __future__ import annotations

__all__ = [
    "CURRENT",
    "GPUS",
    "ahead_of_time_targets",
    "check_targets",
    "choose_product",
    "explain_targets",
    "usual_targets",
]

from types import ModuleType

from resnet_deploy.core.errors import ConfigError, MissingDependencyError
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.header import RTX_TARGET_BITS
from resnet_deploy.engine.products import PRODUCTS, Product, find_product

CURRENT = "current"
"""The target that means the GPU in this machine."""

_FIRST_FP8_SM = 89
GPUS = {
    "sm75": "T4, RTX 20",
    "sm80": "A100, A30",
    "sm86": "A10, A2, RTX 30",
    "sm87": "Jetson Orin",
    "sm89": "L4, L40S, RTX 40",
    "sm90": "H100, H200",
    "sm100": "B200",
    "sm103": "B300",
    "sm110": "Jetson Thor",
    "sm120": "RTX 50",
    "sm121": "DGX Spark",
}
"""Well-known GPUs of each compute capability (developer.nvidia.com/cuda-gpus)."""

_ONLY_TENSORRT = ("sm87", "sm90", "sm100", "sm103", "sm110")


def ahead_of_time_targets(trt: ModuleType) -> tuple[str, ...]:
    """Targets of the TensorRT-RTX that is installed, e.g. ("sm75", ... "sm121")."""
    members = trt.ComputeCapability.__members__
    return tuple(name.lower() for name in members if name.startswith("SM"))


def explain_targets(targets: tuple[str, ...]) -> str:
    """Which GPUs an engine of TensorRT-RTX for `targets` runs on, and which not, and why not."""
    runs = ", ".join(_named(target) for target in targets)
    others = [target for target in GPUS if target not in targets and target not in _ONLY_TENSORRT]
    could = ", ".join(_named(target) for target in others)
    never = ", ".join(_named(target) for target in _ONLY_TENSORRT if target not in targets)
    without = f"; not on {could}, for which it could be built with --target" if others else ""
    return f"runs on {runs}{without}; nor on {never}, for which tensorrt has to build on the spot"


def _named(target: str) -> str:
    return f"{target} ({GPUS[target]})" if target in GPUS else target


def usual_targets(product: Product, trt: ModuleType, precision: Precision) -> tuple[str, ...]:
    """GPUs to build for where none is named; empty leaves the choice to the product.

    TensorRT-RTX's own choice begins with sm80. For an FP8 network it would write such an engine without a word,
    though it refuses sm80 and sm86 where they are asked for by name; so those are left out here.
    """
    if precision is not Precision.FP8 or not product.ahead_of_time:
        return ()
    return tuple(target for target in ahead_of_time_targets(trt) if int(target.removeprefix("sm")) >= _FIRST_FP8_SM)


def choose_product(name: str | None) -> Product:
    """The product of that name; for None the one that can build for this machine.

    That is TensorRT-RTX, except where TensorRT is installed and the GPU here is none that TensorRT-RTX knows,
    or where only TensorRT is installed.
    """
    if name is not None:
        return find_product(name)
    rtx, classic = PRODUCTS["tensorrt-rtx"], PRODUCTS["tensorrt"]
    if not classic.installed:
        return rtx
    here = {f"sm{gpu.compute_capability.replace('.', '')}" for gpu in query_cuda_driver().gpus}
    foreign = bool(here) and not here & set(RTX_TARGET_BITS)
    return classic if foreign or not rtx.installed else rtx


def check_targets(product: Product, trt: ModuleType, targets: tuple[str, ...]) -> None:
    """Refuse what `product` can not build here, before any work is done.

    Raises:
        ConfigError: An unknown target, or one that only the other product serves; lists the known ones.
        MissingDependencyError: The GPU of this machine is needed and there is none.
    """
    driver = query_cuda_driver()
    if not product.ahead_of_time:
        if set(targets) - {CURRENT}:
            raise ConfigError(
                f"{product.name} builds for the GPU of the machine it runs on, not for {', '.join(targets)}",
                remedy="build on that GPU without a target, or build with product tensorrt-rtx",
            )
        if not driver.gpus:
            raise MissingDependencyError(
                f"{product.name} can build only where there is a GPU: {driver.reason}",
                remedy="build on a machine with the GPU you ship for, or with product tensorrt-rtx, which needs none",
            )
        return
    known = ahead_of_time_targets(trt)
    for target in targets:
        if target in _ONLY_TENSORRT:
            raise ConfigError(
                f"{product.name} can not build for {target} ({GPUS[target]}), only for {', '.join(known)}",
                remedy="build on such a GPU with product tensorrt",
            )
        if target not in (*known, CURRENT):
            raise ConfigError(
                f"unknown target {target!r}", remedy=f"known targets: {', '.join(known)}, and {CURRENT} (this GPU)"
            )
    if CURRENT in targets and len(targets) > 1:
        raise ConfigError(f"target {CURRENT} can not be mixed with {', '.join(set(targets) - {CURRENT})}")
    if CURRENT in targets and not driver.gpus:
        raise MissingDependencyError(
            f"target {CURRENT} asks for the GPU of this machine: {driver.reason}",
            remedy=f"name the GPU you ship for: {', '.join(known)}",
        )
