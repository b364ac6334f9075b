"""Does an engine run on that GPU, with that library, under that driver: the rules, free of files and of machines.

Sources: NVIDIA's documentation, TensorRT-RTX "Engine Compatibility" and "CPU-Only AOT and TensorRT-RTX Engines",
TensorRT "Engine Compatibility" and the support matrix of 11.4.
"""

from __future__ import annotations

__all__ = [
    "BuiltFor",
    "PossibleGpu",
    "built_for",
    "check_driver",
    "check_gpu",
    "check_library",
    "check_memory",
    "check_platform",
    "parse_gpu",
]

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.engine.header import OPEN_ENDED_BIT, EngineHeader
from resnet_deploy.engine.preflight.check import Check, State
from resnet_deploy.engine.preflight.installed import InstalledProduct

_KNOWN_SMS = (50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121)
_AMPERE_SM, _NEWEST_TARGET_SM = 80, 121
_NEXT_MAJOR = {8: 10, 10: 11}  # version-compatible engines; "No other combination across major versions is supported"


@dataclass(frozen=True, kw_only=True, slots=True)
class PossibleGpu:
    """A GPU the engine may meet.

    Attributes:
        sm: Compute capability as a target has it, e.g. 89 for 8.9, 120 for 12.0.
        name: Empty where only the compute capability is known.
        memory_bytes: None where not known.
    """

    sm: int
    name: str = ""
    memory_bytes: int | None = None

    def __str__(self) -> str:
        return f"sm{self.sm} ({self.name})" if self.name else f"sm{self.sm}"


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltFor:
    """What an engine was built with and for, as far as header and manifest tell.

    Attributes:
        version: Of the product, four numbers.
        targets: Compute capabilities (89 for 8.9) of TensorRT-RTX; empty for TensorRT.
        open_ended: TensorRT-RTX built it without targets, so for later GPUs too.
        gpu: The GPU it was built on, where it was built for that; None where nothing says.
        hardware_compatibility: "none", "same-compute-capability" or "ampere-plus" (TensorRT).
        version_compatible: Later versions of TensorRT may run it.
        weights_bytes: Of the weights stored in it; None where the header does not say.
        platform: It was built on, e.g. "Linux x86_64"; empty where nothing says.
    """

    product: str
    version: str
    targets: tuple[int, ...] = ()
    open_ended: bool = False
    gpu: PossibleGpu | None = None
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    weights_bytes: int | None = None
    platform: str = ""


def built_for(header: EngineHeader, details: Mapping[str, Any]) -> BuiltFor:
    """Join the header with the `details` of the engine's manifest ({} where there is none); the header wins."""
    return BuiltFor(
        product=header.product,
        version=header.version,
        targets=tuple(parse_gpu(target).sm for target in header.targets),
        open_ended=bool(header.unnamed_bits & OPEN_ENDED_BIT),
        gpu=_recorded_gpu(details.get("gpu")),
        hardware_compatibility=str(details.get("hardware_compatibility") or "none"),
        version_compatible=bool(details.get("version_compatible", False)),
        weights_bytes=header.weights_bytes,
        platform=str(details.get("platform") or ""),
    )


def _recorded_gpu(record: Any) -> PossibleGpu | None:
    if not isinstance(record, Mapping):
        return None
    try:
        return replace(parse_gpu(str(record.get("compute_capability"))), name=str(record.get("name") or ""))
    except ConfigError:
        return None  # of a GPU that this release has not heard of; what is not known is told as such


def parse_gpu(text: str) -> PossibleGpu:
    """Read "sm89" or "8.9".

    Raises:
        ConfigError: Neither form, or no compute capability of a GPU.
    """
    match = re.fullmatch(r"(?:sm_?)?(\d{2,3})|(\d{1,2})\.(\d)", text.strip().lower())
    sm = int(match[1] or match[2] + match[3]) if match else None
    if sm not in _KNOWN_SMS:
        raise ConfigError(
            f"{text!r} is no compute capability", remedy=f"one of {', '.join(f'sm{sm}' for sm in _KNOWN_SMS)}"
        )
    return PossibleGpu(sm=sm)


def check_gpu(built: BuiltFor, gpu: PossibleGpu) -> Check:
    """Whether the engine holds, or may be given, code for that GPU."""
    state, text = (_rtx_gpu if built.product == "tensorrt-rtx" else _tensorrt_gpu)(built, gpu)
    return Check(subject=f"GPU {gpu}", state=state, text=text)


def _rtx_gpu(built: BuiltFor, gpu: PossibleGpu) -> tuple[State, str]:
    named = ", ".join(f"sm{sm}" for sm in built.targets) or str(built.gpu)
    if gpu.sm in built.targets:
        return State.GOOD, f"built for {named}"
    if built.gpu is not None and gpu.sm == built.gpu.sm:
        return State.GOOD, f"built on {built.gpu}"
    if not built.targets and built.gpu is None:
        return State.NOT_CHECKED, "its header names no GPU that is known here, nor does a manifest"
    if built.open_ended and gpu.sm > _NEWEST_TARGET_SM:
        return State.NOT_CHECKED, f"built for {named} and later; NVIDIA promises this, nobody has tried it here"
    if built.open_ended and gpu.sm >= _AMPERE_SM:
        return State.NOT_CHECKED, f"built for {named} and later; sm{gpu.sm} is none that TensorRT-RTX lists"
    asked = "; sm75 has to be asked for when building" if gpu.sm == 75 else ""
    return State.MISFIT, f"built for {named}, not for sm{gpu.sm}{asked}"


def _tensorrt_gpu(built: BuiltFor, gpu: PossibleGpu) -> tuple[State, str]:
    level = built.hardware_compatibility
    if level == "ampere-plus":
        state = State.GOOD if gpu.sm >= _AMPERE_SM else State.MISFIT
        return state, f"built for every GPU from sm{_AMPERE_SM} on (hardware compatibility {level})"
    if built.gpu is None:
        return State.NOT_CHECKED, "its header does not say which GPU it was built on, nor does a manifest"
    if gpu.sm != built.gpu.sm:
        return State.MISFIT, f"built on {built.gpu}; it does not run on another compute capability"
    if level == "same-compute-capability":
        return State.GOOD, f"built for every sm{gpu.sm} (hardware compatibility {level})"
    if gpu.name and gpu.name != built.gpu.name:
        return State.NOT_CHECKED, f"built on {built.gpu}; TensorRT warns of another model of the same capability"
    return State.GOOD, f"built on {built.gpu}"


def check_library(built: BuiltFor, installed: tuple[InstalledProduct, ...]) -> Check:
    """Whether one of the installed releases runs the engine; `installed` holds those of its product."""
    needed = f"{built.product} {built.version}"
    if built.version_compatible:
        needed += " or later (it is version compatible)"
    fitting = [one for one in installed if _version_runs(built, one.version)]
    if fitting:
        state, text = State.GOOD, f"needs {needed}: {_listed(fitting)}"
    elif installed:
        state, text = State.MISFIT, f"needs {needed}; here is {_listed(installed)}"
    else:
        state, text = State.NOT_CHECKED, f"needs {needed}; found neither its Python package nor its library here"
    return Check(subject="library", state=state, text=text)


def _version_runs(built: BuiltFor, version: str) -> bool:
    here, there = _numbers(version), _numbers(built.version)
    if here[:4] == there[:4]:
        return True
    if not built.version_compatible or here < there:
        return False
    return here[0] == there[0] or here[0] == _NEXT_MAJOR.get(there[0])


def _numbers(version: str) -> tuple[int, ...]:
    """(1, 7, 1, 116) of "1.7.1.116"; what follows the numbers ("10.3.0.post1") is left out."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:4])


def _listed(installed: list[InstalledProduct] | tuple[InstalledProduct, ...]) -> str:
    return ", ".join(f"{one.version} ({one.source})" for one in installed)


def check_driver(installed: tuple[InstalledProduct, ...], driver_version: str | None) -> Check:
    """Whether the driver serves the CUDA that the installed library was made for."""
    needed = min((one.cuda_major for one in installed if one.cuda_major is not None), default=None)
    if driver_version is None:
        state, text = State.NOT_CHECKED, "no NVIDIA driver here"
    elif needed is None:
        state, text = State.NOT_CHECKED, f"it serves CUDA {driver_version}; nothing here says what the library needs"
    else:
        state = State.GOOD if int(driver_version.split(".")[0]) >= needed else State.MISFIT
        text = f"the library needs CUDA {needed}, the driver serves {driver_version}"
    return Check(subject="driver", state=state, text=text)


def check_memory(built: BuiltFor, gpu: PossibleGpu) -> Check | None:
    """Whether the weights alone fit into the GPU's memory; None where one of the two is not known."""
    if built.weights_bytes is None or gpu.memory_bytes is None:
        return None
    weights, memory = built.weights_bytes / 2**20, gpu.memory_bytes / 2**20
    return Check(
        subject=f"memory of {gpu}",
        state=State.GOOD if weights <= memory else State.MISFIT,
        text=f"the weights take {weights:,.1f} MiB of {memory:,.0f}; activations come on top",
    )


def check_platform(built: BuiltFor, here: str) -> Check | None:
    """Whether an engine of TensorRT was built on this operating system and processor; None where nobody asks that.

    Args:
        here: As `BuiltFor.platform`.
    """
    if built.product != "tensorrt" or not built.platform:
        return None
    state = State.GOOD if built.platform == here else State.MISFIT
    return Check(subject="platform", state=state, text=f"built on {built.platform}, here is {here}")
