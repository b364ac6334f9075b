"""What `bundle.json` says of a model, from its file, its manifest and the ONNX file behind it."""

from __future__ import annotations

__all__ = ["ModelForm", "bundle_paths", "describe_model", "form_of", "uses_tf32"]

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.header import read_engine_header
from resnet_deploy.engine.onnx_file import image_input, tensor_specs
from resnet_deploy.engine.preflight.compatibility import built_for
from resnet_deploy.graph.external_data import read_onnx_with_data
from resnet_deploy.pipeline.bundle.sources import ModelSource
from resnet_deploy.ship.manifest import BundleModel, BundleTensor, SelfTest

_ONNX_PATH = "model.onnx"
_MAX_NAME = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelForm:
    """Attributes:
    input, output: Of the ONNX file; an engine has the same.
    batch: 1 where no other is taken, else -1.
    max_batch: 0 for no limit.
    """

    input: TensorSpec
    output: TensorSpec
    batch: int
    max_batch: int


def bundle_paths(sources: Sequence[ModelSource]) -> tuple[str, ...]:
    """Where each model lies in the bundle: `engines/NAME.engine` with NAME as it was, and `model.onnx`."""
    paths: list[str] = []
    for source in sources:
        path = _ONNX_PATH
        if source.is_engine:
            stem = re.sub("[^A-Za-z0-9._-]", "-", source.file.name.removesuffix(".engine"))[:_MAX_NAME].lstrip(".")
            path = f"engines/{stem or 'model'}.engine"
            for number in range(2, len(sources) + 1):
                if path.lower() not in [taken.lower() for taken in paths]:
                    break
                path = f"engines/{stem or 'model'}-{number}.engine"
        paths.append(path)
    return tuple(paths)


def uses_tf32(source: ModelSource) -> bool:
    """Whether FP32 layers of an engine may round to TF32."""
    return source.is_engine and bool(source.manifest.options.get("tf32"))


def form_of(source: ModelSource) -> ModelForm:
    """Read what goes into a model and what comes out.

    Raises:
        ConfigError: Its input or output is of a type or shape that a bundle does not have, or no batch of one runs.
        ArtifactError: The ONNX file keeps its weights in files beside it.
    """
    model, beside = read_onnx_with_data(source.onnx)
    if beside:
        raise ArtifactError(
            f"{source.onnx} keeps its weights in {beside[0].name}, a bundle's model is one file",
            remedy="`resnet-deploy import` it, which writes one file, or save it with onnx.save in one",
        )
    images = image_input(model, name=str(source.onnx))
    batch, max_batch = _batches(source, images)
    return ModelForm(input=images, output=_output(source, images, model), batch=batch, max_batch=max_batch)


def describe_model(source: ModelSource, path: str, form: ModelForm, test: SelfTest) -> BundleModel:
    """The entry of a model."""
    of_engine: dict[str, Any] = {
        "product": "",
        "version": "",
        "compute_capabilities": (),
        "hardware_compatible": True,
    }
    if source.is_engine:
        built = built_for(read_engine_header(source.file), source.manifest.details)
        targets = built.targets or ((built.gpu.sm,) if built.gpu is not None else ())
        of_engine = {
            "product": built.product,
            "version": built.version,
            "compute_capabilities": tuple(f"{sm // 10}.{sm % 10}" for sm in targets),
            "hardware_compatible": built.open_ended or built.hardware_compatibility == "ampere-plus",
        }
    pixels = source.manifest.preprocess
    sides = (-1, -1, 3) if source.manifest.takes_pixels else (3, pixels.height_px, pixels.width_px)
    return BundleModel(
        path=path,
        format="engine" if source.is_engine else "onnx",
        precision=source.manifest.precision,
        input=BundleTensor(name=form.input.name, dtype=form.input.dtype, shape=(form.batch, *sides)),
        output=BundleTensor(name=form.output.name, dtype=form.output.dtype, shape=(form.batch, len(test.expected))),
        max_batch=form.max_batch,
        self_test=test,
        **of_engine,
    )


def _output(source: ModelSource, images: TensorSpec, model: onnx.ModelProto) -> TensorSpec:
    """The one output, after a look at the types of input and output."""
    outputs = tensor_specs(model.graph.output)
    if len(outputs) != 1 or len(outputs[0].shape) != 2:
        raise ConfigError(
            f"{source.onnx} has the outputs {[f'{spec.name} {list(spec.shape)}' for spec in outputs]}, "
            "expected one [N, K]",
            remedy="export it with --output logits",
        )
    wanted = "uint8" if source.manifest.takes_pixels else "float32"
    for spec, dtype in ((images, wanted), (outputs[0], "float32")):
        if spec.dtype != dtype:
            raise ConfigError(
                f"{source.onnx}: {spec.name} is {spec.dtype}, a bundle's is {dtype}",
                remedy="export it with inputs and outputs in float32, whatever its layers compute in",
            )
    return outputs[0]


def _batches(source: ModelSource, images: TensorSpec) -> tuple[int, int]:
    """The batch axis of the shapes (-1: any), and the largest batch (0: no limit)."""
    if not source.is_engine:
        first = images.shape[0]
        smallest = largest = first if isinstance(first, int) and first > 0 else 0
    else:
        profiles = source.manifest.details.get("profiles")
        if not profiles:
            raise ArtifactError(
                f"{source.file}: its manifest does not say its batch sizes", remedy="build it again with this release"
            )
        smallest = min(profile["min"][0] for profile in profiles)
        largest = max(profile["max"][0] for profile in profiles)
    if smallest > 1:
        raise ConfigError(
            f"{source.file} takes {smallest} images and more at a time, the self-test and `classify` one",
            remedy="build or export it for batches from 1 on",
        )
    return (1 if largest == 1 else -1), largest
