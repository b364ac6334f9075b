"""How a quantised file decides against the FP32 network, on one set of images, by ONNX Runtime."""

from __future__ import annotations

__all__ = ["ScoringImages", "load_scoring_images", "logits_of_model", "score_logits"]

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ArtifactError, GraphError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.score import Score, compare_logits
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.data.classes import map_classes
from resnet_deploy.data.crops import decode_crops
from resnet_deploy.data.preprocess import normalize
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.network import check_decides, read_network

_BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringImages:
    """Decoded images, what FP32 says of them, and what is true.

    Attributes:
        pixels: [N, H, W, 3] uint8 after resize and crop: a quarter of the memory of network inputs.
        logits: [N, K] float32 of the FP32 network.
        labels: [N] network outputs that should be largest; None where the images have no labels.
        description, fingerprint: Of the source.
    """

    pixels: np.ndarray
    logits: np.ndarray
    labels: np.ndarray | None
    preprocess: Preprocess
    description: str
    fingerprint: str

    @property
    def top1_percent(self) -> float | None:
        """Of the FP32 network."""
        return None if self.labels is None else 100.0 * float(np.mean(self.logits.argmax(axis=1) == self.labels))

    def batches(self, num_images: int | None = None) -> Iterator[np.ndarray]:
        """Network inputs [<= 32, 3, H, W] float32 of all images, or of at most `num_images`, evenly spread."""
        count = len(self.pixels) if num_images is None else min(num_images, len(self.pixels))
        places = np.arange(count) * len(self.pixels) // count
        for start in range(0, count, _BATCH):
            yield normalize(self.pixels[places[start : start + _BATCH]], self.preprocess)


def load_scoring_images(
    onnx_file: Path,
    manifest: Manifest,
    *,
    data: str,
    split: str | None,
    num_images: int,
    seed: int,
    num_threads: int = 0,
    progress: Progress = NO_PROGRESS,
) -> ScoringImages:
    """Decode images once and run the FP32 network over them once.

    Args:
        num_images: A stratified sample of that many; 0 takes all.
    Raises:
        ArtifactError: The file is not FP32, or its manifest has no preprocessing.
        DataError: The images can not be used, or have other classes than the network.
    """
    if manifest.precision is not Precision.FP32 or manifest.preprocess is None:
        raise ArtifactError(
            f"{onnx_file} is {manifest.precision}, the FP32 file with its preprocessing is the reference",
            remedy="make one with `resnet-deploy export`",
        )
    check_decides(manifest, file=onnx_file, what="this search")
    source = open_images(data, split=split)
    if num_images:
        source = stratified_sample(source, num_images, seed=seed)
    preprocess = manifest.preprocess
    pixels = decode_crops(source, preprocess, num_threads=num_threads, progress=progress)
    model = read_network(onnx_file, manifest).model
    progress.start("FP32 logits", len(pixels))
    logits = logits_of_model(
        model, (normalize(pixels[i : i + _BATCH], preprocess) for i in range(0, len(pixels), _BATCH)), num_threads
    )
    labels = None
    if source.classes and int(source.labels.min()) >= 0:
        classes = map_classes(source, manifest.labels, logits.shape[1], file=str(onnx_file))
        labels = classes.to_output[source.labels]
    return ScoringImages(
        pixels=pixels,
        logits=logits,
        labels=labels,
        preprocess=preprocess,
        description=source.description,
        fingerprint=source.fingerprint(),
    )


def logits_of_model(model: onnx.ModelProto, batches: Iterator[np.ndarray], num_threads: int = 0) -> np.ndarray:
    """[N, K] float32, by ONNX Runtime.

    Raises:
        GraphError: The network takes batches of one size alone.
    """
    session = open_session(model, num_threads=num_threads)
    name, (size, *_) = session.get_inputs()[0].name, session.get_inputs()[0].shape
    if isinstance(size, int):
        raise GraphError(
            f"the network takes a batch of {size} alone, and many images are given to it at once",
            remedy="export it anew with a batch of any size",
        )
    rows = [session.run(None, {name: batch})[0].astype(np.float32) for batch in batches]
    return np.concatenate([row.reshape(len(row), -1) for row in rows])


def score_logits(logits: np.ndarray, images: ScoringImages) -> Score:
    """Compare [N, K] logits with those of FP32 for the same images."""
    return compare_logits(logits, images.logits, images.labels)
