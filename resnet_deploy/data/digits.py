"""scikit-learn's 1,797 handwritten digits: a data set that needs no download."""

from __future__ import annotations

__all__ = ["DIGITS_PREPROCESS", "DigitsSource"]

import numpy as np

from resnet_deploy.core.errors import DataError, MissingDependencyError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.specs import Preprocess

DIGITS_PREPROCESS = Preprocess(
    height_px=32, width_px=32, resize_shorter_px=32, mean=(0.3, 0.3, 0.3), std=(0.35, 0.35, 0.35)
)
"""8 px digits enlarged to the CIFAR nets' 32 px; mean and std of the enlarged training pixels, rounded."""

_SPLIT_SEED = 0


class DigitsSource:
    """8x8 grayscale digits as [8, 8, 3] uint8.

    A stratified third is held out: splits "val" and "test" are that third, "train" is the rest.
    """

    def __init__(self, split: str | None) -> None:
        try:
            from sklearn.datasets import load_digits
            from sklearn.model_selection import train_test_split
        except ImportError as error:
            raise MissingDependencyError(
                "the bundled digits need scikit-learn", remedy="pip install 'resnet-deploy[demo]'"
            ) from error
        digits = load_digits()
        indices = np.arange(len(digits.target))
        train, held_out = train_test_split(indices, test_size=1 / 3, stratify=digits.target, random_state=_SPLIT_SEED)
        parts = {None: indices, "train": np.sort(train), "val": np.sort(held_out), "test": np.sort(held_out)}
        if split not in parts:
            raise DataError(f"digits have no split {split!r}", remedy="choose train, val or test with --split")
        self.indices = parts[split]
        self.description = "digits" if split is None else f"digits/{split}"
        self.classes = tuple(str(name) for name in digits.target_names)
        self.labels = digits.target[self.indices].astype(np.int64)
        self._pixels = np.rint(digits.images[self.indices] * (255 / 16)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self._pixels)

    def image(self, index: int) -> np.ndarray:
        return np.repeat(self._pixels[index][:, :, None], 3, axis=2)

    def name(self, index: int) -> str:
        return f"digits[{self.indices[index]}]"

    def fingerprint(self) -> str:
        return sha256_of_bytes(self._pixels.tobytes() + self.labels.tobytes())
