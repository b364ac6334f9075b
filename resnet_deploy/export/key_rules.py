"""From a file's tensor names to this package's keys, with a record of every name: taken, by which rule, or left."""

from __future__ import annotations

__all__ = ["IgnoredKey", "MappedKey", "MappedState", "map_keys", "without_prefixes"]

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_deploy.core.errors import ArtifactError

_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
"""What DataParallel, torch.compile, Lightning modules and OpenMMLab put before every name."""

_HEADS = {"linear.": "fc.", "head.fc.": "fc."}
"""The classifier's name in the common CIFAR implementations and in OpenMMLab."""

_TIMM_VGG = {"pre_logits.fc1.": "classifier.0.", "pre_logits.fc2.": "classifier.3.", "head.fc.": "classifier.6."}
"""timm writes VGG's two hidden linear layers as convolutions over the 7x7 map: the same sums in the same order."""

_NO_WEIGHTS = {
    "n_averaged": "counter of an averaged model",
    "total_ops": "operation count that a profiler added",
    "total_params": "parameter count that a profiler added",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MappedKey:
    """One tensor of the net and where it is from.

    Attributes:
        source: Its name in the file; several names, joined by " + ", where it is computed from several tensors.
        key: Its name here.
        rules: What was done to name or values, in order; empty where it was taken as it is.
    """

    source: str
    key: str
    rules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class IgnoredKey:
    """Something of the file that was left there, and why."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MappedState:
    """A state dict under this package's keys.

    Attributes:
        layout: Whose names the file has: "torch" (torchvision, timm, the CIFAR implementations) or "caffe".
        tensors: Key -> tensor; floating-point ones in float32.
    """

    layout: str
    tensors: dict[str, Tensor]
    keys: tuple[MappedKey, ...]
    ignored: tuple[IgnoredKey, ...]

    @property
    def rule_counts(self) -> dict[str, int]:
        """How many keys each rule changed; a key that a rule changed twice counts twice."""
        return dict(Counter(rule for key in self.keys for rule in key.rules))


def without_prefixes(name: str) -> tuple[str, list[str]]:
    """`name` without what wrappers put before it, and the rules for what was taken away."""
    rules = []
    while prefix := next((p for p in _PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
        rules.append(f"{prefix}* -> *")
    return name, rules


def map_keys(stored: Mapping[str, Tensor], *, source: str) -> MappedState:
    """Bring the names of torchvision, timm, OpenMMLab and the CIFAR implementations to torchvision's.

    Raises:
        ArtifactError: Two names stand for the same tensor.
    """
    tensors: dict[str, Tensor] = {}
    keys: list[MappedKey] = []
    ignored: list[IgnoredKey] = []
    is_timm_vgg = any(without_prefixes(name)[0].startswith("pre_logits.fc1.") for name in stored)
    heads = _TIMM_VGG if is_timm_vgg else _HEADS
    for name, tensor in stored.items():
        if reason := _NO_WEIGHTS.get(name.rpartition(".")[2]):
            ignored.append(IgnoredKey(source=name, reason=reason))
            continue
        key, rules = without_prefixes(name)
        if head := next((old for old in heads if key.startswith(old)), None):
            key = heads[head] + key.removeprefix(head)
            rules.append(f"{head}* -> {heads[head]}*")
        if is_timm_vgg and tensor.ndim == 4 and key.startswith("classifier."):
            tensor = tensor.flatten(1)
            rules.append("convolution [K, C, R, S] -> linear [K, C*R*S]")
        if key in tensors:
            raise ArtifactError(f"{source}: two keys stand for {key!r}, the second is {name!r}", remedy="keep one")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            rules.append(f"{str(tensor.dtype).removeprefix('torch.')} -> float32")
            tensor = tensor.float()
        tensors[key] = tensor
        keys.append(MappedKey(source=name, key=key, rules=tuple(rules)))
    return MappedState(layout="torch", tensors=tensors, keys=tuple(keys), ignored=tuple(ignored))
