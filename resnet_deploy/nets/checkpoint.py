"""Checkpoints: a state dict as safetensors with its manifest, and a module that is certain to fit it."""

from __future__ import annotations

__all__ = ["Checkpoint", "check_state_fits", "fresh_net", "load_checkpoint", "save_checkpoint"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from resnet_deploy.core.artifacts import Manifest, NetRecord, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.nets.blocks import BasicBlock, Bottleneck
from resnet_deploy.nets.catalogue import NetSpec, build_net, find_net
from resnet_deploy.nets.mean_image import MEAN_IMAGE_KEY, attach_mean_image

_PACKAGES = ("torch", "safetensors", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A trained network, ready to evaluate or export.

    Attributes:
        net: In evaluation mode, on the CPU, float32.
    """

    net: nn.Module
    spec: NetSpec
    manifest: Manifest


def save_checkpoint(
    path: Path,
    net: nn.Module,
    *,
    spec: NetSpec,
    preprocess: Preprocess,
    labels: tuple[str, ...],
    stage: str,
    inputs: Mapping[str, Path | tuple[str, str]],
    options: Mapping[str, Any],
    details: Mapping[str, Any],
) -> Manifest:
    """Write `net`'s state dict and its manifest.

    Raises:
        ArtifactError: A weight is NaN or infinite; names the tensor.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    check_finite(state, source=f"the network for {path}")
    with atomic_write(path) as partial:
        partial.write_bytes(save(state))  # save_file would put a file of mode 0600 in the place of `partial`
    return write_manifest(
        path,
        kind="checkpoint",
        stage=stage,
        inputs=inputs,
        options=options,
        packages=_PACKAGES,
        net=NetRecord(name=spec.name, num_classes=len(labels)),
        preprocess=preprocess,
        labels=labels,
        details=details,
    )


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint that `train` or `import` wrote.

    Raises:
        ArtifactError: Missing, without manifest, truncated, changed, or with NaN in its weights.
        ArtifactMismatchError: Its tensors are those of another network.
    """
    manifest = read_manifest(path, kind="checkpoint")
    if manifest.net is None:
        raise ArtifactError(f"{path}: its manifest names no network", remedy="train or import it again")
    spec = find_net(manifest.net.name)
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ArtifactError(f"{path} is not a safetensors file: {error}", remedy="train or import it again") from error
    check_finite(state, source=str(path))
    with torch.device("meta"):  # initial weights would only be thrown away
        net = build_net(spec, num_classes=manifest.net.num_classes)
    if MEAN_IMAGE_KEY in state:
        _check_mean_image(state[MEAN_IMAGE_KEY], manifest.preprocess or spec.preprocess, source=str(path))
        attach_mean_image(net, state[MEAN_IMAGE_KEY])
    check_state_fits(net, state, net_name=spec.name, source=str(path))
    net.load_state_dict(state, assign=True)
    return Checkpoint(net=net.eval(), spec=spec, manifest=manifest)


def check_state_fits(net: nn.Module, state: Mapping[str, Tensor], *, net_name: str, source: str) -> None:
    """Compare the keys and shapes of a state dict with a network's.

    Raises:
        ArtifactMismatchError: Names the first key that differs, in the network's order, and both shapes.
    """
    expected = net.state_dict()
    for key, tensor in expected.items():
        if key not in state:
            if key.endswith("num_batches_tracked"):
                continue
            problem = f"key {key!r} is missing ({net_name} has it with shape {list(tensor.shape)})"
        elif state[key].shape != tensor.shape:
            problem = f"key {key!r} has shape {list(state[key].shape)}, {net_name} expects {list(tensor.shape)}"
        else:
            continue
        raise ArtifactMismatchError(
            f"{source} is not a {net_name}: {problem}",
            remedy="name the right network with --net or --depth, and the class count if it is not the usual one",
        )
    if extra := [key for key in state if key not in expected]:
        raise ArtifactMismatchError(
            f"{source} is not a {net_name}: it has {len(extra)} further keys, first {extra[0]!r} "
            f"with shape {list(state[extra[0]].shape)}",
            remedy="name the right network with --net or --depth",
        )


def _check_mean_image(mean_image: Tensor, preprocess: Preprocess, *, source: str) -> None:
    expected = ([*preprocess.input_shape], [3, 1, 1])
    if list(mean_image.shape) not in expected:
        raise ArtifactMismatchError(
            f"{source}: its mean image {MEAN_IMAGE_KEY!r} has shape {list(mean_image.shape)}, its inputs are {expected[0]}",
            remedy="train or import it again",
        )


def check_finite(state: Mapping[str, Tensor], *, source: str) -> None:
    """Raises ArtifactError where a tensor holds NaN or infinity; names the first one."""
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise ArtifactError(
                f"{source}: {key!r} holds {count} NaN or infinite values of {tensor.numel()}",
                remedy="take an earlier checkpoint, or train again with a lower learning rate",
            )


def fresh_net(spec: NetSpec, *, num_classes: int | None = None, seed: int = 0) -> nn.Module:
    """An untrained network that computes in a sane range, for measurements that do not need accuracy.

    He-initialised from `seed`; BN statistics are those of one batch of noise, without which a deep residual
    net's activations double at every block and overflow FP16. The last BN of every residual branch scales by
    1/4: at 1, 50 untrained blocks amplify FP16's roundings to 17 % of the logits (ResNet-152), which hides any
    real fault of an FP16 file; at 1/4 they stay at 0.7 %, as in trained networks. A plain net has no branch to
    scale; there BN shifts by 2: with no shift, ReLU halves a perturbation's energy and cuts the variance of a
    normal value from 1 to 0.34, so BN amplifies roundings by sqrt(0.5 / 0.34) = 1.21 a layer, 1.3e9 times over 110
    layers; at 2 the factor is 1.008, or 2.4 over 110.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build_net(spec, num_classes=num_classes)
        for block in net.modules():
            if isinstance(block, (BasicBlock, Bottleneck)):
                _tame(block)
        _set_batch_norm_statistics(net, torch.randn(2, *spec.preprocess.input_shape))
    return net.eval()


def _tame(block: BasicBlock | Bottleneck) -> None:
    if block.is_residual:
        nn.init.constant_(block.last_batch_norm.weight, 0.25)
        return
    for child in block.children():
        if isinstance(child, nn.BatchNorm2d):
            nn.init.constant_(child.bias, 2.0)


def _set_batch_norm_statistics(net: nn.Module, images: Tensor) -> None:
    batch_norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    if not batch_norms:
        return
    for batch_norm in batch_norms:
        batch_norm.momentum = None  # running statistics = plain average over the batches seen
    with torch.no_grad():
        net.train()(images)
    for batch_norm in batch_norms:
        batch_norm.momentum = 0.1
