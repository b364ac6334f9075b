"""An exported file as quantisation sees it: the network up to its logits, maps or features, for any number of images."""

from __future__ import annotations

__all__ = ["Network", "check_decides", "read_network"]

from dataclasses import dataclass
from pathlib import Path

import onnx

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import OutputKind
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.graph.free_axes import fixed_batch, set_input_axes
from resnet_deploy.graph.head import Head, put_on_head, take_off_head


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A graph without what only rewords its logits, and what that was.

    Attributes:
        model: Of a classifier it gives logits.
        batch: The one number of images that the file takes; None for any.
    """

    model: onnx.ModelProto
    head: Head
    batch: int | None

    def complete(self, model: onnx.ModelProto) -> None:
        """Give what was made of `self.model` the head and the batch of the file, in place."""
        put_on_head(model, self.head)
        if self.batch is not None:
            set_input_axes(model, batch=self.batch, any_size=False)


def read_network(file: Path, manifest: Manifest) -> Network:
    """Read a file; raises what `graph.files.read_onnx` does.

    Args:
        manifest: Of the file. Only a graph of our own is known to take any number of images where it is told so.
    """
    model = read_onnx(file)
    head = take_off_head(model)
    batch = fixed_batch(model) if manifest.stage in ("export", "quantize") else None
    if batch is not None:
        set_input_axes(model, batch=None, any_size=False)
    return Network(model=model, head=head, batch=batch)


def check_decides(manifest: Manifest, *, file: Path, what: str) -> None:
    """Raises ConfigError where the file gives maps or features: `what` compares which classes networks choose."""
    output = manifest.net.output if manifest.net else OutputKind.LOGITS
    if not output.names_classes:
        raise ConfigError(
            f"{file} gives {output}, {what} compares which classes are chosen",
            remedy="use it on the classifier's file, made by `resnet-deploy export --output logits`, which has the same layers",
        )
