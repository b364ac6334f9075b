"""Refinement of a quantised network on unlabelled images, with the gain of every step measured on other images."""

from __future__ import annotations

__all__ = ["RefineOptions", "RefinementGain", "open_refinement_images", "refine_model"]

from dataclasses import dataclass

import numpy as np
import onnx

from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import ImageSource, open_images, stratified_sample
from resnet_deploy.quant.reconstruction import REFINEMENTS, reconstruct
from resnet_deploy.quant.scoring import Score, compare_logits, logits_of_model

_BATCH = 32
PIXELS_AT_ONCE = 2**21
"""Refinement holds all its images' activations of a few tensors at once: 2048 images of 32 px, 41 of 224 px."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefineOptions:
    """What to refine, and on which images.

    Attributes:
        refinements: Names of REFINEMENTS.
        data: What `data.source.open_images` takes; labels are not used.
        split: Part of the data: that of calibration, never the one accuracy is measured on.
        num_images: To learn from, at most; of large images fewer, see PIXELS_AT_ONCE. As many others, if there are,
            show the gain.
        seed: Chooses them.
    """

    refinements: tuple[str, ...]
    data: str
    split: str = "train"
    num_images: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [f"{name!r} is no refinement" for name in self.refinements if name not in REFINEMENTS]
        if not self.refinements or len(set(self.refinements)) < len(self.refinements):
            problems.append(f"refinements are {', '.join(self.refinements) or 'none'}, expected each at most once")
        if self.num_images < 2:
            problems.append(f"num_images is {self.num_images}, expected at least 2")
        if problems:
            raise ConfigError("refine: " + "; ".join(problems), remedy=f"known are {', '.join(REFINEMENTS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RefinementGain:
    """The network after a step, beside FP32.

    Attributes:
        step: "rounding to nearest" for the network before the first step, else the refinements so far.
        score: Against FP32.
        is_held_out: Whether no step has learnt from the images; there were no others if not.
    """

    step: str
    score: Score
    is_held_out: bool


def open_refinement_images(options: RefineOptions) -> ImageSource:
    """Those to learn from and those to measure on, in turn."""
    return stratified_sample(open_images(options.data, split=options.split), 2 * options.num_images, seed=options.seed)


def refine_model(
    original: onnx.ModelProto,
    quantized: onnx.ModelProto,
    source: ImageSource,
    preprocess: Preprocess,
    options: RefineOptions,
    *,
    progress: Progress = NO_PROGRESS,
) -> tuple[onnx.ModelProto, tuple[RefinementGain, ...]]:
    """Refine step by step; every step starts from the rounding of `quantized` with the steps so far together.

    Args:
        original: FP32.
        quantized: What `insert_qdq` made of it; its floats are FP32.
        source: See `open_refinement_images`.
    Raises:
        DataError: Fewer than two images.
        GraphError: An operator that can not be run in PyTorch here; lists them.
    """
    if len(source) < 2:
        raise DataError(f"{source.description}: {len(source)} image, refinement needs at least 2")
    images = np.concatenate([batch.images for batch in input_batches(source, preprocess, batch_size=_BATCH)])
    enough = len(images) > options.num_images
    learn, other = (images[0::2], images[1::2]) if enough else (images, images)
    learn = learn[: max(2, PIXELS_AT_ONCE // (preprocess.height_px * preprocess.width_px))]
    wanted = _logits(original, other)
    gains = [_gain("rounding to nearest", quantized, other, wanted, enough)]
    result, steps = quantized, ()
    for name in options.refinements:
        steps = (*steps, name)
        result = reconstruct(original, quantized, learn, steps, progress=progress)
        gains.append(_gain(" + ".join(steps), result, other, wanted, enough))
    return result, tuple(gains)


def _gain(
    step: str, model: onnx.ModelProto, images: np.ndarray, wanted: np.ndarray, is_held_out: bool
) -> RefinementGain:
    return RefinementGain(step=step, score=compare_logits(_logits(model, images), wanted), is_held_out=is_held_out)


def _logits(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return logits_of_model(model, (images[start : start + _BATCH] for start in range(0, len(images), _BATCH)))
