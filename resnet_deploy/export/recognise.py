"""Which net of the catalogue a state dict belongs to, and which others have the very same keys and shapes."""

from __future__ import annotations

__all__ = ["Recognition", "classifier_rows", "recognise", "refuse_other_stems"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_deploy.core.errors import ArtifactMismatchError, ConfigError
from resnet_deploy.export.key_rules import MappedState
from resnet_deploy.nets.catalogue import IMAGENET_DEPTHS, NetSpec, build_net, find_net
from resnet_deploy.nets.checkpoint import check_state_fits

_MANY_CLASSES = 100_000
_CLASSIFIERS = ("fc.weight", "classifier.6.weight")
_DEPTHS = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
"""Whether the blocks are bottlenecks, blocks a stage -> depth (arXiv:1512.03385, Table 1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognition:
    """The net that a state dict is taken for.

    Attributes:
        alternatives: Other nets with the same keys and shapes, which the file can not be told from.
    """

    spec: NetSpec
    alternatives: tuple[str, ...]


def recognise(state: MappedState, num_classes: int, *, source: str) -> Recognition:
    """The usual net with these keys and shapes: residual rather than plain, v1.5 rather than v1.

    The stem tells the data it is made for, the blocks the depth, their shortcuts the option (A, B or C). Names in
    Caffe's layout mean the original release's own form, v1-caffe.

    Raises:
        ArtifactMismatchError: None fits; says what the nearest one has otherwise.
    """
    candidates = _candidates(state, source=source)
    fitting: list[NetSpec] = []
    reasons: list[str] = []
    for spec in candidates:
        try:
            with torch.device("meta"):
                net = build_net(spec, num_classes=num_classes)
            check_state_fits(net, state.tensors, net_name=spec.name, source=source)
            fitting.append(spec)
        except ArtifactMismatchError as error:
            reasons.append(error.message.removeprefix(f"{source} is not a "))
    if not fitting:
        raise ArtifactMismatchError(
            f"{source} is none of the known nets: {reasons[0]}",
            remedy=_family_hint(state.tensors) or "name the net with --net or --depth to see what differs from it",
        )
    return Recognition(spec=fitting[0], alternatives=tuple(spec.name for spec in fitting[1:]))


def classifier_rows(tensors: Mapping[str, Tensor], *, source: str) -> int:
    """How many classes the classifier has.

    Raises:
        ArtifactMismatchError: There is no classifier where a net of the catalogue has it.
    """
    key = next((name for name in _CLASSIFIERS if name in tensors), None)
    weight = tensors[key] if key else None
    if weight is None or weight.ndim != 2:
        found = "there is none" if weight is None else f"it has shape {list(weight.shape)}"
        raise ArtifactMismatchError(
            f"{source}: a residual net's classifier 'fc.weight' [classes, channels] was expected, {found} "
            f"(first keys: {', '.join(list(tensors)[:3])})",
            remedy=_family_hint(tensors) or "import a net of the catalogue; see `resnet-deploy nets list`",
        )
    rows = weight.shape[0]
    if not 1 <= rows <= _MANY_CLASSES:
        raise ArtifactMismatchError(f"{source}: {key!r} has {rows} rows, expected 1 to {_MANY_CLASSES}")
    return rows


def refuse_other_stems(tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Raises ArtifactMismatchError for timm's -c, -d, -s and -t variants, which the paper does not have."""
    reasons = []
    if (stem := tensors.get("conv1.0.weight")) is not None:
        reasons.append(f"a deep stem ('conv1.0.weight' {list(stem.shape)}: three 3x3 convolutions for the 7x7 one)")
    pooled = (key for key, t in tensors.items() if key.endswith("downsample.1.weight") and t.ndim == 4)
    if (key := next(pooled, None)) is not None:
        reasons.append(f"average pooling before the projection ({key!r} is a convolution {list(tensors[key].shape)})")
    if reasons:
        raise ArtifactMismatchError(
            f"{source} is a -d variant or a relative of it: it has {' and '.join(reasons)}; the catalogue holds the "
            "paper's nets, which have neither",
            remedy="take the weights without the letter, e.g. timm's resnet50 for resnet50d, or torchvision's",
        )


def _candidates(state: MappedState, *, source: str) -> list[NetSpec]:
    tensors = state.tensors
    if "features.0.weight" in tensors:
        names = _vgg_names(tensors)
    else:
        stem = tensors.get("conv1.weight")
        counts = _block_counts(tensors)
        if stem is None or not counts[0]:
            lacks = "'conv1.weight'" if stem is None else "'layer1.' blocks"
            raise ArtifactMismatchError(
                f"{source} is none of the known nets: it has no {lacks}",
                remedy=_family_hint(tensors) or "import a net of the catalogue; see `resnet-deploy nets list`",
            )
        option = _shortcut_option(tensors, sum(counts))
        names = _imagenet_names if stem.shape[-1] == 7 else _cifar_names
        names = names(tensors, counts, option, caffe=state.layout == "caffe")
    specs = [spec for name in names if (spec := _found(name)) is not None]
    if not specs:
        raise ArtifactMismatchError(
            f"{source} is none of the known nets: its stages have {_block_counts(tensors)} blocks"
            + (f", and there is no {names[0]}" if names else ""),
            remedy=_family_hint(tensors) or "the catalogue's nets are in `resnet-deploy nets list`",
        )
    return specs


def _block_counts(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    places = {tuple(key.split(".")[:2]) for key in tensors if key.startswith("layer") and key.count(".") > 1}
    return tuple(sum(stage == f"layer{i}" for stage, _ in places) for i in (1, 2, 3, 4))


def _shortcut_option(tensors: Mapping[str, Tensor], num_blocks: int) -> str:
    projections = sum(key.endswith("downsample.0.weight") for key in tensors)
    return "A" if projections == 0 else "C" if projections == num_blocks else "B"


def _imagenet_names(
    tensors: Mapping[str, Tensor], counts: tuple[int, ...], option: str, *, caffe: bool
) -> tuple[str, ...]:
    is_bottleneck = "layer1.0.conv3.weight" in tensors
    depth = _DEPTHS.get((is_bottleneck, counts))
    if depth is None:
        return ()
    suffix = "" if option == "B" else f"-{option.lower()}"
    if caffe:
        return (f"resnet{depth}-v1-caffe{suffix}",)
    variants = ("", "-v1", "-v1-caffe") if is_bottleneck else ("",)
    plain = (f"plain{depth}",) if option == "A" else ()
    return (*(f"resnet{depth}{variant}{suffix}" for variant in variants), *plain)


def _cifar_names(
    tensors: Mapping[str, Tensor], counts: tuple[int, ...], option: str, *, caffe: bool
) -> tuple[str, ...]:
    depth = 6 * counts[0] + 2
    name = f"{depth}-cifar" if depth in IMAGENET_DEPTHS else f"{depth}"  # 50 and 152 are both
    if option == "A":
        return (f"resnet{name}", f"plain{name}")
    return (f"resnet{name}-{option.lower()}",)


def _vgg_names(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    norm = "-bn" if "features.1.running_mean" in tensors else ""
    num_convs = sum(key.startswith("features.") and tensor.ndim == 4 for key, tensor in tensors.items())
    return (f"vgg{num_convs + 3}{norm}",)


def _found(name: str) -> NetSpec | None:
    try:
        return find_net(name)
    except ConfigError:
        return None


def _family_hint(tensors: Mapping[str, Tensor]) -> str | None:
    """What well-known relative of the catalogue's nets these are, for the remedy."""
    first, second = tensors.get("layer1.0.conv1.weight"), tensors.get("layer1.0.conv2.weight")
    if any(".se." in key or ".se_module." in key for key in tensors):
        return "these are weights of a squeeze-and-excitation net, which the paper does not have; take a plain ResNet's"
    if any(key.startswith("stages.") for key in tensors):
        return "these look like a pre-activation ResNet (v2) or another family of timm; take a resnetNN of it"
    if "fc.weight" not in tensors and "conv1.weight" in tensors and "layer1.0.conv1.weight" in tensors:
        return "the classifier was taken off (features only); import the weights with their classifier"
    if first is None or second is None or min(first.ndim, second.ndim) != 4 or "layer1.0.conv3.weight" not in tensors:
        return None
    if second.shape[1] < first.shape[0]:
        return "these are weights of a ResNeXt (grouped convolutions), which the paper does not have"
    if first.shape[0] > 64 and tensors.get("conv1.weight", first).shape[-1] == 7:
        return "these are weights of a wide ResNet, which the paper does not have"
    return None
