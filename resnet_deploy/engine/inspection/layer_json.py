"""Layers of an engine from the JSON of TensorRT's engine inspector, or of `trtexec --exportLayerInfo`.

Two layouts are known. Up to 10.x a tensor has one field "Format/Datatype" and the engine a list of names "Bindings";
from 11.x on a tensor has "Format" and a data type of its own, and the engine a list of objects "I/O Tensors".
Convolutions are called CaskConvolution and the like, or "correlation" where TensorRT's compiler made them; the latter
lists weights under "Constants", or among the inputs.

Source: NVIDIA TensorRT documentation, "Engine Inspector" and "Migrating IEngineInspector Usage from TensorRT 10.x to
11.x"; layer files of ResNet-18 and ResNet-50 in NVIDIA's trt-engine-explorer.
"""

from __future__ import annotations

__all__ = ["layers_from_json", "read_layer_file"]

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.engine.inspection.layers import (
    EngineLayer,
    EngineLayers,
    LayerTensor,
    element_type,
    kind_of_layer,
    onnx_nodes_of,
)

_LATER_PROFILE = re.compile(r"\[profile (\d+)\]")
_DATA_TYPE_KEYS = ("Format/Datatype", "Format/DataType", "DataType", "Datatype", "Data Type")
_REBUILD = (
    "build it again with the profiling verbosity DETAILED (`resnet-deploy build` does so; trtexec: "
    "--profilingVerbosity=detailed)"
)


def read_layer_file(file: Path) -> EngineLayers:
    """Read what `trtexec --exportLayerInfo=FILE` wrote, or a saved answer of the engine inspector.

    Raises:
        ArtifactError: Not there, not JSON, of another layout (shows its keys), or with names of layers only.
    """
    file = Path(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ArtifactError(
            f"{file}: no such file", remedy="write it with trtexec --loadEngine=... --exportLayerInfo=FILE.json"
        ) from error
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{file} is not text, expected JSON", remedy="give the file of --exportLayerInfo"
        ) from error
    return layers_from_json(text, source=str(file))


def layers_from_json(text: str, *, source: str, product: str = "", version: str = "") -> EngineLayers:
    """Parse the inspector's answer for a whole engine.

    Args:
        source: Said in errors and in the result.
    Raises:
        ArtifactError: As for `read_layer_file`.
    """
    document = _parsed(text, source)
    entries = document.get("Layers")
    if not isinstance(entries, list):
        raise ArtifactError(
            f"{source} is JSON with {_shown(document)}, expected an engine's layers under 'Layers'",
            remedy="give the file of trtexec --exportLayerInfo (not --exportProfile or --exportTimes)",
        )
    if entries and not any(isinstance(entry, Mapping) for entry in entries):
        raise ArtifactError(f"{source} holds the names of {len(entries)} layers and nothing else", remedy=_REBUILD)
    layers, profiles = [], {0}
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise ArtifactError(f"{source}: layer {index} is {entry!r:.80}, expected an object", remedy=_REBUILD)
        profile = _LATER_PROFILE.search(str(entry.get("Name", "")))
        profiles.add(int(profile[1]) if profile else 0)
        if profile is None:
            layers.append(_layer(entry, index, source))
    if not layers:
        raise ArtifactError(f"{source} holds no layer", remedy=_REBUILD)
    return EngineLayers(
        source=source,
        layout="11.x" if "I/O Tensors" in document else "10.x",
        product=product,
        version=version,
        layers=tuple(layers),
        io=_io_tensors(document, layers),
        num_profiles=len(profiles),
    )


def _parsed(text: str, source: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text, strict=False)  # names may hold the separators 0x1e and 0x1f as they are
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits, too
        raise ArtifactError(f"{source} is not JSON, or was cut off: {error}", remedy="export it again") from error
    if isinstance(document, list):
        return {"Layers": document}
    if not isinstance(document, Mapping):
        raise ArtifactError(f"{source} holds {document!r:.80}, expected an engine's layers", remedy="export it again")
    return document


def _shown(document: Mapping[str, Any]) -> str:
    keys = [repr(key) for key in document]
    return f"the keys {', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''}" if keys else "no key"


def _layer(entry: Mapping[str, Any], index: int, source: str) -> EngineLayer:
    layer_type = entry.get("LayerType")
    if not isinstance(layer_type, str):
        raise ArtifactError(
            f"{source}: layer {index} has {_shown(entry)}, expected 'LayerType', 'Inputs' and 'Outputs'",
            remedy=_REBUILD,
        )
    name = str(entry.get("Name", ""))
    kind = kind_of_layer(layer_type, str(entry.get("ParameterType", "")), name)
    inputs = _tensors(entry.get("Inputs"))
    return EngineLayer(
        name=name,
        type=layer_type,
        kind=kind,
        inputs=inputs,
        outputs=_tensors(entry.get("Outputs")),
        weights=_weights(entry, kind, inputs),
        tactic=str(entry.get("TacticName", "")),
        nodes=onnx_nodes_of(str(entry.get("Metadata", ""))) or _nodes_by_name(name, kind),
    )


def _tensors(value: Any) -> tuple[LayerTensor, ...]:
    entries = value if isinstance(value, list) else []
    return tuple(_tensor(entry) for entry in entries if isinstance(entry, Mapping))


def _tensor(entry: Mapping[str, Any]) -> LayerTensor:
    told = next((str(entry[key]) for key in _DATA_TYPE_KEYS if key in entry), "")
    layout = str(entry.get("Format", told))
    shape = entry.get("Dimensions")
    known = isinstance(shape, list) and all(isinstance(size, int) for size in shape)
    return LayerTensor(
        name=str(entry.get("Name", "")),
        dtype=element_type(told) or element_type(layout),
        format=layout,
        shape=tuple(shape) if known else None,
    )


def _weights(entry: Mapping[str, Any], kind: str, inputs: tuple[LayerTensor, ...]) -> str:
    if kind not in ("convolution", "matrix product"):
        return ""
    for key in ("Weights", "ConvWeights"):
        if isinstance(told := entry.get(key), Mapping):
            return element_type(str(told.get("Type", "")))
    constants = [tensor for tensor in _tensors(entry.get("Constants")) if tensor.shape is None or len(tensor.shape) > 1]
    if constants:
        return max(constants, key=lambda tensor: tensor.num_values or 0).dtype
    # a matrix product of the compiler lists its weight second; an addend of a convolution stands there, too
    return inputs[1].dtype if kind == "matrix product" and len(inputs) > 1 else ""


def _nodes_by_name(name: str, kind: str) -> tuple[str, ...]:
    """TensorRT before 8.6 gives no metadata; there a layer is called by its parts: "w + Conv_1 + PWN(Relu_2)"."""
    if kind in ("reformat", "nothing"):
        return ()
    parts = (part for piece in name.split(" + ") for part in piece.replace("PWN(", "").rstrip(")").split(", "))
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _io_tensors(document: Mapping[str, Any], layers: list[EngineLayer]) -> tuple[LayerTensor, ...]:
    if isinstance(told := document.get("I/O Tensors"), list):
        return _tensors(told)
    names = document.get("Bindings")
    known = {tensor.name: tensor for layer in layers for tensor in (*layer.inputs, *layer.outputs)}
    return tuple(
        known.get(name, LayerTensor(name=name, dtype=""))
        for name in (names if isinstance(names, list) else ())
        if isinstance(name, str) and not _LATER_PROFILE.search(name)
    )
