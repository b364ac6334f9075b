"""What a training run is asked to do, and what came of it."""

from __future__ import annotations

__all__ = ["QuantizedStart", "TrainOptions", "TrainResult"]

from dataclasses import dataclass, field
from pathlib import Path

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.train.recipe import Recipe
from resnet_deploy.train.step import StepSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedStart:
    """Quantisation-aware training: which file goes on learning, and from what.

    Attributes:
        int8: File that `quantize` (or an earlier such training) wrote; its placement and its scales are kept.
        fp32: The file it was made from; None takes the one that its manifest names.
        float_twin: Train the FP32 network itself, without rounding: what the same training gives there.
        learn_scales: Train the scales of the activations too.
        distill: Learn the FP32 network's answers; labels are not read.
        num_images: Learn from a stratified sample of that many; 0 takes all.
    """

    int8: Path
    fp32: Path | None = None
    float_twin: bool = False
    learn_scales: bool = False
    distill: bool = False
    num_images: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.num_images and self.num_images < 2:
            problems.append(f"num_images is {self.num_images}, expected 0 (all) or at least 2")
        if self.float_twin and self.learn_scales:
            problems.append("the FP32 network has no scales to learn")
        if self.float_twin and self.distill:
            problems.append("the FP32 network can not learn its own answers")
        if problems:
            raise ConfigError("; ".join(problems))

    def recorded(self) -> dict[str, bool | int]:
        """What shapes the result, besides the two files."""
        return {name: getattr(self, name) for name in ("float_twin", "learn_scales", "distill", "num_images")}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """What to train, on what, how, and where to put it.

    Attributes:
        out: The checkpoint; `<stem>.metrics.jsonl` and `<stem>.curves.png` go beside it.
        net: Name in the catalogue.
        data: What `data.source.open_images` takes.
        split, val_split: Images to learn from, and to measure on; these never choose a checkpoint.
        num_classes: Must be the images' number of classes; None takes it from them.
        quantized: An INT8 file to train in place of a net of the catalogue; `out` is then an ONNX file.
        weights: A checkpoint of the same net to start from; its classifier is kept where the classes are the same.
        how: Type, fusion and split of the computation.
        seed: Of the initial weights, the order and the augmentations.
        num_threads: Processor threads; 0 takes PyTorch's choice. Another number may give other last bits.
        num_workers: Processes that decode; 0 takes the number of processors.
        skip_bad: Images that may fail to decode before the run ends.
        save_every: Steps between two states that an interrupted run resumes from.
        distributed: One of several processes, as `torchrun` describes it in the environment.
        attempt: How often `torchrun` has restarted the job.
        tensorboard: Folder for TensorBoard's files; None writes none.
        force: Train even where `out` is up to date, and start over even where a run can be resumed.
    """

    out: Path
    recipe: Recipe
    net: str = "resnet20"
    data: str = "digits"
    split: str = "train"
    val_split: str = "val"
    num_classes: int | None = None
    weights: Path | None = None
    quantized: QuantizedStart | None = None
    how: StepSettings = field(default_factory=StepSettings)
    seed: int = 0
    num_threads: int = 0
    num_workers: int = 0
    skip_bad: int = 0
    save_every: int = 500
    distributed: bool = False
    attempt: int = 0
    tensorboard: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        kind, suffix = ("checkpoint", ".safetensors") if self.quantized is None else ("network", ".onnx")
        if self.out.suffix != suffix:
            raise ConfigError(f"{kind} {self.out} must end in {suffix}", remedy=f"for example {self.out.stem}{suffix}")
        if self.weights is not None and self.weights.resolve() == self.out.resolve():
            raise ConfigError(f"{self.out} would overwrite the weights it starts from", remedy="name another --out")
        problems = [
            f"{name} is {getattr(self, name)}, expected {lowest} or more"
            for name, lowest in (("num_threads", 0), ("num_workers", 0), ("skip_bad", 0), ("save_every", 1))
            if getattr(self, name) < lowest
        ]
        if not 0 <= self.seed < 2**32:
            problems.append(f"seed is {self.seed}, expected 0 to {2**32 - 1}")
        problems += self._quantized_problems()
        if problems:
            raise ConfigError("; ".join(problems))

    def _quantized_problems(self) -> list[str]:
        """What quantisation-aware training can not do."""
        if self.quantized is None:
            return []
        files = [file.resolve() for file in (self.quantized.int8, self.quantized.fp32) if file is not None]
        checks = (
            (self.out.resolve() not in files, f"{self.out} would overwrite the network it starts from"),
            (self.weights is None, "weights come from the ONNX files, not from a checkpoint"),
            (self.how.amp == "off", f"amp is {self.how.amp!r}, the rounding of int8 is simulated in float32 only"),
            (not self.how.compile, "compile is for nets of the catalogue"),
            (not self.how.sync_bn, "sync_bn has no effect: BN is part of the convolutions"),
            (not self.recipe.per_pixel_mean, "the recipe's per_pixel_mean would add a second mean to the network"),
            (
                not (self.quantized.distill and self.recipe.label_smoothing),
                f"the recipe's label_smoothing is {self.recipe.label_smoothing}, but distillation reads no labels",
            ),
        )
        return [problem for good, problem in checks if not good]

    def beside(self, ending: str) -> Path:
        """The file `<stem>.<ending>` in the folder of the checkpoint."""
        return self.out.with_name(f"{self.out.stem}.{ending}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """A finished training run.

    Attributes:
        num_classes: Of the images; 0 where they have no labels.
        top1_percent: Of the last weights (their moving average where the recipe has one) on the held-out images;
            after distillation the share of images answered as the FP32 network does.
        epochs: Images seen over images there are.
        seconds: Of training and evaluation, over all sessions of a resumed run.
        images_per_second: Of training alone, over the whole run and all processes.
        resumed_from_step: Steps taken over from an interrupted run, 0 for none.
        bad_images: Those left out, path and reason.
    """

    file: Path
    metrics_file: Path
    curves_file: Path
    net: str
    num_classes: int
    recipe: str
    epochs: float
    steps: int
    top1_percent: float
    train_error_percent: float
    num_val_images: int
    num_train_images: int
    seconds: float
    images_per_second: float
    device: str
    num_processes: int
    resumed_from_step: int
    bad_images: tuple[str, ...]
    skipped: bool
