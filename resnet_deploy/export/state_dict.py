"""Reading a state dict that someone else saved: never running its code, and finding it in its wrapping."""

from __future__ import annotations

__all__ = ["read_state_dict"]

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resnet_deploy.core.errors import ArtifactError

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema")
_PREFIXES = ("module.", "_orig_mod.")
_RENAMED_PREFIXES = {"linear.": "fc."}


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The tensors of a `.safetensors` file or of anything `torch.save` wrote, under this package's keys.

    Returns:
        Key -> tensor on the CPU, and how many keys each renaming rule changed.
    Raises:
        ArtifactError: Missing, truncated, no state dict inside, or only loadable by running its code.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ArtifactError(f"{path}: {what}; expected a .pth, .th, .pt or .safetensors file", remedy="check the path")
    loaded = _load_safetensors(path) if _is_safetensors(path) else _load_torch(path)
    return _renamed(_unwrapped(loaded, path), path)


def _is_safetensors(path: Path) -> bool:
    """By content where the name does not say: a header length, then JSON."""
    with open(path, "rb") as file:
        head = file.read(9)
    return path.suffix == ".safetensors" or head[8:9] == b"{"


def _load_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(
            f"{path} ({path.stat().st_size} bytes) is not a whole safetensors file: {error}",
            remedy="copy or download it again",
        ) from error


def _load_torch(path: Path) -> Any:
    size = path.stat().st_size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters here ends as an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can make the unpickler fail in any way
        if isinstance(error, pickle.UnpicklingError) and (found := re.search(r"GLOBAL\s+(\w+(?:\.\w+)+)", str(error))):
            raise ArtifactError(
                f"{path} holds more than tensors ({found[1]}), and loading that would run code from the file",
                remedy="where the file comes from, save only the weights: torch.save(net.state_dict(), FILE)",
            ) from error
        raise ArtifactError(
            f"{path} ({size} bytes) is truncated or not a file that torch.save wrote: {_reason(error)}",
            remedy="copy or download it again; expected a .pth, .th, .pt or .safetensors state dict",
        ) from error


def _reason(error: Exception) -> str:
    """The telling line of an unpickler's message, without torch's advice to load the file unsafely."""
    advice = ("Weights only load failed", "Please file an issue", "Check the documentation", "(1)", "(2)")
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(advice)]
    return telling[0][:160] if telling else type(error).__name__


def _unwrapped(loaded: Any, path: Path) -> Mapping[str, Tensor]:
    """The mapping from names to tensors, looked for under the names that training scripts use."""
    for _ in range(3):
        if not isinstance(loaded, Mapping):
            break
        if loaded and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()):
            return loaded
        inner = next((loaded[key] for key in _WRAPPINGS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    if isinstance(loaded, Mapping):
        got = f"a mapping with the keys {', '.join(map(repr, list(loaded)[:5])) or '(none)'}"
    else:
        got = f"a {type(loaded).__name__}"
    raise ArtifactError(
        f"{path} holds {got}, expected a state dict (names -> tensors), bare or under {', '.join(_WRAPPINGS)}",
        remedy="save the weights alone: torch.save(net.state_dict(), FILE)",
    )


def _renamed(state: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], dict[str, int]]:
    counts: dict[str, int] = {}
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = key
        while prefix := next((p for p in _PREFIXES if name.startswith(p)), None):
            name = name.removeprefix(prefix)
            counts[f"{prefix}* -> *"] = counts.get(f"{prefix}* -> *", 0) + 1
        for old, new in _RENAMED_PREFIXES.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
                counts[f"{old}* -> {new}*"] = counts.get(f"{old}* -> {new}*", 0) + 1
        if name in result:
            raise ArtifactError(f"{path}: two keys stand for {name!r}, the second is {key!r}", remedy="keep one")
        result[name] = tensor.float() if tensor.is_floating_point() else tensor
    return result, counts
