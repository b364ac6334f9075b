"""What is exported: one network or an ensemble, and in which form; as an ONNX graph and as torch's answer to it."""

from __future__ import annotations

__all__ = ["ExportForm", "Exportable", "LoadedNet", "load_net", "make_exportable"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import onnx
from torch import nn

from resnet_deploy.core.artifacts import Manifest, NetRecord
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Preprocess, ten_crop_side
from resnet_deploy.export.ensemble import ensemble_onnx
from resnet_deploy.export.fully_convolutional import fully_convolutional_onnx
from resnet_deploy.export.ten_crop import ten_crop_onnx
from resnet_deploy.export.tracing import onnx_from_torch
from resnet_deploy.nets.averaging import Ensemble, TenCrop
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net, load_checkpoint
from resnet_deploy.nets.fully_convolutional import FullyConvolutional, fully_convolutional, position_free


class ExportForm(str, Enum):
    """What the exported graph does with an image."""

    CLASSIFIER = "classifier"
    TEN_CROP = "ten-crop"
    FULLY_CONVOLUTIONAL = "fully-convolutional"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedNet:
    """A network, trained or untrained, with what its files say of it.

    Attributes:
        source: File or description, for messages.
        manifest: None for an untrained network.
        weights: "trained", or "random, seed 0" and the like.
    """

    net: nn.Module
    source: str
    record: NetRecord
    preprocess: Preprocess
    manifest: Manifest | None
    weights: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Exportable:
    """A graph that is ready to be checked and written.

    Attributes:
        model: FP32, `images` -> `logits`.
        reference: The torch module that computes the same.
        preprocess: What the graph's input wants.
        probes: Input sizes at which both are compared.
        parent: Manifest from which class names are taken.
    """

    model: onnx.ModelProto
    reference: nn.Module
    record: NetRecord
    preprocess: Preprocess
    probes: tuple[Preprocess, ...]
    parent: Manifest | None
    weights: str


def load_net(checkpoint: Path | None, *, name: str | None, seed: int) -> LoadedNet:
    """A checkpoint's network, or the untrained one of that name."""
    if checkpoint is None:
        spec = find_net(name)
        return LoadedNet(
            net=fresh_net(spec, seed=seed),
            source=spec.name,
            record=NetRecord(name=spec.name, num_classes=spec.num_classes),
            preprocess=spec.preprocess,
            manifest=None,
            weights=f"random, seed {seed}",
        )
    loaded = load_checkpoint(checkpoint)
    return LoadedNet(
        net=loaded.net,
        source=str(checkpoint),
        record=loaded.manifest.net,
        preprocess=loaded.manifest.preprocess or loaded.spec.preprocess,
        manifest=loaded.manifest,
        weights=str(loaded.manifest.details.get("weights", "trained")),
    )


def make_exportable(members: Sequence[LoadedNet], form: ExportForm, *, resize_px: int | None = None) -> Exportable:
    """Bring networks into the form that is asked for, several of them as one ensemble.

    Args:
        resize_px: Side of the square input of ten-crop; None takes 256/224 of the crop.
    Raises:
        ConfigError: The members want different pixels or know different classes (names both), or `resize_px` is
            smaller than a crop.
        ExportError: torch's exporter failed, or the network has no such form.
    """
    _check_members(members)
    first = members[0]
    name = "+".join(member.record.name for member in members)
    nets = [member.net for member in members]
    if form is ExportForm.FULLY_CONVOLUTIONAL:
        return _fully_convolutional(members, name)
    model = ensemble_onnx([onnx_from_torch(net, first.preprocess) for net in nets])
    reference: nn.Module = Ensemble(nets)
    preprocess = first.preprocess
    if form is ExportForm.TEN_CROP:
        preprocess = _square(first.preprocess, resize_px)
        model = ten_crop_onnx(model, first.preprocess, preprocess.height_px)
        reference = TenCrop(reference, height_px=first.preprocess.height_px, width_px=first.preprocess.width_px)
        name = f"{name} {form}"
    return _exportable(members, model, reference, name, preprocess, (preprocess,))


def _fully_convolutional(members: Sequence[LoadedNet], name: str) -> Exportable:
    first = members[0]
    own = first.preprocess
    forms: list[FullyConvolutional] = []
    models = []
    for member in members:
        forms.append(fully_convolutional(member.net, height_px=own.height_px, width_px=own.width_px))
        classifier = onnx_from_torch(position_free(member.net), own)
        models.append(fully_convolutional_onnx(classifier, window=forms[-1].window))
    # neither square nor a multiple of the stride: 32 px a step for ImageNet, so that there are several windows
    larger = replace(own, height_px=own.height_px * 5 // 4, width_px=own.width_px * 3 // 2 + 1, resize_shorter_px=None)
    return _exportable(
        members, ensemble_onnx(models), Ensemble(forms), f"{name} {ExportForm.FULLY_CONVOLUTIONAL}", own, (own, larger)
    )


def _exportable(
    members: Sequence[LoadedNet],
    model: onnx.ModelProto,
    reference: nn.Module,
    name: str,
    preprocess: Preprocess,
    probes: tuple[Preprocess, ...],
) -> Exportable:
    return Exportable(
        model=model,
        reference=reference.eval(),
        record=NetRecord(name=name, num_classes=members[0].record.num_classes),
        preprocess=preprocess,
        probes=probes,
        parent=members[0].manifest,
        weights=" + ".join(dict.fromkeys(member.weights for member in members)),
    )


def _check_members(members: Sequence[LoadedNet]) -> None:
    first = members[0]
    for other in members[1:]:
        if other.preprocess != first.preprocess:
            raise ConfigError(
                f"{first.source} and {other.source} want different pixels:\n  {_pixels(first)}\n  {_pixels(other)}",
                remedy="one file has one input: `resnet-deploy evaluate` runs such an ensemble from its checkpoints",
            )
        ours, theirs = (member.manifest.labels if member.manifest else None for member in (first, other))
        if ours != theirs or other.record.num_classes != first.record.num_classes:
            raise ConfigError(
                f"{first.source} ({first.record.num_classes} classes) and {other.source} "
                f"({other.record.num_classes} classes) know different classes, or the same in another order",
                remedy="give networks that were trained on the same data set",
            )


def _pixels(member: LoadedNet) -> str:
    spec = member.preprocess
    return (
        f"{member.source}: {spec.width_px}x{spec.height_px} px, shorter side {spec.resize_shorter_px}, "
        f"mean {spec.mean}, std {spec.std}"
    )


def _square(spec: Preprocess, resize_px: int | None) -> Preprocess:
    longest = max(spec.height_px, spec.width_px)
    side = ten_crop_side(spec) if resize_px is None else resize_px
    if side < longest:
        raise ConfigError(f"--resize is {side}, smaller than a crop {spec.width_px}x{spec.height_px} px")
    return replace(spec, height_px=side, width_px=side, resize_shorter_px=side)
