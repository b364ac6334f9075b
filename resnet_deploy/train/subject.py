"""What a run trains: where its first weights come from, and the file that the last ones become."""

from __future__ import annotations

__all__ = ["CatalogueNet", "Subject"]

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from resnet_deploy.core.artifacts import Manifest, read_manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import load_checkpoint, save_checkpoint
from resnet_deploy.nets.mean_image import MEAN_IMAGE_KEY, attach_mean_image
from resnet_deploy.train.images import TrainImages
from resnet_deploy.train.options import TrainOptions


class Subject(Protocol):
    """A network that can be trained.

    Attributes:
        name, depth: Of the net; a depth of 0 where it is not known.
        preprocess: What pixels it wants.
        start_option: Option of `train` that takes the file that `save` writes.
    """

    name: str
    depth: int
    preprocess: Preprocess
    start_option: str

    def inputs(self) -> dict[str, Path]:
        """Files that the first weights come from, by role."""

    def build(self, classes: tuple[str, ...], images: TrainImages) -> nn.Module:
        """The network with its first weights.

        Raises:
            ConfigError, DataError: It does not fit these classes.
        """

    def teacher(self) -> nn.Module | None:
        """A network whose answers stand in for the labels; None where the labels are learnt."""

    def save(
        self,
        file: Path,
        net: nn.Module,
        *,
        classes: tuple[str, ...],
        inputs: dict[str, Any],
        options: dict[str, Any],
        details: dict[str, Any],
    ) -> Manifest:
        """Write the trained network and its manifest."""


class CatalogueNet:
    """A net of the catalogue; it becomes a checkpoint."""

    start_option = "--weights"

    def __init__(self, options: TrainOptions) -> None:
        self._options = options
        self._spec = find_net(options.net)
        self.name, self.depth = self._spec.name, self._spec.depth
        self.preprocess = DIGITS_PREPROCESS if options.data == "digits" else self._spec.preprocess
        if options.weights is not None:
            self.preprocess = read_manifest(options.weights, kind="checkpoint").preprocess or self.preprocess

    def inputs(self) -> dict[str, Path]:
        return {"weights": self._options.weights} if self._options.weights else {}

    def build(self, classes: tuple[str, ...], images: TrainImages) -> nn.Module:
        torch.manual_seed(self._options.seed)
        net = build_net(self._spec, num_classes=len(classes))
        if self._options.weights is not None:
            return self._with_weights(net, classes, self._options.weights)
        if self._options.recipe.per_pixel_mean:
            attach_mean_image(net, images.mean_image())
        return net

    def teacher(self) -> nn.Module | None:
        return None

    def save(
        self,
        file: Path,
        net: nn.Module,
        *,
        classes: tuple[str, ...],
        inputs: dict[str, Any],
        options: dict[str, Any],
        details: dict[str, Any],
    ) -> Manifest:
        return save_checkpoint(
            file,
            net,
            spec=self._spec,
            preprocess=self.preprocess,
            labels=classes,
            stage="train",
            inputs=inputs,
            options=options,
            details=details,
        )

    def _with_weights(self, net: nn.Module, classes: tuple[str, ...], weights: Path) -> nn.Module:
        """Put a checkpoint's weights into the fresh `net`; the classifier only where the classes are the same."""
        given = load_checkpoint(weights)
        if given.spec.name != self._spec.name:
            raise ConfigError(
                f"{weights} holds a {given.spec.name}, {self._spec.name} was asked for",
                remedy=f"give --net {given.spec.name}, or weights of a {self._spec.name}",
            )
        state = given.net.state_dict()
        if given.manifest.labels != classes:
            classifier = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
            state |= {key: value for key, value in net.state_dict().items() if key.startswith(f"{classifier}.")}
        if MEAN_IMAGE_KEY in state:
            attach_mean_image(net, state[MEAN_IMAGE_KEY])
        net.load_state_dict(state)
        return net
