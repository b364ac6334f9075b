"""What `deploy` is asked to do: one TOML file as dataclasses."""

from __future__ import annotations

__all__ = [
    "LATENCY_CALIBRATION",
    "BenchPlan",
    "BuildPlan",
    "BundlePlan",
    "CalibrationPlan",
    "DeployPlan",
    "EvidencePlan",
    "TrainPlan",
    "ValidationPlan",
    "demo_plan",
    "load_plan",
]

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from resnet_deploy.bench.roofline.catalogue import find_gpu
from resnet_deploy.core.config import load_toml
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision, UnsignedRelu
from resnet_deploy.engine.building.options import BuildOptions, HardwareCompatibility, parse_batch_profiles
from resnet_deploy.nets.catalogue import NetSpec, find_net, net_of_depth


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainPlan:
    """How to train; fields as `resnet-deploy train` has them.

    Attributes:
        recipe: Name of a shipped recipe or path of a TOML file; None takes the data set's usual one.
    """

    recipe: str | None = None
    epochs: int | None = None
    seed: int = 0
    split: str = "train"
    val_split: str = "val"


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationPlan:
    """Where INT8 scales come from, refinement and unsigned tensors (see `quantize`); `data` None takes the deployment's."""

    data: str | None = None
    split: str = "train"
    num_images: int = 512
    method: str = "auto"
    refinements: tuple[str, ...] = ("bias",)
    unsigned_relu: UnsignedRelu = UnsignedRelu.OFF


LATENCY_CALIBRATION = CalibrationPlan(data="noise", num_images=8, method="max", refinements=())
"""For a network whose accuracy has no part: a scale needs one image, not a distribution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPlan:
    """Engines; every field is the option of `resnet-deploy build`, `profiles` as it is typed there."""

    product: str | None = None
    targets: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ("1:8:32",)
    tf32: bool = False
    workspace_mib: int | None = None
    strip: bool = False
    refit: bool = False
    timing_cache: Path | None = None
    pin_timing_cache: bool = False
    optimization_level: int | None = None
    hardware_compatibility: HardwareCompatibility = HardwareCompatibility.NONE
    version_compatible: bool = False
    dla_core: int | None = None

    def __post_init__(self) -> None:
        self.options(Path("net.onnx"))  # a wrong value is told before any work

    def options(self, onnx: Path, *, force: bool = False) -> BuildOptions:
        """What is built from that file.

        Raises:
            ConfigError: A value is wrong, or the product has no such option.
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        batches = parse_batch_profiles(list(given.pop("profiles")))
        return BuildOptions(onnx=onnx, batches=batches, force=force, **given)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationPlan:
    """Limits of the verdicts; None takes the defaults of `resnet-deploy validate` for the precision.

    Attributes:
        prove, level: A drop that is not proven to be within its limit at that level fails.
    """

    split: str = "val"
    max_top1_drop: float | None = None
    min_agreement: float | None = None
    num_images: int = 0
    prove: bool = False
    level: float = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchPlan:
    """What to time: this network and others beside it.

    Attributes:
        enabled: False leaves the stage out.
        batches: Images per pass.
        depths: ImageNet depths to profile beside it, with untrained weights.
        seconds: At least so long a measurement for each row.
    """

    enabled: bool = True
    batches: tuple[int, ...] = (1, 8)
    depths: tuple[int, ...] = ()
    seconds: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EvidencePlan:
    """What explains the verdicts, of the ONNX file of the last precision, and what GPUs could do at best.

    Attributes:
        attribution: Split the drop by cause, as `resnet-deploy attribute`.
        divergence: Compare it layer by layer with FP32, as `resnet-deploy diverge`.
        targets: GPUs of the roofline, by the names of `resnet-deploy estimate --list`; empty leaves it out.
    """

    attribution: bool = True
    divergence: bool = True
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.targets:
            find_gpu(name)  # an unknown one is told before any work


@dataclass(frozen=True, kw_only=True, slots=True)
class BundlePlan:
    """What ships; fields as `resnet-deploy bundle` has them.

    Attributes:
        enabled: False leaves the stage out.
        licence: Text file on the weights' licence.
        sign: Private key.
    """

    enabled: bool = True
    version: str | None = None
    golden: Path | None = None
    licence: Path | None = None
    sign: Path | None = None
    archive: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DeployPlan:
    """One network from its weights to a report.

    Weights come from exactly one place: `train`, a `checkpoint` of ours, foreign `weights`, or none of them
    (untrained: latency only, no verdict).

    Attributes:
        net: Name in the catalogue; or `depth` for an ImageNet network.
        out: Folder of every file.
        data: Data set, as `--data` takes it; may be left out where nothing needs images.
        report: False leaves the report out.
    """

    net: str | None = None
    depth: int | None = None
    out: Path = Path("out")
    data: str | None = None
    precisions: tuple[Precision, ...] = MAIN_PRECISIONS
    train: TrainPlan | None = None
    checkpoint: Path | None = None
    weights: Path | None = None
    calibrate: CalibrationPlan = field(default_factory=CalibrationPlan)
    build: BuildPlan = field(default_factory=BuildPlan)
    validate: ValidationPlan = field(default_factory=ValidationPlan)
    bench: BenchPlan = field(default_factory=BenchPlan)
    evidence: EvidencePlan = field(default_factory=EvidencePlan)
    bundle: BundlePlan = field(default_factory=BundlePlan)
    report: bool = True

    def __post_init__(self) -> None:
        problems = []
        if (self.net is None) == (self.depth is None):
            problems.append("exactly one of `net` and `depth` must be given")
        sources = [name for name in ("train", "checkpoint", "weights") if getattr(self, name) is not None]
        if len(sources) > 1:
            problems.append(f"weights come from one place, got {' and '.join(sources)}")
        if self.data is None and sources:
            problems.append(f"`data` is missing; {sources[0]} needs images for calibration and the verdict")
        if not self.precisions:
            problems.append("`precisions` is empty")
        if problems:
            raise ConfigError("; ".join(problems), remedy="see docs/guides/deploy.md")

    def spec(self) -> NetSpec:
        """The catalogue row; ConfigError where there is none."""
        return net_of_depth(self.depth) if self.depth is not None else find_net(self.net)

    @property
    def is_trained(self) -> bool:
        """Whether the weights mean something, so that a verdict does."""
        return any(source is not None for source in (self.train, self.checkpoint, self.weights))


def load_plan(file: Path) -> DeployPlan:
    """Read a plan; relative paths in it are taken from the file's folder.

    Raises:
        ConfigError: Not TOML, unknown keys, wrong types or a plan that can not be; lists every problem.
    """
    plan = load_toml(DeployPlan, file)
    folder = Path(file).parent

    def beside(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    plan.spec()
    return replace(
        plan,
        out=beside(plan.out),
        checkpoint=beside(plan.checkpoint),
        weights=beside(plan.weights),
        data=_beside(plan.data, folder),
        calibrate=replace(plan.calibrate, data=_beside(plan.calibrate.data, folder)),
        build=replace(plan.build, timing_cache=beside(plan.build.timing_cache)),
        bundle=replace(
            plan.bundle,
            golden=beside(plan.bundle.golden),
            licence=beside(plan.bundle.licence),
            sign=beside(plan.bundle.sign),
        ),
    )


def _beside(data: str | None, folder: Path) -> str | None:
    """A data set's name stays, a path is taken from the plan's folder."""
    if data is None or data in ("digits", "noise"):
        return data
    return str(folder / data)


def demo_plan() -> DeployPlan:
    """The plan that ships with the package: ResNet-20 on scikit-learn's digits."""
    plan = load_plan(Path(__file__).with_name("demo.toml"))
    return replace(plan, out=Path("out/demo"))
