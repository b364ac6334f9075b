"""Options with planted speeds and accuracies; no roofline and no file."""

from __future__ import annotations

import pytest

from resnet_deploy.bench.advisor.accuracy import AccuracyBook, MeasuredAccuracy
from resnet_deploy.bench.advisor.advice import (
    AccuracyBasis,
    KnownAccuracy,
    KnownSpeed,
    Option,
    SpeedBasis,
)
from resnet_deploy.bench.advisor.measured import MeasuredRun
from resnet_deploy.bench.advisor.speeds import Bound, Key
from resnet_deploy.core.specs import Precision

_BASE_MS = {"resnet18": 0.2, "resnet34": 0.4, "resnet50": 0.5, "resnet101": 1.0, "resnet152": 1.5}
_FASTER = {Precision.FP32: 1.0, Precision.FP16: 0.5, Precision.INT8: 0.25}


def plain_bound(key: Key) -> Bound | None:
    """A roofline that a child can compute: proportional to the pixels and the batch; no FP8."""
    if key.precision not in _FASTER:
        return None
    latency = _BASE_MS[key.net] * _FASTER[key.precision] * (key.size_px / 224) ** 2 * key.batch
    rate = 1e3 * key.batch / latency
    return Bound(
        latency_ms=latency, images_per_second=rate, limited_by="memory", likely_ms=3 * latency,
        likely_images_per_second=rate / 3,
    )  # fmt: skip


def a_run(net: str = "resnet50", precision: Precision = Precision.INT8, batch: int = 1, **changes) -> MeasuredRun:
    values = {
        "net": net, "size_px": 224, "precision": precision, "batch": batch, "backend": "tensorrt", "device": "NVIDIA L4",
        "cpu": "a processor", "p50_ms": 0.5, "p99_ms": 0.6, "images_per_second": 2000.0, "source": "out/bench.json",
        "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return MeasuredRun(**{**values, **changes})


def a_score(net: str = "resnet50", precision: Precision = Precision.FP32, **changes) -> MeasuredAccuracy:
    values = {
        "net": net, "size_px": 224, "precision": precision, "num_classes": 1000, "top1_percent": 76.0, "low": 75.6,
        "high": 76.4, "num_images": 50_000, "data": "imagenet val", "source": "out/a.verdict.json",
    }  # fmt: skip
    return MeasuredAccuracy(**{**values, **changes})


def an_option(
    *,
    latency_ms: float = 1.0,
    images_per_second: float = 1000.0,
    top1: float | None = 76.0,
    basis: SpeedBasis = SpeedBasis.MEASURED,
    joules: float | None = None,
    likely_ms: float | None = None,
    **changes,
) -> Option:
    speed = KnownSpeed(
        basis=basis,
        latency_ms=latency_ms,
        images_per_second=images_per_second,
        joules_per_image=joules,
        likely_ms=likely_ms,
    )
    known = AccuracyBasis.UNKNOWN if top1 is None else AccuracyBasis.PUBLISHED
    accuracy = KnownAccuracy(basis=known, top1_percent=top1, low=top1, high=top1, source="a table")
    values = {
        "net": "resnet50", "size_px": 224, "precision": Precision.INT8, "batch": 1, "backend": "", "device": "",
        "speed": speed, "accuracy": accuracy,
    }  # fmt: skip
    return Option(**{**values, **changes})


@pytest.fixture
def book() -> AccuracyBook:
    """Published figures of torchvision's V1 weights, nothing measured."""
    return AccuracyBook((), weights="torchvision-v1")
