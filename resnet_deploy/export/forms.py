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
from resnet_deploy.export.outputs import LOGITS, OutputChoice, check_output, with_output
from resnet_deploy.export.ten_crop import ten_crop_onnx
from resnet_deploy.export.tracing import onnx_from_torch
from resnet_deploy.graph.free_axes import set_input_axes
from resnet_deploy.nets.averaging import Ensemble, TenCrop
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net, load_checkpoint
from resnet_deploy.nets.features import pools_any_size
from resnet_deploy.nets.fully_convolutional import FullyConvolutional, fully_convolutional, position_free
from resnet_deploy.nets.mean_image import MeanImage


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
        model: FP32, `images` -> the chosen outputs.
        reference: The torch module that computes the same; of topk it gives all probabilities.
        preprocess: What the graph's input wants.
        probes: Input sizes at which both are compared.
        parent: Manifest from which class names are taken.
        note: How the file's answers differ from the checkpoint's; empty where they do not.
    """

    model: onnx.ModelProto
    reference: nn.Module
    record: NetRecord
    preprocess: Preprocess
    probes: tuple[Preprocess, ...]
    parent: Manifest | None
    weights: str
    note: str


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


def make_exportable(
    members: Sequence[LoadedNet],
    form: ExportForm,
    *,
    output: OutputChoice = LOGITS,
    resize_px: int | None = None,
    batch: int | None = None,
    any_size: bool = False,
) -> Exportable:
    """Bring networks into the form that is asked for, several of them as one ensemble.

    Args:
        output: What the file gives out.
        resize_px: Side of the square input of ten-crop; None takes 256/224 of the crop.
        batch: Images that the file takes at a time; None for any number.
        any_size: Let the classifier's form take images of any height and width.
    Raises:
        ConfigError: The members want different pixels or know different classes (names both), `resize_px` is
            smaller than a crop, or the network has no such output or no maps of any size.
        ExportError: torch's exporter failed, or the network has no such form.
    """
    _check_members(members)
    first = members[0]
    num_classes = first.record.num_classes
    for member in members:
        check_output(output, member.net, name=member.source, num_classes=num_classes)
    name = "+".join(member.record.name for member in members)
    model, reference, probes = _in_form(members, form, resize_px=resize_px, any_size=any_size)
    model, reference = with_output(model, output, reference)
    if output != LOGITS or batch is not None or any_size:
        set_input_axes(model, batch=batch, any_size=any_size)
    return Exportable(
        model=model,
        reference=reference.eval(),
        record=NetRecord(
            name=name if form is ExportForm.CLASSIFIER else f"{name} {form}",
            num_classes=num_classes,
            output=output.kind,
        ),
        preprocess=probes[0],
        probes=probes,
        parent=first.manifest,
        weights=" + ".join(dict.fromkeys(member.weights for member in members)),
        note=_MEAN_IMAGE_NOTE if len(probes) > 1 and any(map(_has_mean_image, members)) else "",
    )


_MEAN_IMAGE_NOTE = (
    "its mean image has one value a position and fits one size: the file subtracts the mean per channel, which moves "
    "its answers; measure it with `resnet-deploy evaluate`"
)


def _has_mean_image(member: LoadedNet) -> bool:
    return isinstance(getattr(member.net, "center", None), MeanImage)


def _voting(nets: Sequence[nn.Module]) -> nn.Module:
    return Ensemble(nets) if len(nets) > 1 else nets[0]


_Made = tuple[onnx.ModelProto, nn.Module, tuple[Preprocess, ...]]
"""A graph, what torch has in its place, and input sizes at which to compare; the first is the network's own."""


def _in_form(members: Sequence[LoadedNet], form: ExportForm, *, resize_px: int | None, any_size: bool) -> _Made:
    if form is ExportForm.FULLY_CONVOLUTIONAL:
        return _fully_convolutional(members)
    if any_size:
        return _classifier_of_any_size(members)
    own = members[0].preprocess
    nets = [member.net for member in members]
    model = ensemble_onnx([onnx_from_torch(net, own) for net in nets])
    if form is ExportForm.CLASSIFIER:
        return model, _voting(nets), (own,)
    square = _square(own, resize_px)
    crops = TenCrop(_voting(nets), height_px=own.height_px, width_px=own.width_px)
    return ten_crop_onnx(model, own, square.height_px), crops, (square,)


def _classifier_of_any_size(members: Sequence[LoadedNet]) -> _Made:
    nets = [position_free(member.net) for member in members]
    for member, net in zip(members, nets, strict=True):
        if not pools_any_size(net):
            raise ConfigError(
                f"{member.source}: the first linear layer reads maps of one size, so the images can not have any",
                remedy="leave --dynamic-size away, or take --fully-convolutional, the same layers as convolutions",
            )
    own = members[0].preprocess
    model = ensemble_onnx([onnx_from_torch(net, own) for net in nets])
    smaller = replace(own, height_px=own.height_px * 3 // 4, width_px=own.width_px * 2 // 3 + 1, resize_shorter_px=None)
    return model, _voting(nets), (own, _larger(own), smaller)


def _fully_convolutional(members: Sequence[LoadedNet]) -> _Made:
    own = members[0].preprocess
    forms: list[FullyConvolutional] = []
    models = []
    for member in members:
        forms.append(fully_convolutional(member.net, height_px=own.height_px, width_px=own.width_px))
        classifier = onnx_from_torch(position_free(member.net), own)
        models.append(fully_convolutional_onnx(classifier, window=forms[-1].window))
    return ensemble_onnx(models), _voting(forms), (own, _larger(own))


def _larger(own: Preprocess) -> Preprocess:
    """Neither square nor a multiple of the stride: 32 px a step for ImageNet, so that there are several windows."""
    return replace(own, height_px=own.height_px * 5 // 4, width_px=own.width_px * 3 // 2 + 1, resize_shorter_px=None)


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
