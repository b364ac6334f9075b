"""Which models of a bundle Triton can serve, and which of them it gets."""

from __future__ import annotations

__all__ = ["Choice", "choose_models"]

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.ship.manifest import BundleManifest, BundleModel
from resnet_deploy.ship.triton.models import ServedNet
from resnet_deploy.ship.triton.options import ServedRuntime, TritonOptions

_ONNX_FILE = "model.onnx"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What is served.

    Attributes:
        files: Name in the repository's version folder -> model of the bundle.
        notes: What its user must know, a sentence each.
    """

    net: ServedNet
    files: dict[str, BundleModel]
    notes: tuple[str, ...]


def choose_models(bundle: BundleManifest, options: TritonOptions) -> Choice:
    """Choose TensorRT plans where there are any (one for each compute capability), else the ONNX file.

    Raises:
        ConfigError: The bundle has nothing of the runtime asked for, or an option does not fit what it has.
    """
    plans = [model for model in bundle.models if model.product == "tensorrt"]
    onnx = [model for model in bundle.models if model.format == "onnx"]
    wants_plans = options.runtime is ServedRuntime.TENSORRT or (options.runtime is ServedRuntime.AUTO and plans)
    offered = plans if wants_plans else onnx
    if not offered:
        raise ConfigError(
            f"bundle {bundle.name} has no {'TensorRT plan' if wants_plans else 'ONNX file'} to serve, only "
            f"{', '.join(f'{model.path} ({model.product or model.format})' for model in bundle.models)}",
            remedy="Triton runs TensorRT plans (build --product tensorrt) and ONNX files, no TensorRT-RTX engines: "
            "make a bundle with one of them, or take another runtime",
        )
    _check_alike(offered if wants_plans else offered[:1])
    _check_options(offered[0], bool(wants_plans), options)
    files, by_capability, default = _plan_files(plans) if wants_plans else ({_ONNX_FILE: onnx[0]}, {}, _ONNX_FILE)
    chosen = list(files.values())
    limits = [model.max_batch for model in chosen if model.max_batch]
    precisions = sorted({model.precision.value for model in chosen})
    net = ServedNet(
        name=bundle.name,
        runtime=ServedRuntime.TENSORRT if wants_plans else ServedRuntime.ONNXRUNTIME,
        input=chosen[0].input,
        output=chosen[0].output,
        default_file=default,
        files_by_capability=by_capability,
        max_batch=min([options.max_batch, *limits]),
        precision=chosen[0].precision,
        tags={"bundle": bundle.version, "precision": "+".join(precisions)},
        has_labels=bundle.labels is not None,
    )
    if options.preferred_batches and options.preferred_batches[-1] > net.max_batch:
        raise ConfigError(f"preferred batch {options.preferred_batches[-1]} is over the plans' limit {net.max_batch}")
    return Choice(net=net, files=files, notes=tuple(_notes(bundle, chosen, net, options)))


def _plan_files(plans: list[BundleModel]) -> tuple[dict[str, BundleModel], dict[str, str], str | None]:
    """Files by name, name by compute capability (the first plan that has it), and the plan for all other GPUs."""
    files: dict[str, BundleModel] = {}
    by_capability: dict[str, str] = {}
    default = None
    for plan in plans:
        name = PurePosixPath(plan.path).stem + ".plan"
        name = name if name not in files else plan.path.replace("/", ".") + ".plan"
        new = [capability for capability in plan.compute_capabilities if capability not in by_capability]
        takes_others = plan.hardware_compatible or not plan.compute_capabilities
        if not new and not (takes_others and default is None):
            continue
        files[name] = plan
        by_capability |= dict.fromkeys(new, name)
        default = name if takes_others and default is None else default
    return files, by_capability, default


def _check_alike(models: list[BundleModel]) -> None:
    """All have the same tensors, with a batch that Triton may choose."""
    first = models[0]
    for model in models:
        if (model.input, model.output) != (first.input, first.output):
            raise ConfigError(
                f"{model.path} takes {model.input} and {first.path} takes {first.input}; a Triton model has one form",
                remedy="make a bundle whose plans come from one ONNX file",
            )
        if model.input.shape[0] != -1 or model.output.shape[0] != -1:
            raise ConfigError(
                f"{model.path} has the input {list(model.input.shape)}, Triton batches only where the first size is free",
                remedy="export the network with a free batch and build it with a range, `--profile 1:8:32`",
            )


def _check_options(model: BundleModel, is_plan: bool, options: TritonOptions) -> None:
    problems = []
    if is_plan and options.tensorrt_provider:
        problems.append(
            "tensorrt_provider is for ONNX files, the bundle's plans are served; runtime onnxruntime takes it"
        )
    if not is_plan and (options.cuda_graphs or options.num_profiles > 1):
        problems.append("cuda_graphs and num_profiles are for TensorRT plans, an ONNX file is served")
    if model.takes_pixels and (options.cuda_graphs or options.tensorrt_provider):
        problems.append(f"cuda_graphs and tensorrt_provider need inputs of one size, {model.path} takes any")
    if options.tensorrt_provider and model.precision is Precision.FP8:
        problems.append(f"{model.path} is FP8, which ONNX Runtime's TensorRT provider can not be asked for")
    if problems:
        raise ConfigError("triton: " + "; ".join(problems))


def _notes(bundle: BundleManifest, chosen: list[BundleModel], net: ServedNet, options: TritonOptions) -> Iterator[str]:
    for model in bundle.models:
        if model.product == "tensorrt-rtx":
            yield f"{model.path} is left out: Triton has no backend for TensorRT-RTX engines"
        elif model not in chosen:
            yield f"{model.path} is left out: another model serves where it would"
    if versions := sorted({model.version for model in chosen if model.product}):
        yield f"the plans are of TensorRT {', '.join(versions)}: the server must have exactly that release"
    if net.files_by_capability and net.default_file is None:
        served = ", ".join(net.files_by_capability)
        yield f"only GPUs of compute capability {served} have a plan; on others the model does not load"
    is_quantized = net.precision in (Precision.INT8, Precision.FP8)
    if net.runtime is ServedRuntime.ONNXRUNTIME and is_quantized and not options.tensorrt_provider:
        yield (
            f"{chosen[0].path} is {net.precision}, which ONNX Runtime's CUDA provider computes in floating point, scales "
            "and all: expect no gain from it; set tensorrt_provider, or serve an FP16 file"
        )
    if not net.takes_pixels:
        yield "preprocessing runs on the processor, one image a request"
