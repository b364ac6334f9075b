"""Does the imported net compute what the weights' own framework computed? One input, its output, a tolerance."""

from __future__ import annotations

__all__ = ["SelfCheck", "run_self_check"]

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.decode import IMAGE_SUFFIXES, decode_image
from resnet_deploy.data.preprocess import normalize, preprocess

_FP32_ROUNDOFF = 2.0**-24
_BATCH = 8
_SUM_SLACK = 1e-3
_SMALLEST_PROBABILITY = 1e-30  # float32 keeps fewer digits below 1e-38; frameworks may flush them to zero


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfCheck:
    """The comparison of the net's output with the given one; true where it is within the tolerance.

    Attributes:
        input, output: The files.
        read_as: What the input was taken for.
        compared: "logits", or "log-probabilities" where the given rows are probabilities.
        max_abs_difference: max|got - expected| of what is compared.
        max_relative_difference: The same over max|expected|; this is what the tolerance limits.
        tolerance: See `run_self_check`.
        num_same_top1: Rows whose largest entry is the same class.
    """

    input: Path
    output: Path
    read_as: str
    num_rows: int
    compared: str
    max_abs_difference: float
    max_relative_difference: float
    tolerance: float
    num_same_top1: int
    passed: bool

    def __bool__(self) -> bool:
        return self.passed


def run_self_check(
    net: nn.Module, spec: Preprocess, *, input: Path, output: Path, caffe: bool, tolerance: float | None
) -> SelfCheck:
    """Run `net` on a given input and compare with the given output.

    Tolerance, where none is given: both frameworks sum the same products in float32, in another order. A sum of n
    terms then differs by about sqrt(n) roundoffs (random signs), and the L layers' errors add up in the worst
    case: L * sqrt(largest n) * 2^-24 of the largest output, 2.2e-4 for ResNet-50. A wrong stride, pad, channel
    order or weight is far above it.

    Given probabilities are the logits up to a constant a row, by their logarithm, and are compared as that: the
    difference of two logits may be twice as far off, and float32 keeps a probability to 2^-24 of itself, which
    is 2^-24 in its logarithm. The probabilities themselves would hide most faults of a confident net.

    Args:
        net: In evaluation mode, float32, on the CPU.
        input: Network input [N, 3, H, W] or [3, H, W] as .npy or .npz of floats, R G B; or 8-bit pixels
            [N, H, W, 3] R G B, which are normalised by `spec`; or an image file, which is preprocessed by it.
        output: [N, K] or [K] as .npy or .npz: logits or probabilities.
        caffe: Float inputs are Caffe's `data` blob: B G R, 0 to 255 with the mean subtracted.
    Raises:
        DataError: A file is missing, cut off, of another shape, or not finite.
    """
    images, read_as = _read_input(Path(input), spec, caffe=caffe)
    expected = _read_array(Path(output), name="output")
    expected = expected.reshape(1, -1) if expected.ndim == 1 else expected.reshape(len(expected), -1)
    with torch.inference_mode():
        parts = [net(torch.from_numpy(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
    logits = torch.cat(parts).double()
    if expected.shape != tuple(logits.shape):
        raise DataError(
            f"{output} has shape {list(expected.shape)}, the net gives {list(logits.shape)} for {input}",
            remedy="give the output of the same images: one row an image, one column a class",
        )
    got, want, compared = logits.numpy(), expected, "logits"
    limit = _rounding(net)
    if bool((expected >= 0).all() and (np.abs(expected.sum(axis=1) - 1) < _SUM_SLACK).all()):
        got, want, compared = *_logits_of_probabilities(got, expected), "log-probabilities"
        limit = _limit_of_probabilities(limit, logits.numpy(), want)
    scale = float(np.abs(want).max())
    difference = float(np.abs(got - want).max())
    relative = difference / scale if scale > 0 else float(np.abs(got).max())
    limit = limit if tolerance is None else tolerance
    return SelfCheck(
        input=Path(input),
        output=Path(output),
        read_as=read_as,
        num_rows=len(images),
        compared=compared,
        max_abs_difference=difference,
        max_relative_difference=relative,
        tolerance=limit,
        num_same_top1=int((logits.numpy().argmax(1) == expected.argmax(1)).sum()),
        passed=bool(relative <= limit),
    )


def _logits_of_probabilities(logits: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as differences to the likeliest class of the row; 0 where the probability is too small for float32."""
    top = probabilities.argmax(axis=1)[:, None]
    kept = probabilities > _SMALLEST_PROBABILITY
    want = np.log(np.where(kept, probabilities, 1)) - np.log(np.take_along_axis(probabilities, top, axis=1))
    got = logits - np.take_along_axis(logits, top, axis=1)
    return np.where(kept, got, 0), np.where(kept, want, 0)


def _limit_of_probabilities(rounding: float, logits: np.ndarray, want: np.ndarray) -> float:
    scale = float(np.abs(want).max())
    return 2 * (rounding * float(np.abs(logits).max()) + _FP32_ROUNDOFF) / scale if scale > 0 else 2 * rounding


def _rounding(net: nn.Module) -> float:
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    largest_sum = max(layer.weight[0].numel() for layer in layers)
    return len(layers) * largest_sum**0.5 * _FP32_ROUNDOFF


def _read_input(path: Path, spec: Preprocess, *, caffe: bool) -> tuple[np.ndarray, str]:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        if not path.is_file():
            raise DataError(f"{path}: no such file", remedy="check the path given with --check-input")
        pixels = decode_image(path.read_bytes(), name=str(path))
        return preprocess(pixels, spec, name=str(path))[None], "an image, preprocessed as recorded"
    array = _read_array(path, name="input")
    if array.dtype == np.uint8:
        array = array[None] if array.ndim == 3 else array
        if array.ndim == 4 and array.shape[-1] == 3 and array.size:
            return normalize(array, spec), "8-bit pixels [N, H, W, 3] in R G B, normalised as recorded"
    elif array.dtype.kind == "f":
        array = array[None] if array.ndim == 3 else array
        if array.ndim == 4 and array.shape[1] == 3 and array.size:
            array = array[:, ::-1] if caffe else array
            read_as = "Caffe's data blob in B G R, mean subtracted" if caffe else "network input in R G B"
            return np.ascontiguousarray(array, dtype=np.float32), read_as
    raise DataError(
        f"{path} holds {array.dtype} of shape {list(array.shape)}, expected float [N, 3, H, W] or uint8 [N, H, W, 3]",
        remedy="save the network's input with numpy.save, or give an image file",
    )


def _read_array(path: Path, *, name: str) -> np.ndarray:
    """The array of a .npy; of a .npz the one named `name`, or its only one."""
    if not path.is_file():
        raise DataError(f"{path}: no such file", remedy=f"check the path given with --check-{name}")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = loaded
        else:
            with loaded:
                names = loaded.files
                chosen = name if name in names else names[0] if len(names) == 1 else None
                if chosen is None:
                    raise DataError(
                        f"{path} holds {', '.join(names) or 'nothing'}, expected one array, or one named {name!r}",
                        remedy=f"name the array: numpy.savez(FILE, {name}=...)",
                    )
                array = loaded[chosen]
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        # numpy takes any other file for a pickle, and advises to load it unsafely
        reason = "it holds Python objects, or is another kind of file" if "allow_pickle" in str(error) else error
        raise DataError(
            f"{path} is not a whole .npy or .npz file of numbers: {reason}", remedy="write it again with numpy.save"
        ) from error
    if array.dtype.kind not in "fiu" or array.ndim == 0 or not np.isfinite(array).all():
        raise DataError(f"{path} holds {array.dtype} of shape {list(array.shape)}, expected finite numbers")
    return array if name == "input" else array.astype(np.float64)
