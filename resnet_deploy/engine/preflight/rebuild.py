"""The command that builds an engine again, from what its manifest recorded."""

from __future__ import annotations

__all__ = ["rebuild_command"]

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.engine.header import RTX_TARGET_BITS

_SWITCHES = {
    "tf32": "--tf32",
    "strip": "--strip",
    "refit": "--refit",
    "version_compatible": "--version-compatible",
}
_VALUES = {
    "workspace_mib": "--workspace",
    "optimization_level": "--optimization-level",
    "hardware_compatibility": "--hardware-compatible",
    "dla_core": "--dla",
}
_ONLY_TENSORRT = ("version_compatible", "optimization_level", "hardware_compatibility", "dla_core")


def rebuild_command(file: Path, manifest: Manifest | None, *, sms: tuple[int, ...] = ()) -> str:
    """The `resnet-deploy build` line for an engine like `file`.

    Args:
        manifest: None where there is none that is the engine's; then an ONNX file of the same name beside it is taken.
        sms: GPUs it shall run on (89 for sm89); empty for those it was built for.
    Returns:
        Empty where nothing says which ONNX file it was built from.
    """
    if manifest is None and not file.with_suffix(".onnx").is_file():
        return ""
    options: Mapping[str, Any] = manifest.options if manifest is not None else {}
    product = str(options.get("product") or "tensorrt-rtx")
    if sms:
        # What TensorRT-RTX has no target for is built by TensorRT, on that GPU; as is all that was.
        ahead = product == "tensorrt-rtx" and all(f"sm{sm}" in RTX_TARGET_BITS for sm in sms)
        product, targets = ("tensorrt-rtx", [f"sm{sm}" for sm in sms]) if ahead else ("tensorrt", [])
    else:
        targets = [str(target) for target in _list(options.get("targets"))]
    words = ["resnet-deploy", "build", _source(file, manifest), "--product", product]
    if targets:
        words += ["--target", ",".join(targets)]
    if manifest is not None:
        words += [*_profile_words(manifest), *_option_words(options, product)]
        if options.get("pinned_timing_cache") and not sms:  # another GPU has other kernels
            words += ["--timing-cache", str(file.parent / str(manifest.details.get("timing_cache")))]
            words += ["--pin-timing-cache"]
    if Path(words[2]).with_suffix(".engine") != file:
        words += ["--out", str(file)]
    return shlex.join(words) + _where(product, sms)


def _option_words(options: Mapping[str, Any], product: str) -> list[str]:
    words = []
    for key in (*_SWITCHES, *_VALUES):
        value = options.get(key)
        if value is None or value is False or value == "none" or (product == "tensorrt-rtx" and key in _ONLY_TENSORRT):
            continue
        words += [_SWITCHES[key]] if key in _SWITCHES else [_VALUES[key], str(value)]
    return words


def _where(product: str, sms: tuple[int, ...]) -> str:
    if product != "tensorrt":
        return ""
    return f"   # on a machine with {' or '.join(f'sm{sm}' for sm in sms)}" if sms else "   # on the GPU it will run on"


def _source(file: Path, manifest: Manifest | None) -> str:
    record = next((one for one in manifest.inputs if one.role == "onnx"), None) if manifest is not None else None
    return os.path.normpath(file.parent / record.file) if record is not None else str(file.with_suffix(".onnx"))


def _profile_words(manifest: Manifest) -> list[str]:
    """`--profile`, and `--size` of a network for any image size, from the shapes that were recorded."""
    profiles = [one for one in _list(manifest.details.get("profiles")) if _is_profile(one)]
    if not profiles:
        return []
    batches = dict.fromkeys(":".join(str(one[name][0]) for name in ("min", "opt", "max")) for one in profiles)
    words = ["--profile", ",".join(batches)]
    tensors = _list(manifest.details.get("inputs"))
    if tensors and isinstance(tensors[0], Mapping) and any(isinstance(n, str) for n in tensors[0].get("shape", ())[2:]):
        words += ["--size", ":".join("x".join(map(str, profiles[0][name][2:])) for name in ("min", "opt", "max"))]
    return words


def _is_profile(value: Any) -> bool:
    return isinstance(value, Mapping) and all(len(_list(value.get(name))) == 4 for name in ("min", "opt", "max"))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
