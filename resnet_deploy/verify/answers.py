"""What a network says of images, in a form in which two networks, or a network and labels, can be compared.

Files of one network may say it differently: as logits, as probabilities, as the best classes alone, or not in classes
at all. Where both name classes, logits are compared as they are, and everything else as probabilities.
"""

from __future__ import annotations

__all__ = ["Answerer", "comparable", "logits_from"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.errors import ConfigError, DataError, EngineRunError
from resnet_deploy.core.specs import OutputKind, Preprocess
from resnet_deploy.engine.contract import Runner, logits_of
from resnet_deploy.graph.resize_weights import is_exact_for
from resnet_deploy.verify.averaging import softmax
from resnet_deploy.verify.subject import Subject

Answer = Mapping[str, np.ndarray]
"""Arrays by the name of the output; rows are images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answerer:
    """A network that is loaded, and what its outputs mean.

    Attributes:
        kind: From the manifest; a file without one gives logits.
        num_classes: None where no manifest says it.
        top: Classes that an image gets, where the file gives the best classes alone.
        preprocess: What pixels the network wants, or makes itself; None where no manifest says it.
    """

    runner: Runner
    kind: OutputKind
    num_classes: int | None
    top: int | None
    preprocess: Preprocess | None = None

    @classmethod
    def of(cls, subject: Subject, runner: Runner) -> Answerer:
        """Of a file and the runner that was opened for it; a runner of the checkpoint gives logits."""
        net = subject.manifest.net if subject.manifest else None
        kind = net.output if net else OutputKind.LOGITS
        classes = next((spec for spec in runner.info.outputs if spec.name == "classes"), None)
        return cls(
            runner=runner,
            kind=kind,
            num_classes=net.num_classes if net else None,
            top=int(classes.shape[1]) if kind is OutputKind.TOPK and classes is not None else None,
            preprocess=subject.manifest.preprocess if subject.manifest else None,
        )

    def answer(self, images: np.ndarray | Sequence[np.ndarray]) -> Answer:
        """Run images [N, 3, H, W]: {"logits": [N, K]}, {"probabilities": [N, K]} or {name: [N, values]}; float32.

        The best classes come as probabilities that are 0 for all others.

        Args:
            images: One array; or [H, W, 3] uint8 each, of which those of one size are run together.
        Raises:
            DataError: An image is larger than preprocessing in the graph is exact for.
            EngineRunError: The runner's outputs are not those of the kind.
        """
        if isinstance(images, np.ndarray):
            return self._answer(images)
        answer: dict[str, np.ndarray] = {}
        for rows in self._by_size(images):
            for name, values in self._answer(np.stack([images[row] for row in rows])).items():
                answer.setdefault(name, np.empty((len(images), values.shape[1]), np.float32))[rows] = values
        return answer

    def _by_size(self, images: Sequence[np.ndarray]) -> list[list[int]]:
        """Places of the images, those of one size together."""
        rows: dict[tuple[int, int], list[int]] = {}
        for row, image in enumerate(images):
            rows.setdefault(image.shape[:2], []).append(row)
        for height, width in rows:
            if self.preprocess is not None and not is_exact_for(height, width, self.preprocess):
                raise DataError(
                    f"{self.runner.info.file}: preprocessing in the graph overflows for an image of {width}x{height} px",
                    remedy="prepare such images on the host: give the file it was made from",
                )
        return list(rows.values())

    def _answer(self, images: np.ndarray) -> Answer:
        if self.kind in (OutputKind.LOGITS, OutputKind.SOFTMAX):
            name = "logits" if self.kind is OutputKind.LOGITS else "probabilities"
            return {name: logits_of(self.runner, images)}
        info = self.runner.info
        found = self.runner.run({info.inputs[0].name: images.astype(info.inputs[0].dtype, copy=False)})
        if self.kind is OutputKind.TOPK:
            return {"probabilities": self._dense(found)}
        return {name: values.reshape(len(values), -1).astype(np.float32, copy=False) for name, values in found.items()}

    def _dense(self, found: Answer) -> np.ndarray:
        missing = {"scores", "classes"} - set(found)
        if missing or self.num_classes is None:
            raise EngineRunError(
                f"{self.runner.info.file}: outputs are {', '.join(found)}, expected scores and classes"
            )
        classes = found["classes"].astype(np.int64)
        if classes.min() < 0 or classes.max() >= self.num_classes:
            raise EngineRunError(
                f"{self.runner.info.file}: classes reach from {classes.min()} to {classes.max()}, "
                f"expected 0 to {self.num_classes - 1}"
            )
        dense = np.zeros((len(classes), self.num_classes), np.float32)
        np.put_along_axis(dense, classes, found["scores"].astype(np.float32), axis=1)
        return dense


def comparable(sides: Sequence[Answerer], answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """Two networks' answers to the same images, brought to the same quantities.

    Logits become probabilities where the other side has those; where one side names the best k classes alone, the
    other keeps no more than that.

    Raises:
        ConfigError: One names classes and the other gives features or maps, or their outputs have different names.
    """
    first, second = sides
    if first.kind.names_classes != second.kind.names_classes or (
        not first.kind.names_classes and set(answers[0]) != set(answers[1])
    ):
        said = [
            f"{side.runner.info.file} gives {', '.join(answer)}" for side, answer in zip(sides, answers, strict=True)
        ]
        raise ConfigError(
            f"{said[0]}, {said[1]}: they can not be compared",
            remedy="give two files that were exported with the same --output",
        )
    if not first.kind.names_classes or first.kind is second.kind is OutputKind.LOGITS:
        return tuple(answers)
    tops = [side.top for side in sides if side.top is not None]
    found = []
    for answer in answers:
        rows = answer["probabilities"] if "probabilities" in answer else softmax(answer["logits"]).astype(np.float32)
        found.append({"probabilities": _best_alone(rows, min(tops)) if tops else rows})
    return tuple(found)


def logits_from(answer: Answer) -> np.ndarray:
    """[N, K] scores in the order of the classes' probabilities, whose softmax is those probabilities.

    The logarithm of a probability serves as its logit; one that is 0 counts as FP32's smallest number.
    """
    if "logits" in answer:
        return answer["logits"]
    with np.errstate(invalid="ignore"):
        return np.log(np.maximum(answer["probabilities"], np.finfo(np.float32).tiny))


def _best_alone(rows: np.ndarray, k: int) -> np.ndarray:
    """The k largest of each row; 0 in place of the others. A NaN stays."""
    if k >= rows.shape[1]:
        return rows
    smallest_kept = -np.partition(-rows, k - 1, axis=1)[:, k - 1 : k]
    return np.where((rows >= smallest_kept) | np.isnan(rows), rows, 0.0).astype(np.float32)
