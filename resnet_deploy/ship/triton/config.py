"""What a Triton model's config.pbtxt holds, as far as we write it.

A class is a message of Triton's model_config.proto and a field has the name it has there; a field that is None, or an
empty tuple or dictionary, is not written.
"""

from __future__ import annotations

__all__ = [
    "Accelerator",
    "CudaOptimization",
    "DataType",
    "DynamicBatching",
    "EnsembleScheduling",
    "EnsembleStep",
    "ExecutionAccelerators",
    "InstanceGroup",
    "InstanceKind",
    "Latest",
    "ModelConfig",
    "ModelOptimization",
    "ModelParameter",
    "ModelTensor",
    "QueuePolicy",
    "ResponseCache",
    "VersionPolicy",
    "Warmup",
    "WarmupInput",
]

from dataclasses import dataclass, field
from enum import Enum


class DataType(Enum):
    """Element types of the tensors we serve, by the schema's names."""

    UINT8 = "TYPE_UINT8"
    FP32 = "TYPE_FP32"

    @classmethod
    def of(cls, dtype: str) -> DataType:
        """The type of a numpy name; KeyError for one we do not serve."""
        return {"uint8": cls.UINT8, "float32": cls.FP32}[dtype]

    @property
    def size_bytes(self) -> int:
        return {DataType.UINT8: 1, DataType.FP32: 4}[self]


class InstanceKind(Enum):
    """Where an instance runs; AUTO: on a GPU where the server has one."""

    AUTO = "KIND_AUTO"
    GPU = "KIND_GPU"
    CPU = "KIND_CPU"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTensor:
    """ModelInput and ModelOutput: `dims` without the batch axis where the model batches; -1 for any size."""

    name: str
    data_type: DataType
    dims: tuple[int, ...]
    label_filename: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Latest:
    """The newest so many versions are served."""

    num_versions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionPolicy:
    """ModelVersionPolicy."""

    latest: Latest


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceGroup:
    """ModelInstanceGroup: `count` instances on the processor, or on each GPU; `profile` the optimization profiles of a plan
    that it uses, the first where there are none."""

    count: int
    kind: InstanceKind
    profile: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuePolicy:
    """ModelQueuePolicy; 0: no limit. What is too late or too much is refused, the action that Triton takes unasked."""

    default_timeout_microseconds: int
    allow_timeout_override: bool
    max_queue_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicBatching:
    """ModelDynamicBatching; without preferred sizes, batches are as large as what waits allows."""

    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int
    default_queue_policy: QueuePolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """ModelOptimizationPolicy.ExecutionAccelerators.Accelerator: an execution provider of ONNX Runtime."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionAccelerators:
    """ModelOptimizationPolicy.ExecutionAccelerators."""

    gpu_execution_accelerator: tuple[Accelerator, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaOptimization:
    """ModelOptimizationPolicy.Cuda; without a list of batch sizes Triton captures 1, 2, 3, 4, 6, 8, 12, 16, the largest."""

    graphs: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptimization:
    """ModelOptimizationPolicy."""

    cuda: CudaOptimization | None = None
    execution_accelerators: ExecutionAccelerators | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleStep:
    """ModelEnsembling.Step: a model's tensors by the names they have in the ensemble; version -1 is the newest."""

    model_name: str
    model_version: int = -1
    input_map: dict[str, str]
    output_map: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleScheduling:
    """ModelEnsembling."""

    step: tuple[EnsembleStep, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelParameter:
    """ModelParameter."""

    string_value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmupInput:
    """ModelWarmup.Input: one image's bytes, from a file in the model's folder `warmup`; `dims` without the batch axis."""

    data_type: DataType
    dims: tuple[int, ...]
    input_data_file: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Warmup:
    """ModelWarmup: one pass before a model is ready; `inputs` are repeated to fill the batch."""

    name: str
    batch_size: int
    inputs: dict[str, WarmupInput]


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseCache:
    """ModelResponseCache."""

    enable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """ModelConfig. An ensemble has a platform, its steps and no backend."""

    name: str
    platform: str
    backend: str | None = None
    max_batch_size: int
    input: tuple[ModelTensor, ...]
    output: tuple[ModelTensor, ...]
    version_policy: VersionPolicy
    default_model_filename: str | None = None
    cc_model_filenames: dict[str, str] = field(default_factory=dict)
    instance_group: tuple[InstanceGroup, ...] = ()
    dynamic_batching: DynamicBatching | None = None
    ensemble_scheduling: EnsembleScheduling | None = None
    optimization: ModelOptimization | None = None
    model_warmup: tuple[Warmup, ...] = ()
    parameters: dict[str, ModelParameter] = field(default_factory=dict)
    metric_tags: dict[str, str] = field(default_factory=dict)
    response_cache: ResponseCache = ResponseCache(enable=False)
