"""Refinement of a quantised network on unlabelled images, with the gain of every step measured on other images."""

from __future__ import annotations

__all__ = ["REFINEMENTS", "RefineOptions", "Refined", "RefinementGain", "open_refinement_images", "refine_model"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx

from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.score import Score, compare_logits
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.data.crops import decode_crops
from resnet_deploy.data.preprocess import normalize
from resnet_deploy.data.source import ImageSource, Subset, open_images, stratified_sample
from resnet_deploy.quant.equalization import Equalized, equalize
from resnet_deploy.quant.reconstruction import RECONSTRUCTIONS, reconstruct
from resnet_deploy.quant.scoring import logits_of_model

_EQUALIZE = "equalize"
REFINEMENTS = (_EQUALIZE, *RECONSTRUCTIONS)
"""In the order in which they are done, whatever order is asked for: what follows starts from equalised channels."""

_BATCH_PIXELS = 2**19
"""Of one pass whose logits are compared: 32 images of 128 px, 10 of 224 px."""
PIXELS_AT_ONCE = 2**20
"""Bias and rounding hold all their images' activations of a few tensors at once: 1024 images of 32 px, 20 of 224 px."""
PIXELS_IN_ALL = 2**24
"""Equalisation holds its images, and so does what the gain is shown on: 334 of 224 px each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefineOptions:
    """What to refine, and on which images.

    Attributes:
        refinements: Names of REFINEMENTS; "equalize" comes first wherever it stands.
        data: What `data.source.open_images` takes; labels are not used.
        split: Part of the data: that of calibration, never the one accuracy is measured on.
        num_images: To learn from, at most; of large images fewer, see PIXELS_AT_ONCE and PIXELS_IN_ALL. As many others,
            if there are, show the gain. Nothing else is decoded.
        seed: Chooses them.
    """

    refinements: tuple[str, ...]
    data: str
    split: str = "train"
    num_images: int = 1024
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


class Refined(NamedTuple):
    """What refinement made.

    Attributes:
        equalized: The network that all other steps started from; None where channels were not equalised.
    """

    quantized: onnx.ModelProto
    gains: tuple[RefinementGain, ...]
    equalized: Equalized | None


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
    float_precision: Precision,
    progress: Progress = NO_PROGRESS,
) -> Refined:
    """Refine step by step. Equalisation comes first; every other step starts from its network, rounded to nearest.

    Args:
        original: FP32.
        quantized: What `insert_qdq` made of it; its floats are FP32.
        source: See `open_refinement_images`.
        float_precision: What scales have to be values of.
    Raises:
        DataError: Fewer than two images.
        GraphError: An operator that can not be run in PyTorch here; lists them.
    """
    learn, other, enough = _images(source, preprocess, options, progress)
    wanted = _logits(original, other, preprocess)
    gains = [_gain("rounding to nearest", quantized, other, wanted, preprocess, enough)]
    equalized, steps = None, ()
    if _EQUALIZE in options.refinements:
        equalized = equalize(original, quantized, learn, float_precision=float_precision, progress=progress)
        original, quantized = equalized.original, equalized.quantized
        gains.append(_gain(_EQUALIZE, quantized, other, wanted, preprocess, enough))
    learn = learn[_spread(range(len(learn)), min(len(learn), _at_most(PIXELS_AT_ONCE, preprocess)))]
    result = quantized
    for name in options.refinements:
        if name == _EQUALIZE:
            continue
        steps = (*steps, name)
        result = reconstruct(original, quantized, learn, steps, progress=progress)
        done = steps if equalized is None else (_EQUALIZE, *steps)
        gains.append(_gain(" + ".join(done), result, other, wanted, preprocess, enough))
    return Refined(result, tuple(gains), equalized)


def _images(
    source: ImageSource, preprocess: Preprocess, options: RefineOptions, progress: Progress
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Network inputs to learn from, pixels to show the gain on, and whether these are others."""
    if len(source) < 2:
        raise DataError(f"{source.description}: {len(source)} image, refinement needs at least 2")
    show = min(options.num_images, _at_most(PIXELS_IN_ALL, preprocess))
    learn = show if _EQUALIZE in options.refinements else min(show, _at_most(PIXELS_AT_ONCE, preprocess))
    learnt, shown = _places(len(source), learn_from=learn, show_on=show)
    inputs = normalize(decode_crops(Subset(source, learnt), preprocess, progress=progress), preprocess)
    return inputs, decode_crops(Subset(source, shown), preprocess, progress=progress), not set(learnt) & set(shown)


def _at_most(num_pixels: int, preprocess: Preprocess) -> int:
    """How many images have no more pixels than that, though at least 2."""
    return max(2, num_pixels // (preprocess.height_px * preprocess.width_px))


def _places(count: int, *, learn_from: int, show_on: int) -> tuple[list[int], list[int]]:
    """Which of `count` images to learn from and which others to measure on, spread evenly; all twice where it is few."""
    if count <= learn_from:
        return list(range(count)), list(range(count))
    learnt = _spread(range(count), min(learn_from, -(-count // 2)))
    rest = sorted(set(range(count)).difference(learnt))
    return learnt, _spread(rest, min(show_on, len(rest)))


def _spread(places: Sequence[int], count: int) -> list[int]:
    return [places[index * len(places) // count] for index in range(count)]


def _gain(
    step: str,
    model: onnx.ModelProto,
    pixels: np.ndarray,
    wanted: np.ndarray,
    preprocess: Preprocess,
    is_held_out: bool,
) -> RefinementGain:
    score = compare_logits(_logits(model, pixels, preprocess), wanted)
    return RefinementGain(step=step, score=score, is_held_out=is_held_out)


def _logits(model: onnx.ModelProto, pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    batch = max(1, min(32, _BATCH_PIXELS // (preprocess.height_px * preprocess.width_px)))
    starts = range(0, len(pixels), batch)
    return logits_of_model(model, (normalize(pixels[start : start + batch], preprocess) for start in starts))
