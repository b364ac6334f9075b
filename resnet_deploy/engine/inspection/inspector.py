"""Asking a loaded engine for its layers: the engine inspector of TensorRT 10.x, 11.x and TensorRT-RTX.

The engine is deserialised for it, which takes a GPU, and runs nothing. docs/reference/unverified.md lists what no test
here runs.
"""

from __future__ import annotations

__all__ = ["INSPECTOR_SOURCE", "ask_inspector", "inspect_on_gpu"]

from pathlib import Path
from types import ModuleType
from typing import Any

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.engine.header import read_engine_header
from resnet_deploy.engine.inspection.layer_json import layers_from_json
from resnet_deploy.engine.inspection.layers import EngineLayers
from resnet_deploy.engine.open import engine_bytes
from resnet_deploy.engine.products import collected_log, find_product, import_product, trt_logger

INSPECTOR_SOURCE = "the engine inspector"

_PROFILE = 0


def inspect_on_gpu(file: Path, *, trust: bool = False) -> EngineLayers:
    """Deserialise an engine on the GPU here and ask it for its layers.

    Args:
        trust: Deserialise a file without a manifest or with another hash than its manifest says. An engine is
            executable code: only for files of your own.
    Raises:
        ArtifactError: Damaged, changed, or built without the details that are asked for.
        MissingDependencyError: The product or a GPU is not here.
        EngineRunError: The product refuses the engine.
    """
    from resnet_deploy.engine.runners.cuda_device import open_cuda_device

    file = Path(file)
    product = read_engine_header(file).product
    data = engine_bytes(file, trust=trust)
    trt = import_product(find_product(product))
    device = open_cuda_device(f"asking {file} for its layers")
    with collected_log(trt) as log:
        runtime = trt.Runtime(trt_logger(trt))
        engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            said = "; ".join(message for _, message in log) or "no reason given"
            raise EngineRunError(
                f"{file} can not be loaded by {trt.__name__} {trt.__version__} on {device.name}: {said}",
                remedy="build it for this GPU with this version",
            )
        return ask_inspector(trt, engine, product=product)


def ask_inspector(trt: ModuleType, engine: Any, *, product: str) -> EngineLayers:
    """The layers of an engine that is loaded, with shapes as its first profile is tuned for.

    Raises:
        ArtifactError: Built without details, or of a layout that is not known.
        EngineRunError: The inspector says nothing.
    """
    inspector = engine.create_engine_inspector()
    # without a context with shapes, formats and sizes that depend on the batch are not told; some compiled engines
    # tell nothing with one
    shaped = _context_with_shapes(trt, engine)
    for context in (None,) if shaped is None else (shaped, None):
        inspector.execution_context = context
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        if text and text.strip():
            return layers_from_json(text, source=INSPECTOR_SOURCE, product=product, version=trt.__version__)
    raise EngineRunError(
        f"the engine inspector of {trt.__name__} {trt.__version__} says nothing",
        remedy="build the engine again with `resnet-deploy build`, which asks for detailed layers",
    )


def _context_with_shapes(trt: ModuleType, engine: Any) -> Any:
    context = engine.create_execution_context()
    if context is None:
        return None
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        if is_input and any(size < 0 for size in tuple(engine.get_tensor_shape(name))):
            usual = tuple(engine.get_tensor_profile_shape(name, _PROFILE)[1])
            if not context.set_input_shape(name, usual):
                return None
    return context
