"""The networks under analysis: files or catalogue names in, modules that are ready to run out."""

from __future__ import annotations

__all__ = ["AnalyzedNet", "computing", "distinct_labels", "fresh_net_for", "has_shortcuts", "open_net", "run_device"]

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.nets.catalogue import NetSpec, build_net, find_net
from resnet_deploy.nets.checkpoint import load_checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyzedNet:
    """One network with what its images need.

    Attributes:
        label: As tables and legends have it; no two are the same in one analysis.
        spec: Its catalogue row.
        net: float32, on the processor.
        labels: Its class names, None where it names none.
        weights: "trained", or "fresh, seed N".
    """

    label: str
    spec: NetSpec
    net: nn.Module
    preprocess: Preprocess
    labels: tuple[str, ...] | None
    weights: str


def open_net(file: Path, *, label: str, fresh_seed: int | None = None) -> AnalyzedNet:
    """A checkpoint's network.

    Args:
        fresh_seed: Where given, the network at the initialisation of that seed in place of the file's weights; its
            classes, its preprocessing and its mean image are the file's.
    Raises:
        ArtifactError, ArtifactMismatchError: As `nets.checkpoint.load_checkpoint`.
    """
    checkpoint = load_checkpoint(file)
    manifest, net = checkpoint.manifest, checkpoint.net
    if fresh_seed is not None:
        fresh = _initialized(checkpoint.spec, num_classes=manifest.net.num_classes, seed=fresh_seed)
        fresh.center = net.center
        net = fresh
    return AnalyzedNet(
        label=label,
        spec=checkpoint.spec,
        net=net,
        preprocess=manifest.preprocess or checkpoint.spec.preprocess,
        labels=manifest.labels,
        weights="trained" if fresh_seed is None else f"fresh, seed {fresh_seed}",
    )


def fresh_net_for(name: str, *, data: str, classes: tuple[str, ...], seed: int) -> AnalyzedNet:
    """A catalogue network at the He initialisation that `resnet-deploy train --seed` would start from.

    Raises:
        ConfigError: Unknown name.
    """
    spec = find_net(name)
    return AnalyzedNet(
        label=name,
        spec=spec,
        net=_initialized(spec, num_classes=len(classes), seed=seed),
        preprocess=DIGITS_PREPROCESS if data == "digits" else spec.preprocess,
        labels=classes,
        weights=f"fresh, seed {seed}",
    )


def has_shortcuts(spec: NetSpec) -> bool:
    """Whether the net is a residual one; plain nets and VGG are not."""
    return spec.shortcut != "none"


def distinct_labels(files: Sequence[Path], *, suffix: str) -> list[str]:
    """The files' names without `suffix`; where two are the same, with as many folders before as tell them apart."""
    parts = [(*Path(file).absolute().parts[:-1], Path(file).name.removesuffix(suffix)) for file in files]
    labels = []
    for own in parts:
        others = [other for other in parts if other is not own and other != own]
        depth = next((n for n in range(1, len(own)) if all(own[-n:] != o[-n:] for o in others)), len(own))
        labels.append("/".join(own[-depth:]))
    return labels


def run_device() -> torch.device:
    """The first GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def computing(num_threads: int, *, seed: int = 0) -> Iterator[None]:
    """Processor threads (0: PyTorch's choice), seeded random numbers and full float32, put back afterwards.

    TF32, which cuDNN takes for convolutions unless told otherwise, keeps 10 bits of a float32's 23.
    """
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    before = (cudnn.allow_tf32, cudnn.deterministic)
    try:
        cudnn.allow_tf32, cudnn.deterministic = False, True
        if num_threads:
            torch.set_num_threads(num_threads)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic = before
        torch.set_num_threads(threads)


def _initialized(spec: NetSpec, *, num_classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_net(spec, num_classes=num_classes)
