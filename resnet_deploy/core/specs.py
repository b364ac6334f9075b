"""The nouns that every stage shares: precision, tensors, pixels and targets."""

from __future__ import annotations

__all__ = [
    "MAIN_PRECISIONS",
    "PREPROCESS_VERSION",
    "OutputKind",
    "Precision",
    "Preprocess",
    "TensorSpec",
    "UnsignedRelu",
    "ten_crop_side",
]

from dataclasses import dataclass
from enum import Enum

from resnet_deploy.core.errors import ConfigError

PREPROCESS_VERSION = 1
"""Raised when the same `Preprocess` fields would give other bytes."""


class Precision(str, Enum):
    """Numeric format of the convolutions and the classifier of an ONNX file.

    It is a property of the graph (casts, Q/DQ), never a builder flag. With `INT8` and `FP8` (E4M3) the operations
    that stay in floating point run in FP16 unless asked otherwise.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"

    def __str__(self) -> str:
        return self.value


class OutputKind(str, Enum):
    """What the outputs of a network file mean; their names say the same.

    LOGITS: `logits` [N, K]. SOFTMAX: `probabilities` [N, K]. TOPK: `scores` [N, k] (probabilities, largest first) and
    `classes` [N, k] int32. FEATURES: `features` [N, C], what the classifier reads. MAPS: the last maps of stages, `c2`
    [N, C, H/4, W/4], `c3` at stride 8 and so on, the number being the logarithm of the stride.
    """

    LOGITS = "logits"
    SOFTMAX = "softmax"
    TOPK = "topk"
    FEATURES = "features"
    MAPS = "maps"

    def __str__(self) -> str:
        return self.value

    @property
    def names_classes(self) -> bool:
        """Whether an image's class can be read from it."""
        return self in (OutputKind.LOGITS, OutputKind.SOFTMAX, OutputKind.TOPK)


class UnsignedRelu(str, Enum):
    """Which ReLU outputs of an INT8 network use all 256 numbers, see `quant.unsigned`.

    FREE: those that no padded convolution reads. FIRST: those and the first of the network, on which most depends.
    ALL: every one.
    """

    OFF = "off"
    FREE = "free"
    FIRST = "first"
    ALL = "all"

    def __str__(self) -> str:
        return self.value


MAIN_PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8)
"""What a whole chain makes unless asked otherwise: every GPU that TensorRT-RTX builds for has them (BF16 begins with
SM 8.0, FP8 with SM 8.9)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """Name, type and shape of one input or output of a network.

    Attributes:
        dtype: numpy name, e.g. "float32".
        shape: One entry per axis; a string (the axis name) or -1 where the size is dynamic.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocess:
    """The pixel path from a decoded image to a network input; frozen, versioned, in every manifest.

    An image is decoded to 8-bit RGB (a grayscale file gives three equal channels; EXIF rotation is not
    applied), its shorter side is resized to `resize_shorter_px` (Pillow's antialiased bilinear filter in
    22-bit fixed point, horizontal pass first), a `height_px` x `width_px` window is cut from the centre
    (offsets rounded half to even), and `(x / 255 - mean) / std` is computed in float32. The result is
    [N, 3, height_px, width_px], channels in RGB order. docs/reference/preprocess.md has every byte of it.

    Attributes:
        height_px, width_px: Size of the network input.
        resize_shorter_px: Length of the shorter side before the crop; None leaves the image as it is, so
            it must already be height_px x width_px.
        mean, std: Per channel, RGB, in units of pixel / 255.
        version: Version of this rule; see PREPROCESS_VERSION.
    """

    height_px: int
    width_px: int
    resize_shorter_px: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    version: int = PREPROCESS_VERSION

    def __post_init__(self) -> None:
        problems = []
        if self.version != PREPROCESS_VERSION:
            problems.append(f"preprocess version {self.version} is not {PREPROCESS_VERSION}, the only one known here")
        if self.height_px < 1 or self.width_px < 1:
            problems.append(f"input size {self.height_px}x{self.width_px} px must be positive")
        if self.resize_shorter_px is not None and self.resize_shorter_px < max(self.height_px, self.width_px):
            problems.append(
                f"resize_shorter_px {self.resize_shorter_px} is smaller than the crop {self.height_px}x{self.width_px}"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or any(not s > 0 for s in self.std):
            problems.append(f"mean {self.mean} and std {self.std} must hold three values, std positive")
        if problems:
            raise ConfigError("preprocess: " + "; ".join(problems))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """C, H, W of one network input."""
        return (3, self.height_px, self.width_px)


def ten_crop_side(preprocess: Preprocess) -> int:
    """The usual shorter side of ten-crop in pixels: 256 for crops of 224 (arXiv:1512.03385, 3.4), others in proportion."""
    return round(max(preprocess.height_px, preprocess.width_px) * 256 / 224)
