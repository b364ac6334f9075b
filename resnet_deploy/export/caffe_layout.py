"""The names and the arithmetic of the original Caffe models, brought to this package's keys.

Caffe keeps a batch normalisation in two layers: BatchNorm holds the sums of means and variances and the factor to
divide them by, Scale holds gamma and beta. Its first convolution reads B G R.

Source: github.com/KaimingHe/deep-residual-networks (prototxt files, README); Caffe, batch_norm_layer.cpp.
"""

from __future__ import annotations

__all__ = ["CAFFE_EPS", "check_strides", "is_caffe_layout", "map_caffe"]

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError
from resnet_deploy.export.caffe_model import CaffeLayerFacts
from resnet_deploy.export.key_rules import IgnoredKey, MappedKey, MappedState, without_prefixes
from resnet_deploy.nets.catalogue import NetSpec

CAFFE_EPS = 1e-5
"""Caffe's default, which the published models use, and PyTorch's, which the nets here use."""

_PLACE = r"(?P<stage>[2-5])(?P<block>[a-z]\d*)_branch(?P<branch>1|2[abc])"
_LAYER = rf"(?P<layer>(?P<kind>res|bn|scale){_PLACE}|(?P<stem>conv1|bn_conv1|scale_conv1)|(?P<fc>fc\w*))"
_NAME = re.compile(rf"{_LAYER}(?:[./:](?P<part>\w+))?")
_KINDS = {"res": "conv", "conv1": "conv", "bn": "bn", "bn_conv1": "bn", "scale": "scale", "scale_conv1": "scale"}

# Names of a layer's blobs: Caffe's own is the index, the others are what converters to .npz or .pth write.
_PARTS = {
    "conv": {"0": "weight", "weight": "weight", "weights": "weight", "1": "bias", "bias": "bias", "biases": "bias"},
    "fc": {"0": "weight", "weight": "weight", "weights": "weight", "1": "bias", "bias": "bias", "biases": "bias"},
    "bn": {
        "0": "mean", "mean": "mean", "running_mean": "mean",
        "1": "variance", "variance": "variance", "var": "variance", "running_var": "variance",
        "2": "factor", "scale_factor": "factor",
        "weight": "gamma", "bias": "beta",
    },
    "scale": {
        "0": "gamma", "gamma": "gamma", "weight": "gamma", "scale": "gamma",
        "1": "beta", "beta": "beta", "bias": "beta", "offset": "beta",
    },
}  # fmt: skip

_RULE_NAMES = "Caffe's layer names -> torchvision's keys"
_RULE_FLIP = "conv1's input channels B G R -> R G B"
_RULE_FACTOR = "divided by BatchNorm's scale factor"
_RULE_BIAS = "the convolution's bias taken from the running mean"
_RULE_EPS = "the file's eps brought to 1e-5 by adding the difference to the variance"


@dataclass(slots=True)
class _BatchNorm:
    """The parts of one batch normalisation, in float64, each with its name in the file."""

    layer: str = ""
    parts: dict[str, tuple[str, Tensor]] = field(default_factory=dict)


def is_caffe_layout(names: Mapping[str, object]) -> bool:
    """Whether the names are those of the original Caffe models."""
    return any(re.match(r"(?:res|bn|scale)[2-5][a-z]\d*_branch", without_prefixes(name)[0]) for name in names)


def map_caffe(
    stored: Mapping[str, Tensor], *, layers: Mapping[str, CaffeLayerFacts] | None = None, source: str
) -> MappedState:
    """Bring a Caffe residual net to torchvision's keys and to one batch normalisation a convolution.

    running_mean = mean / factor - bias of the convolution (the published ResNet-50 has one in conv1),
    running_var = variance / factor + (the file's eps - 1e-5), computed in float64 and rounded once to float32.

    Args:
        stored: "<layer>.<blob index>" or "<layer>.<name of the blob>" -> tensor.
        layers: What the file says of its layers; eps is 1e-5 where it says nothing.
    Raises:
        ArtifactError: A name that is none of the layout's, a part that is missing, or statistics that were
            never filled (factor 0).
    """
    tensors: dict[str, Tensor] = {}
    keys: list[MappedKey] = []
    ignored: list[IgnoredKey] = []
    norms: dict[str, _BatchNorm] = {}
    for name, tensor in stored.items():
        plain, rules = without_prefixes(name)
        match = _NAME.fullmatch(plain)
        if plain.endswith(".num_batches_tracked"):
            ignored.append(IgnoredKey(source=name, reason="counter of training steps, not used in inference"))
            continue
        if match is None:
            raise ArtifactError(
                f"{source}: {name!r} is none of the original Caffe models' layers",
                remedy="expected names like conv1, bn_conv1, res2a_branch2a, scale5c_branch2c, fc1000",
            )
        kind, key, part = _place(match, source=source, name=name)
        if kind in ("bn", "scale") or (kind == "conv" and part == "bias"):
            norm = norms.setdefault(_norm_key(key) if kind == "conv" else key, _BatchNorm())
            _add_part(norm, part if kind != "conv" else "conv bias", name, tensor, source=source)
            norm.layer = match["layer"] if kind == "bn" else norm.layer
            continue
        value = tensor.float().flatten() if part == "bias" else tensor.float()
        if kind == "fc" and part == "weight":
            value = value.reshape(value.shape[-2:])  # old files have [1, 1, K, C]
        rules = [*rules, _RULE_NAMES]
        if match["layer"] == "conv1":
            value, rules = _rgb_from_bgr(value, source=source, name=name), [*rules, _RULE_FLIP]
        if f"{key}.{part}" in tensors:
            raise ArtifactError(f"{source}: two keys stand for '{key}.{part}', the second is {name!r}")
        tensors[f"{key}.{part}"] = value
        keys.append(MappedKey(source=name, key=f"{key}.{part}", rules=tuple(rules)))
    for key, norm in norms.items():
        eps = (layers or {}).get(norm.layer, CaffeLayerFacts()).eps
        for mapped, value in _finished(key, norm, eps=CAFFE_EPS if eps is None else eps, source=source):
            tensors[mapped.key] = value
            keys.append(mapped)
    return MappedState(layout="caffe", tensors=tensors, keys=tuple(keys), ignored=tuple(ignored))


def check_strides(spec: NetSpec, layers: Mapping[str, CaffeLayerFacts], *, source: str) -> None:
    """Compare where a .caffemodel says a bottleneck's stride is with where `spec` has it.

    Raises:
        ArtifactMismatchError: The file strides the other convolution: keys and shapes fit, the net would compute
            something else.
    """
    first, second = (layers.get(f"res3a_branch2{part}", CaffeLayerFacts()).stride for part in "ab")
    if first is None or second is None or first == second:
        return
    place = "the first 1x1" if first == 2 else "the 3x3"
    if (first == 2) == (spec.variant == "v1.5"):
        raise ArtifactMismatchError(
            f"{source} strides {place} of its bottlenecks (res3a_branch2a has stride {first}, res3a_branch2b "
            f"{second}), {spec.name} is {spec.variant}",
            remedy="leave --net away, or name a net with the stride in the same place",
        )


def _place(match: re.Match[str], *, source: str, name: str) -> tuple[str, str, str]:
    """Kind of the layer, the module's key here (of a batch norm: its own), and which part this is."""
    if match["fc"]:
        kind, key = "fc", "fc"
    elif match["stem"]:
        kind = _KINDS[match["stem"]]
        key = "conv1" if kind == "conv" else "bn1"
    else:
        kind = _KINDS[match["kind"]]
        block = f"layer{int(match['stage']) - 1}.{_block_index(match['block'])}"
        if match["branch"] == "1":
            key = f"{block}.downsample.{0 if kind == 'conv' else 1}"
        else:
            key = f"{block}.{'conv' if kind == 'conv' else 'bn'}{'abc'.index(match['branch'][1]) + 1}"
    part = match["part"] or ("weight" if kind == "conv" else None)
    if part not in _PARTS[kind]:
        known = ", ".join(dict.fromkeys(_PARTS[kind]))
        raise ArtifactError(
            f"{source}: {name!r} names no part of a Caffe {kind} layer", remedy=f"name it LAYER.PART, PART of {known}"
        )
    return kind, key, _PARTS[kind][part]


def _block_index(block: str) -> int:
    """Block a is 0; ResNet-50 goes on with b, c, d, the deeper ones with b1, b2, ..."""
    return int(block[1:]) if block[1:] else ord(block) - ord("a")


def _norm_key(conv_key: str) -> str:
    """Key of the batch norm behind a convolution."""
    if conv_key.endswith("downsample.0"):
        return conv_key[:-1] + "1"
    head, _, number = conv_key.rpartition("conv")
    return f"{head}bn{number}"


def _rgb_from_bgr(weight: Tensor, *, source: str, name: str) -> Tensor:
    if weight.ndim != 4 or weight.shape[1] != 3:
        raise ArtifactError(
            f"{source}: {name!r} has shape {list(weight.shape)}, expected a convolution [K, 3, R, S]",
            remedy="name a net that reads colour images",
        )
    return weight.flip(1)


def _add_part(norm: _BatchNorm, part: str, name: str, tensor: Tensor, *, source: str) -> None:
    if part in norm.parts:
        raise ArtifactError(f"{source}: {norm.parts[part][0]!r} and {name!r} are the same {part}", remedy="keep one")
    norm.parts[part] = (name, tensor.double().flatten())


def _finished(key: str, norm: _BatchNorm, *, eps: float, source: str) -> list[tuple[MappedKey, Tensor]]:
    missing = [part for part in ("mean", "variance", "gamma", "beta") if part not in norm.parts]
    if missing:
        there = ", ".join(name for name, _ in norm.parts.values())
        raise ArtifactError(
            f"{source}: the batch normalisation {key!r} lacks {', '.join(missing)} (there: {there})",
            remedy="a Caffe model has a BatchNorm and a Scale layer behind every convolution",
        )
    means, variances = [norm.parts["mean"]], [norm.parts["variance"]]
    mean, variance = means[0][1], variances[0][1]
    mean_rules, variance_rules = [_RULE_NAMES], [_RULE_NAMES]
    if "factor" in norm.parts:
        factor_name, factor = norm.parts["factor"]
        if factor.numel() != 1 or not float(factor) > 0:
            raise ArtifactError(
                f"{source}: {factor_name!r} is {factor.tolist()[:3]}, expected one positive number",
                remedy="these statistics were never filled; take the model after training",
            )
        mean, variance = mean / factor, variance / factor
        for names, rules in ((means, mean_rules), (variances, variance_rules)):
            names.append(norm.parts["factor"])
            rules.append(_RULE_FACTOR)
    if "conv bias" in norm.parts:
        mean = mean - norm.parts["conv bias"][1]
        means.append(norm.parts["conv bias"])
        mean_rules.append(_RULE_BIAS)
    if abs(eps - CAFFE_EPS) > 1e-9 * CAFFE_EPS + 1e-12:  # the file keeps eps in float32
        variance = variance + (eps - CAFFE_EPS)
        variance_rules.append(_RULE_EPS)
    rows = (
        ("weight", [norm.parts["gamma"]], [_RULE_NAMES], norm.parts["gamma"][1]),
        ("bias", [norm.parts["beta"]], [_RULE_NAMES], norm.parts["beta"][1]),
        ("running_mean", means, mean_rules, mean),
        ("running_var", variances, variance_rules, variance),
    )
    return [
        (MappedKey(source=" + ".join(n for n, _ in names), key=f"{key}.{part}", rules=tuple(rules)), value.float())
        for part, names, rules, value in rows
    ]
