"""The three models that serve one network: the network, its preprocessing, and both in one call."""

from __future__ import annotations

__all__ = ["LABELS_FILE", "GoldenImage", "ServedNet", "ensemble_config", "net_config", "preprocess_config"]

from dataclasses import dataclass

from resnet_deploy.core.specs import Precision
from resnet_deploy.ship.manifest import BundleTensor
from resnet_deploy.ship.triton.config import (
    Accelerator,
    CudaOptimization,
    DataType,
    DynamicBatching,
    EnsembleScheduling,
    EnsembleStep,
    ExecutionAccelerators,
    InstanceGroup,
    InstanceKind,
    Latest,
    ModelConfig,
    ModelOptimization,
    ModelParameter,
    ModelTensor,
    QueuePolicy,
    VersionPolicy,
    Warmup,
    WarmupInput,
)
from resnet_deploy.ship.triton.model_rules import ENSEMBLE_PLATFORM, ONNX_PLATFORM, PLAN_PLATFORM
from resnet_deploy.ship.triton.options import ServedDevice, ServedRuntime, TritonOptions

LABELS_FILE = "labels.txt"
_KINDS = {
    ServedDevice.AUTO: InstanceKind.AUTO,
    ServedDevice.GPU: InstanceKind.GPU,
    ServedDevice.CPU: InstanceKind.CPU,
}
_LATEST = VersionPolicy(latest=Latest(num_versions=1))


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedNet:
    """The network as Triton gets it.

    Attributes:
        name: Of the model, and of its folder.
        runtime: TENSORRT or ONNXRUNTIME.
        input: float32 [-1, 3, H, W], or uint8 [-1, -1, -1, 3] with the preprocessing in the graph; `output` [-1, K].
        default_file: What runs where `files_by_capability` ("8.6" -> file name) has nothing; None: nothing does.
        max_batch: Of the model's configuration.
        tags: Become labels of every metric that Triton gives for the model.
        has_labels: There is a file of class names.
    """

    name: str
    runtime: ServedRuntime
    input: BundleTensor
    output: BundleTensor
    default_file: str | None
    files_by_capability: dict[str, str]
    max_batch: int
    precision: Precision
    tags: dict[str, str]
    has_labels: bool

    @property
    def takes_pixels(self) -> bool:
        """Whether the preprocessing is in the network's own graph."""
        return self.input.dtype == "uint8"


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenImage:
    """The image that warms a model up: the file in its folder `warmup`, and the sizes without the batch."""

    file: str
    dims: tuple[int, ...]


def net_config(net: ServedNet, options: TritonOptions, golden: GoldenImage) -> ModelConfig:
    """The network. Its warm-up runs the golden image alone and in full batches, so neither is slow at first."""
    is_plan = net.runtime is ServedRuntime.TENSORRT
    group = InstanceGroup(
        count=options.instances,
        kind=InstanceKind.GPU if is_plan else _KINDS[options.device],
        profile=tuple(map(str, range(options.num_profiles))) if is_plan and options.num_profiles > 1 else (),
    )
    batches = sorted({1, net.max_batch, *options.preferred_batches})
    return ModelConfig(
        name=net.name,
        platform=PLAN_PLATFORM if is_plan else ONNX_PLATFORM,
        backend="tensorrt" if is_plan else "onnxruntime",
        max_batch_size=net.max_batch,
        input=(_tensor(net.input),),
        output=(_tensor(net.output, labels=net.has_labels),),
        version_policy=_LATEST,
        default_model_filename=net.default_file,
        cc_model_filenames=net.files_by_capability,
        instance_group=(group,),
        dynamic_batching=_batching(options, preferred=options.preferred_batches),
        optimization=_optimization(net, options),
        model_warmup=_warmup(net.input, golden, batches),
        metric_tags=net.tags,
    )


def preprocess_config(
    name: str, input: BundleTensor, output: BundleTensor, net: ServedNet, options: TritonOptions, golden: GoldenImage
) -> ModelConfig:
    """The pixel contract as a model of its own, one image a pass.

    It stays on the processor, where it is proven to give the host's bytes, with one thread an instance. Batches would cost
    memory (an image of 12 million pixels takes 144 MB as floats) and gain nothing; without a scheduler of its own Triton
    would merge images of one size as soon as more than one were allowed.
    """
    return ModelConfig(
        name=name,
        platform=ONNX_PLATFORM,
        backend="onnxruntime",
        max_batch_size=1,
        input=(_tensor(input),),
        output=(_tensor(output),),
        version_policy=_LATEST,
        default_model_filename="model.onnx",
        instance_group=(InstanceGroup(count=options.preprocess_instances, kind=InstanceKind.CPU),),
        dynamic_batching=_batching(options, max_delay_us=0),
        model_warmup=_warmup(input, golden, [1]),
        parameters={"intra_op_thread_count": ModelParameter(string_value="1")},
        metric_tags=net.tags,
    )


def ensemble_config(name: str, preprocess: ModelConfig, net: ModelConfig) -> ModelConfig:
    """Pixels of one image in, the network's output out; batches are formed before the network, of any requests."""
    (pixels,), (image,), (prepared,) = preprocess.input, preprocess.output, net.input
    outputs = {tensor.name: tensor.name for tensor in net.output}
    return ModelConfig(
        name=name,
        platform=ENSEMBLE_PLATFORM,
        max_batch_size=preprocess.max_batch_size,
        input=(pixels,),
        output=net.output,
        version_policy=_LATEST,
        ensemble_scheduling=EnsembleScheduling(
            step=(
                EnsembleStep(
                    model_name=preprocess.name,
                    input_map={pixels.name: pixels.name},
                    output_map={image.name: "preprocessed"},
                ),
                EnsembleStep(model_name=net.name, input_map={prepared.name: "preprocessed"}, output_map=outputs),
            )
        ),
        metric_tags=net.metric_tags,
    )


def _tensor(spec: BundleTensor, *, labels: bool = False) -> ModelTensor:
    return ModelTensor(
        name=spec.name,
        data_type=DataType.of(spec.dtype),
        dims=spec.shape[1:],
        label_filename=LABELS_FILE if labels else None,
    )


def _batching(
    options: TritonOptions, *, preferred: tuple[int, ...] = (), max_delay_us: int | None = None
) -> DynamicBatching:
    return DynamicBatching(
        preferred_batch_size=preferred,
        max_queue_delay_microseconds=options.max_delay_us if max_delay_us is None else max_delay_us,
        default_queue_policy=QueuePolicy(
            default_timeout_microseconds=options.queue_timeout_us,
            allow_timeout_override=True,
            max_queue_size=options.max_queue,
        ),
    )


def _warmup(spec: BundleTensor, golden: GoldenImage, batches: list[int]) -> tuple[Warmup, ...]:
    image = WarmupInput(data_type=DataType.of(spec.dtype), dims=golden.dims, input_data_file=golden.file)
    return tuple(Warmup(name=f"golden_batch_{size}", batch_size=size, inputs={spec.name: image}) for size in batches)


def _optimization(net: ServedNet, options: TritonOptions) -> ModelOptimization | None:
    if net.runtime is ServedRuntime.TENSORRT:
        return ModelOptimization(cuda=CudaOptimization(graphs=True)) if options.cuda_graphs else None
    if not options.tensorrt_provider:
        return None
    sizes = "x".join(map(str, net.input.shape[1:]))
    best = options.preferred_batches[-1] if options.preferred_batches else net.max_batch
    parameters = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": options.engine_cache,
        **{
            f"trt_profile_{end}_shapes": f"{net.input.name}:{batch}x{sizes}"
            for end, batch in (("min", 1), ("opt", best), ("max", net.max_batch))
        },
    }
    if net.precision is not Precision.FP32:
        parameters["precision_mode"] = net.precision.value.upper()
    accelerator = Accelerator(name="tensorrt", parameters=parameters)
    return ModelOptimization(execution_accelerators=ExecutionAccelerators(gpu_execution_accelerator=(accelerator,)))
