"""Reading tensors that someone else saved: never running a file's code, and finding them in their wrapping."""

from __future__ import annotations

__all__ = ["StoredWeights", "read_weights"]

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.export.caffe_model import CaffeLayerFacts, read_caffemodel

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema")
_KINDS = ".pth, .th, .pt, .safetensors, .npz or .caffemodel"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredWeights:
    """The tensors of a file under the file's own names.

    Attributes:
        tensors: Name -> tensor on the CPU, in the type it was stored in.
        entry: Where in the file they were, e.g. "model.state_dict"; empty where the file is the state dict.
        beside: Other entries of the file -> what they are, in words.
        caffe_layers: What a .caffemodel says of its layers; empty for every other kind of file.
    """

    tensors: dict[str, Tensor]
    entry: str = ""
    beside: dict[str, str] = field(default_factory=dict)
    caffe_layers: dict[str, CaffeLayerFacts] = field(default_factory=dict)


def read_weights(path: Path, *, entry: str | None = None) -> StoredWeights:
    """Read a `.safetensors`, `.npz` or `.caffemodel` file, or anything `torch.save` wrote.

    Args:
        entry: Which state dict of a training checkpoint to take, e.g. "model_ema"; None takes the first of
            state_dict, model_state_dict, model, net, state_dict_ema, model_ema.
    Raises:
        ArtifactError: Missing, truncated, no state dict inside, or only loadable by running its code.
        ConfigError: There is no such entry; lists those there are.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ArtifactError(f"{path}: {what}; expected a {_KINDS} file", remedy="check the path")
    if path.suffix == ".caffemodel":
        blobs, layers = read_caffemodel(path)
        _no_entry(entry, path)
        return StoredWeights(tensors={k: _tensor(v) for k, v in blobs.items()}, caffe_layers=layers)
    if path.suffix == ".npz":
        _no_entry(entry, path)
        return StoredWeights(tensors=_load_npz(path))
    loaded = _load_safetensors(path) if _is_safetensors(path) else _load_torch(path)
    return _unwrapped(loaded, path, entry)


def _no_entry(entry: str | None, path: Path) -> None:
    if entry is not None:
        raise ConfigError(f"{path} holds one set of weights, no entry {entry!r}", remedy="leave --entry away")


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _load_npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: _tensor(archive[name]) for name in archive.files}
    except (ValueError, TypeError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        # numpy takes any other file for a pickle, and advises to load it unsafely
        reason = "it holds Python objects, or is another kind of file" if "allow_pickle" in str(error) else error
        raise ArtifactError(
            f"{path} ({path.stat().st_size} bytes) is not a whole .npz file of numeric arrays: {reason}",
            remedy="copy it again, or write it with numpy.savez and plain arrays: Python objects are not loaded",
        ) from error


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
        # Reference training scripts put their parsed arguments into the checkpoint. A Namespace only holds
        # attributes: rebuilding one runs no code of the file, and without it those files would be refused.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
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
            remedy=f"copy or download it again; expected a {_KINDS} file",
        ) from error


def _reason(error: Exception) -> str:
    """The telling line of an unpickler's message, without torch's advice to load the file unsafely."""
    advice = ("Weights only load failed", "Please file an issue", "Check the documentation", "(1)", "(2)")
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(advice)]
    return telling[0][:160] if telling else type(error).__name__


def _unwrapped(loaded: Any, path: Path, entry: str | None) -> StoredWeights:
    """The mapping from names to tensors: at `entry`, then under the names that training scripts use."""
    taken: list[str] = []
    beside: dict[str, str] = {}

    def step_into(key: str) -> Any:
        beside.update({".".join([*taken, str(k)]): _what(v) for k, v in loaded.items() if k != key})
        taken.append(key)
        return loaded[key]

    for key in entry.split(".") if entry else []:
        if not isinstance(loaded, Mapping) or not isinstance(loaded.get(key), Mapping):
            raise _no_such_entry(loaded, path, entry)
        loaded = step_into(key)
    for _ in range(3):
        if _is_state_dict(loaded):
            return StoredWeights(tensors=dict(loaded), entry=".".join(taken), beside=beside)
        if not isinstance(loaded, Mapping):
            break
        inner = next((key for key in _WRAPPINGS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        loaded = step_into(inner)
    if isinstance(loaded, Mapping):
        got = f"a mapping with the keys {', '.join(map(repr, list(loaded)[:5])) or '(none)'}"
    else:
        got = f"a {type(loaded).__name__}"
    raise ArtifactError(
        f"{path} holds {got}, expected a state dict (names -> tensors), bare or under {', '.join(_WRAPPINGS)}",
        remedy="save the weights alone: torch.save(net.state_dict(), FILE)",
    )


def _no_such_entry(loaded: Any, path: Path, entry: str | None) -> ConfigError:
    items = loaded.items() if isinstance(loaded, Mapping) else ()
    there = [str(key) for key, value in items if isinstance(value, Mapping)]
    return ConfigError(
        f"{path} has no state dict {entry!r}; it holds {', '.join(there) or 'a bare state dict'}",
        remedy="name one of these with --entry, or leave --entry away",
    )


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _what(value: Any) -> str:
    if _is_state_dict(value):
        return "another state dict; --entry takes it instead"
    return "training state, not weights"
