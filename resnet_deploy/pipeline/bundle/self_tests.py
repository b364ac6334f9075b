"""The answer that each model of a bundle must give to the golden image, and how far off it may be.

The answer is that of the ONNX file behind the model on ONNX Runtime. The limit is what rounding can do, tightened where
a wrong pixel path would still be inside of it.
"""

from __future__ import annotations

__all__ = ["GoldenImage", "MeasuredTest", "Setting", "answer_of", "golden_of", "measure_self_tests"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_deploy.core.errors import ConfigError, EngineRunError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.engine.contract import Runner
from resnet_deploy.engine.open import open_runner
from resnet_deploy.engine.sanity.limits import DISTINCT, rounding_limit
from resnet_deploy.pipeline.bundle.sources import ModelSource
from resnet_deploy.ship.golden import golden_pixels, golden_size
from resnet_deploy.ship.manifest import SelfTest

_TIGHTEST = 1 / 16
"""Of `rounding_limit`, which is a bound: a correct kernel is usually a hundred times closer."""

_SEEDS = range(6)
_OTHER_SEED = 97
_GREY = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Attributes:
    source: The model, or another of the same ONNX file and arithmetic.
    tf32: An engine's FP32 layers may round to TF32.
    """

    source: ModelSource
    tf32: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenImage:
    """Attributes:
    pixels: [H, W, 3] uint8, decoded.
    crop: [height_px, width_px, 3] uint8 of the pixel contract.
    """

    pixels: np.ndarray
    crop: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredTest:
    """A self-test and what it can tell.

    Attributes:
        nearest_fault: The wrong pixel path whose answer is nearest to the right one.
        fault_distance: How far off that is, in units of `max_abs_error`; one that is not above 1 would pass.
    """

    test: SelfTest
    nearest_fault: str
    fault_distance: float

    @property
    def is_blind(self) -> bool:
        """Whether a wrong pixel path could pass, however close."""
        return self.fault_distance < DISTINCT * (1 - 1e-9)


def golden_of(pixels: np.ndarray, preprocess: Preprocess, *, name: str) -> GoldenImage:
    """Resize and crop a decoded image; DataError where it is too small."""
    return GoldenImage(pixels=pixels, crop=np.ascontiguousarray(crop_pixels(pixels, preprocess, name=name)))


def answer_of(runner: Runner, image: GoldenImage, preprocess: Preprocess, *, takes_pixels: bool) -> np.ndarray:
    """Output [K] of a network for the golden image.

    Raises:
        EngineRunError: It failed, or has not one input and one output [1, K].
    """
    return _run(runner, image.pixels if takes_pixels else normalize(image.crop, preprocess))


def measure_self_tests(
    settings: Sequence[Setting],
    preprocess: Preprocess,
    *,
    golden: GoldenImage | None = None,
    progress: Progress = NO_PROGRESS,
) -> tuple[GoldenImage, tuple[MeasuredTest, ...]]:
    """Measure the self-test of every model on one image.

    Args:
        golden: None makes one up; of several, the one on which wrong pixel paths stand out most.
    Raises:
        ConfigError: The golden image gives outputs that are not finite, or all zero.
        EngineRunError: ONNX Runtime failed.
    """
    runners = {source.onnx: open_runner(source.onnx, backend="onnxruntime-cpu") for source in _distinct(settings)}
    try:
        images = [golden] if golden is not None else [_made_up(preprocess, seed) for seed in _SEEDS]
        progress.start("expected outputs on ONNX Runtime", len(images))
        best: tuple[GoldenImage, tuple[MeasuredTest, ...]] | None = None
        for image in images:
            tests = tuple(_measure(runners[one.source.onnx], one, image, preprocess) for one in settings)
            progress.advance()
            if best is None or _sharpness(tests) > _sharpness(best[1]):
                best = image, tests
            if not any(test.is_blind for test in tests):
                break
        return best
    finally:
        for runner in runners.values():
            runner.close()


def _distinct(settings: Sequence[Setting]) -> list[ModelSource]:
    return list({one.source.onnx: one.source for one in settings}.values())


def _made_up(preprocess: Preprocess, seed: int) -> GoldenImage:
    return golden_of(golden_pixels(*golden_size(preprocess), seed=seed), preprocess, name="golden image")


def _sharpness(tests: Sequence[MeasuredTest]) -> float:
    return min(test.fault_distance for test in tests)


def _measure(runner: Runner, setting: Setting, image: GoldenImage, preprocess: Preprocess) -> MeasuredTest:
    manifest = setting.source.manifest
    answers = _answers(runner, image, preprocess, takes_pixels=manifest.takes_pixels)
    expected = answers.pop("")
    largest = float(np.abs(expected).max())
    if not np.isfinite(expected).all() or largest == 0:
        raise ConfigError(
            f"{setting.source.onnx}: its answer to the golden image is {'zero' if largest == 0 else 'not finite'}",
            remedy="name another image with --golden; `resnet-deploy sanity` looks at the network itself",
        )
    distances = {
        name: float(np.abs(answer.astype(np.float64) - expected).max())
        for name, answer in answers.items()
        if np.isfinite(answer).all()
    }
    nearest = min(distances, key=distances.__getitem__)
    bound = rounding_limit(manifest.precision, tf32=setting.tf32) * largest
    allowed = float(np.clip(distances[nearest] / DISTINCT, bound * _TIGHTEST, bound))
    info = runner.info
    test = SelfTest(
        expected=tuple(float(value) for value in expected),
        max_abs_error=allowed,
        measured_on=f"onnxruntime {info.version}, {info.device}, from {Path(info.file).name}",
    )
    return MeasuredTest(test=test, nearest_fault=nearest, fault_distance=distances[nearest] / allowed)


def _answers(
    runner: Runner, image: GoldenImage, preprocess: Preprocess, *, takes_pixels: bool
) -> Mapping[str, np.ndarray]:
    """Fault -> output [K] float32 with it; "" is without."""
    if takes_pixels:
        other = golden_pixels(*image.pixels.shape[:2], seed=_OTHER_SEED)
        feeds = {"": image.pixels, "another image": other, **_wrong_channels(image.pixels)}
    else:
        feeds = _host_feeds(image, preprocess)
    return {name: _run(runner, feed) for name, feed in feeds.items()}


def _host_feeds(image: GoldenImage, preprocess: Preprocess) -> dict[str, np.ndarray]:
    """[3, H, W] float32 with each mistake that people make between decoder and network."""

    def ready(pixels: np.ndarray) -> np.ndarray:
        return normalize(pixels, preprocess)

    crop = image.crop
    unit = np.ascontiguousarray(np.moveaxis(crop.astype(np.float32) / np.float32(255), -1, 0))
    mean, std = (np.float32(_GREY).reshape(-1, 1, 1) for _ in range(2))
    right = ready(crop)
    feeds = {
        "": right,
        "another image": ready(golden_pixels(*crop.shape[:2], seed=_OTHER_SEED)),
        **{name: ready(pixels) for name, pixels in _wrong_channels(crop).items()},
        "no mean and standard deviation": unit,
        "mean and standard deviation of 0.5": (unit - mean) / std,
        "height, width, channel in memory": np.ascontiguousarray(np.moveaxis(right, 0, -1)).reshape(right.shape),
    }
    return {name: feed for name, feed in feeds.items() if name == "" or not np.array_equal(feed, right)}


def _wrong_channels(pixels: np.ndarray) -> dict[str, np.ndarray]:
    swaps: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "BGR": lambda rgb: rgb[..., ::-1],
        "channels in another order": lambda rgb: np.roll(rgb, 1, axis=-1),
    }
    return {
        name: np.ascontiguousarray(swap(pixels))
        for name, swap in swaps.items()
        if not np.array_equal(swap(pixels), pixels)  # a grey image has no other order
    }


def _run(runner: Runner, feed: np.ndarray) -> np.ndarray:
    inputs, outputs = runner.info.inputs, runner.info.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise EngineRunError(
            f"{runner.info.file} has {len(inputs)} inputs and {len(outputs)} outputs, expected one each"
        )
    answer = runner.run({inputs[0].name: feed[None]})[outputs[0].name]
    if answer.ndim != 2:
        raise EngineRunError(f"{runner.info.file}: output {outputs[0].name} is {list(answer.shape)}, expected [1, K]")
    return answer[0]
