"""The rules that Triton holds one model's configuration and folder to when it loads it.

Sources: triton-inference-server/core model_config_utils.cc (ValidateModelConfig, ValidateIOShape, ValidateInstanceGroup),
backend_model_instance.cc (GenerateWarmupData), model_lifecycle.cc (VersionsToLoad), label_provider.cc; onnxruntime_backend
onnxruntime_utils.cc (CompareDimsSupported); tensorrt_backend model_state.cc. Where Triton only warns, or takes more than is
meant (a warm-up file that is too long, a label file that is too short), we refuse.
"""

from __future__ import annotations

__all__ = ["ENSEMBLE_PLATFORM", "ONNX_PLATFORM", "PLAN_PLATFORM", "model_problems"]

import math
import re
from collections.abc import Iterator
from pathlib import Path

from resnet_deploy.ship.triton.config import InstanceKind, ModelConfig, ModelTensor, Warmup

ENSEMBLE_PLATFORM = "ensemble"
ONNX_PLATFORM = "onnxruntime_onnx"
PLAN_PLATFORM = "tensorrt_plan"
_BACKENDS = {ONNX_PLATFORM: "onnxruntime", PLAN_PLATFORM: "tensorrt", ENSEMBLE_PLATFORM: None}
_COMPUTE_CAPABILITY = re.compile(r"[1-9][0-9]*\.[0-9]")
_VERSION = re.compile(r"[1-9][0-9]*")
_FOLDERS_OF_TRITON = ("warmup", "initial_state", "configs")


def model_problems(config: ModelConfig, folder: Path) -> list[str]:
    """Every reason for which Triton would not load the model in `folder`, or would serve something else than is meant."""
    problems = [
        *_identity_problems(config, folder),
        *_tensor_problems(config),
        *_schedule_problems(config),
        *(problem for sample in config.model_warmup for problem in _warmup_problems(config, sample, folder)),
        *_version_problems(config, folder),
        *_label_problems(config, folder),
    ]
    if config.platform == ONNX_PLATFORM and not problems:
        problems += _graph_problems(config, folder)
    return [f"{config.name}: {problem}" for problem in problems]


def _identity_problems(config: ModelConfig, folder: Path) -> Iterator[str]:
    if config.name != folder.name:
        yield f"its folder is called {folder.name!r}, Triton takes the folder's name"
    if config.platform not in _BACKENDS:
        yield f"platform {config.platform!r} is none of {', '.join(_BACKENDS)}"
    elif config.backend != _BACKENDS[config.platform]:
        yield f"backend is {config.backend!r}, of platform {config.platform} it is {_BACKENDS[config.platform]!r}"
    if config.max_batch_size < 0:
        yield f"max_batch_size {config.max_batch_size} is negative"
    if config.version_policy.latest.num_versions < 1:
        yield f"version_policy serves the newest {config.version_policy.latest.num_versions} versions, expected 1 or more"


def _tensor_problems(config: ModelConfig) -> Iterator[str]:
    for side, tensors in (("input", config.input), ("output", config.output)):
        names = [tensor.name for tensor in tensors]
        if not names or len(set(names)) < len(names):
            yield f"{side} names are {names}, expected one or more, each once"
        for tensor in tensors:
            if not tensor.name or not tensor.dims or any(size < 1 and size != -1 for size in tensor.dims):
                yield f"{side} {tensor.name!r} has dims {list(tensor.dims)}, expected sizes of 1 or more, or -1"


def _schedule_problems(config: ModelConfig) -> Iterator[str]:
    is_ensemble = config.platform == ENSEMBLE_PLATFORM
    if is_ensemble != (config.ensemble_scheduling is not None):
        yield "ensemble_scheduling belongs to platform ensemble, and to no other"
    for name in ("instance_group", "optimization", "model_warmup", "dynamic_batching"):
        if is_ensemble and getattr(config, name):
            yield f"an ensemble has no {name}; the models of its steps do"
    if not is_ensemble and not config.instance_group:
        yield "instance_group is empty, expected one or more"
    for group in config.instance_group:
        if group.count < 1:
            yield f"instance_group has {group.count} instances, expected 1 or more"
        if config.platform == PLAN_PLATFORM and group.kind is not InstanceKind.GPU:
            yield f"instance_group is {group.kind.value}, a TensorRT plan runs on KIND_GPU only"
        if config.platform != PLAN_PLATFORM and group.profile:
            yield f"instance_group has profiles {list(group.profile)}, only a TensorRT plan has any"
    if config.dynamic_batching is not None:
        for size in config.dynamic_batching.preferred_batch_size:
            if not 1 <= size <= config.max_batch_size:
                yield f"preferred_batch_size {size} is outside 1 to max_batch_size {config.max_batch_size}"


def _warmup_problems(config: ModelConfig, sample: Warmup, folder: Path) -> Iterator[str]:
    if not 1 <= sample.batch_size <= max(config.max_batch_size, 1):
        yield f"warm-up {sample.name!r} has batch_size {sample.batch_size}, max_batch_size is {config.max_batch_size}"
    inputs = {tensor.name: tensor for tensor in config.input}
    if set(inputs) != set(sample.inputs):
        yield f"warm-up {sample.name!r} gives {sorted(sample.inputs)}, the inputs are {sorted(inputs)}"
        return
    for name, given in sample.inputs.items():
        tensor = inputs[name]
        if given.data_type is not tensor.data_type:
            yield f"warm-up {sample.name!r}: {name} is {given.data_type.value}, the input {tensor.data_type.value}"
        if -1 in given.dims or not _same_dims(given.dims, tensor.dims):
            yield f"warm-up {sample.name!r}: {name} has dims {list(given.dims)}, the input takes {list(tensor.dims)}"
            continue
        file = folder / "warmup" / given.input_data_file
        expected = math.prod(given.dims) * given.data_type.size_bytes
        if not file.is_file() or file.stat().st_size != expected:
            got = f"{file.stat().st_size} bytes" if file.is_file() else "not there"
            yield f"warm-up {sample.name!r}: warmup/{given.input_data_file} is {got}, {list(given.dims)} takes {expected} bytes"


def _version_problems(config: ModelConfig, folder: Path) -> Iterator[str]:
    for key in config.cc_model_filenames:
        if not _COMPUTE_CAPABILITY.fullmatch(key):
            yield f"cc_model_filenames has the key {key!r}, expected a compute capability such as '8.6'"
    folders = {entry.name for entry in folder.iterdir() if entry.is_dir()} - set(_FOLDERS_OF_TRITON)
    if not folders or not all(map(_VERSION.fullmatch, folders)):
        yield f"its versions are the folders {sorted(folders)}, expected whole numbers from 1 without leading zeros"
        return
    files = {*config.cc_model_filenames.values(), config.default_model_filename} - {None}
    for version in sorted(folders):
        for name in sorted(files):
            if not (folder / version / name).is_file():
                yield f"{version}/{name} is not there"


def _label_problems(config: ModelConfig, folder: Path) -> Iterator[str]:
    for tensor in config.output:
        if tensor.label_filename is None:
            continue
        path = folder / tensor.label_filename
        if not path.is_file() or Path(tensor.label_filename).name != tensor.label_filename:
            yield f"label_filename {tensor.label_filename!r} is no file of its folder"
            continue
        count = len(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
        if (count,) != tensor.dims:
            yield f"{tensor.label_filename} has {count} lines, output {tensor.name!r} has dims {list(tensor.dims)}"


def _graph_problems(config: ModelConfig, folder: Path) -> Iterator[str]:
    """Names, types and sizes against the ONNX file's own; output sizes must be written in the graph as they are served."""
    import onnx

    for path in sorted(folder.glob(f"*/{config.default_model_filename}")):
        graph = onnx.load(path, load_external_data=False).graph
        stored = {tensor.name for tensor in graph.initializer}
        for side, tensors, values in (
            ("input", config.input, [value for value in graph.input if value.name not in stored]),
            ("output", config.output, graph.output),
        ):
            found = {value.name: value for value in values}
            if set(found) != {tensor.name for tensor in tensors}:
                yield f"{side} {[tensor.name for tensor in tensors]}, the file has {sorted(found)}"
                continue
            for tensor in tensors:
                yield from _graph_tensor_problems(
                    tensor, found[tensor.name], config.max_batch_size, exact=side == "output"
                )


def _graph_tensor_problems(tensor: ModelTensor, value, max_batch: int, *, exact: bool) -> Iterator[str]:
    from onnx import helper

    dims = value.type.tensor_type.shape.dim
    sizes = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
    served = [-1, *tensor.dims] if max_batch else list(tensor.dims)
    dtype = str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    fits = len(sizes) == len(served) and all(
        got == wanted or (got == -1 and not exact) for got, wanted in zip(sizes, served, strict=True)
    )
    if not fits or (max_batch and sizes[0] != -1):
        yield f"{tensor.name!r} is served as {served}, the file says {sizes}"
    if dtype != {"TYPE_FP32": "float32", "TYPE_UINT8": "uint8"}[tensor.data_type.value]:
        yield f"{tensor.name!r} is served as {tensor.data_type.value}, the file says {dtype}"


def _same_dims(given: tuple[int, ...], taken: tuple[int, ...]) -> bool:
    return len(given) == len(taken) and all(b in (-1, a) for a, b in zip(given, taken, strict=True))
