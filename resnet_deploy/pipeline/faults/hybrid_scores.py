"""How graphs that were put together decide against the reference, on images that are decoded once."""

from __future__ import annotations

__all__ = ["HybridScorer"]

from pathlib import Path

import numpy as np
import onnx

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ConfigError, GraphError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.score import Score, compare_logits
from resnet_deploy.core.specs import OutputKind, Preprocess
from resnet_deploy.data.classes import map_classes
from resnet_deploy.data.crops import decode_crops
from resnet_deploy.data.preprocess import normalize
from resnet_deploy.data.source import ImageSource
from resnet_deploy.engine.contract import Runner
from resnet_deploy.graph.external_data import read_onnx_with_data
from resnet_deploy.graph.head import take_off_head
from resnet_deploy.pipeline.faults.contenders import Contender

_BATCH = 32


class HybridScorer:
    """Holds the pixels, the reference's logits and the labels.

    Args:
        sides: Reference and candidate; graphs run on the candidate's backend.
        needs_labels: Refuse images without labels.
    Raises:
        ConfigError: The networks choose no class, or labels are needed and not there.
        DataError: An image can not be used, or there are other classes than the network's.
    """

    def __init__(
        self,
        sides: tuple[Contender, Contender],
        source: ImageSource,
        preprocess: Preprocess,
        *,
        needs_labels: bool,
        num_threads: int = 0,
        progress: Progress = NO_PROGRESS,
    ) -> None:
        for side in sides:
            _check_decides(side.manifest, side.subject.file)
        has_labels = bool(source.classes) and int(source.labels.min()) >= 0
        if needs_labels and not has_labels:
            raise ConfigError(
                f"metric top1 needs labels, {source.description} has none", remedy="take --metric agreement"
            )
        self._preprocess, self._candidate = preprocess, sides[1]
        self._pixels = decode_crops(source, preprocess, num_threads=num_threads, progress=progress)
        progress.start("the reference's logits", None)
        self._wanted = self._logits(sides[0].open(sides[0].model))
        self._labels = None
        if has_labels:
            names = next((side.subject.labels for side in sides if side.subject.labels), None)
            classes = map_classes(source, names, self._wanted.shape[1], file=str(sides[0].subject.file))
            self._labels = classes.to_output[source.labels]

    def score(self, model: onnx.ModelProto) -> Score:
        """Of a graph whose first output are logits."""
        return compare_logits(self._logits(self._candidate.open(model)), self._wanted, self._labels)

    def score_file(self, file: Path) -> Score:
        """Of a delivered file."""
        model = read_onnx_with_data(file)[0]
        take_off_head(model)
        return self.score(model)

    def _logits(self, runner: Runner) -> np.ndarray:
        with runner:
            spec, output = runner.info.inputs[0], runner.info.outputs[0].name
            rows = []
            for start in range(0, len(self._pixels), _BATCH):
                images = normalize(self._pixels[start : start + _BATCH], self._preprocess)
                values = runner.run({spec.name: images.astype(spec.dtype, copy=False)})[output]
                rows.append(values.astype(np.float32).reshape(len(values), -1))
        logits = np.concatenate(rows)
        if logits.shape[1] < 2:
            raise GraphError(f"{runner.info.file}: output {output} has {logits.shape[1]} values an image, no classes")
        return logits


def _check_decides(manifest: Manifest | None, file: Path) -> None:
    output = manifest.net.output if manifest and manifest.net else OutputKind.LOGITS
    if not output.names_classes:
        raise ConfigError(
            f"{file} gives {output}, bisect compares which classes are chosen",
            remedy="use it on the classifier's file, made by `resnet-deploy export --output logits`; `diverge` takes any",
        )
