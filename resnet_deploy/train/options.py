"""What a training run is asked to do, and what came of it."""

from __future__ import annotations

__all__ = ["TrainOptions", "TrainResult"]

from dataclasses import dataclass, field
from pathlib import Path

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.train.recipe import Recipe
from resnet_deploy.train.step import StepSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """What to train, on what, how, and where to put it.

    Attributes:
        out: The checkpoint; `<stem>.metrics.jsonl` and `<stem>.curves.png` go beside it.
        net: Name in the catalogue.
        data: What `data.source.open_images` takes.
        split, val_split: Images to learn from, and to measure on; these never choose a checkpoint.
        num_classes: Must be the images' number of classes; None takes it from them.
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
        if self.out.suffix != ".safetensors":
            raise ConfigError(
                f"checkpoint {self.out} must end in .safetensors", remedy=f"for example {self.out.stem}.safetensors"
            )
        if self.weights is not None and self.weights.resolve() == self.out.resolve():
            raise ConfigError(f"{self.out} would overwrite the weights it starts from", remedy="name another --out")
        problems = [
            f"{name} is {getattr(self, name)}, expected {lowest} or more"
            for name, lowest in (("num_threads", 0), ("num_workers", 0), ("skip_bad", 0), ("save_every", 1))
            if getattr(self, name) < lowest
        ]
        if not 0 <= self.seed < 2**32:
            problems.append(f"seed is {self.seed}, expected 0 to {2**32 - 1}")
        if problems:
            raise ConfigError("; ".join(problems))

    def beside(self, ending: str) -> Path:
        """The file `<stem>.<ending>` in the folder of the checkpoint."""
        return self.out.with_name(f"{self.out.stem}.{ending}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """A finished training run.

    Attributes:
        top1_percent: Of the last weights (their moving average where the recipe has one) on the held-out images.
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
