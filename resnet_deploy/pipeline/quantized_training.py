"""Quantisation-aware training and what it brought: every file scored as it was delivered, against the same reference."""

from __future__ import annotations

__all__ = ["QuantizedTraining", "ScoredFile", "float_twin_of", "train_quantized"]

from dataclasses import dataclass, replace
from pathlib import Path

from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.train.options import TrainOptions, TrainResult
from resnet_deploy.verify.validate import ValidateOptions, validate
from resnet_deploy.verify.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredFile:
    """One network on the held-out images.

    Attributes:
        top1_percent, top1_drop: None where the images have no labels; the drop is in points, against the FP32 network.
        agreement: Share of images on which it answers as the FP32 network does.
    """

    name: str
    file: Path
    top1_percent: float | None
    top1_drop: float | None
    agreement: float | None
    sqnr_db: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedTraining:
    """What came of it.

    Attributes:
        float_training: The same training of the FP32 network; None where it was not asked for.
        scores: The FP32 network, its trained twin, the INT8 file before and after; empty where `note` says why.
    """

    training: TrainResult
    float_training: TrainResult | None
    num_images: int
    scores: tuple[ScoredFile, ...]
    note: str = ""


def float_twin_of(out: Path) -> Path:
    """Where the FP32 network of the same training goes: `a.qat.int8.onnx` -> `a.qat.fp32.onnx`."""
    return out.with_name(f"{out.name.removesuffix('.onnx').removesuffix('.int8')}.fp32.onnx")


def train_quantized(
    options: TrainOptions, progress: Progress = NO_PROGRESS, *, compare_fp32: bool = False
) -> QuantizedTraining:
    """Train an INT8 file further and score it, the file it came from and the FP32 network with ONNX Runtime.

    Args:
        compare_fp32: Also train the FP32 network with the same images, recipe and seed. More training helps an FP32
            network as well, so only this tells what the rounding still costs, and what the training merely added.
    Raises:
        ConfigError: No INT8 file is named.
        ResnetDeployError: As `train` does.
    """
    from resnet_deploy.train.loop import train
    from resnet_deploy.train.quantized import float_network_of

    start = options.quantized
    if start is None:
        raise ConfigError("no INT8 file to train was named", remedy="give --qat NET.int8.onnx")
    twin = None
    if compare_fp32:
        twin = replace(
            options, out=float_twin_of(options.out), quantized=replace(start, float_twin=True, learn_scales=False)
        )
    reference = float_network_of(start)
    trained = train(options, progress=progress)
    float_trained = train(twin, progress=progress) if twin is not None else None
    candidates = [
        ("INT8 before", start.int8, options.beside("before.verdict.json")),
        ("INT8 trained", options.out, None),
    ]
    if twin is not None:
        candidates.insert(0, ("FP32 trained", twin.out, None))
    try:
        verdicts = [
            validate(
                ValidateOptions(
                    reference=reference,
                    candidate=file,
                    data=options.data,
                    split=options.val_split,
                    num_threads=options.num_threads,
                    skip_bad=options.skip_bad,
                    out=verdict,
                    force=options.force,
                ),
                progress,
            )
            for _, file, verdict in candidates
        ]
    except DataError as error:  # distillation takes images whose classes are not the network's
        return QuantizedTraining(
            training=trained, float_training=float_trained, num_images=0, scores=(), note=f"not scored: {error.message}"
        )
    scores = [_reference(reference, verdicts[0])]
    scores += [_score(name, file, v) for (name, file, _), v in zip(candidates, verdicts, strict=True)]
    return QuantizedTraining(
        training=trained, float_training=float_trained, num_images=verdicts[0].num_images, scores=tuple(scores)
    )


def _reference(file: Path, verdict: Verdict) -> ScoredFile:
    accuracy = verdict.reference.accuracy
    top1 = None if accuracy is None else accuracy.top1_percent
    return ScoredFile(name="FP32", file=file, top1_percent=top1, top1_drop=None, agreement=None, sqnr_db=None)


def _score(name: str, file: Path, verdict: Verdict) -> ScoredFile:
    accuracy = verdict.candidate.accuracy
    return ScoredFile(
        name=name,
        file=file,
        top1_percent=None if accuracy is None else accuracy.top1_percent,
        top1_drop=verdict.top1_drop,
        agreement=verdict.parity.top1_agreement,
        sqnr_db=verdict.parity.sqnr_db,
    )
