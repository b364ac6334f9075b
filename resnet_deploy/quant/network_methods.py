"""Calibration methods that look at the network and its images, not at one tensor's statistics alone."""

from __future__ import annotations

__all__ = ["NETWORK_METHODS", "NetworkEvidence", "check_method"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.progress import Progress
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.quant.sample import Sample
from resnet_deploy.quant.scales import Amax
from resnet_deploy.quant.statistics import Collected


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkEvidence:
    """What a method may look at that needs more than one tensor's statistics."""

    model: onnx.ModelProto
    sample: Sample
    seen: Collected
    num_threads: int
    progress: Progress


def _auto(evidence: NetworkEvidence) -> Mapping[str, Amax]:
    from resnet_deploy.quant.auto_scales import auto_amax  # PyTorch, which the other methods do without

    images, preprocess = evidence.sample.images, evidence.sample.manifest.preprocess
    used = sorted(evidence.seen.positions)[:: max(1, -(-len(evidence.seen.positions) // _AUTO_IMAGES))]
    pixels = (crop_pixels(images.image(index), preprocess, name=images.name(index)) for index in used)
    return auto_amax(
        evidence.model,
        evidence.seen.tensors,
        (normalize(crop, preprocess) for crop in pixels),
        num_images=len(used),
        decides=evidence.sample.manifest.net is None or evidence.sample.manifest.net.output.names_classes,
        num_threads=evidence.num_threads,
        progress=evidence.progress,
    )


_AUTO_IMAGES = 128
"""Enough for the mean of a square to be within 12 %; and the thresholds, which are compared, share its error."""

NETWORK_METHODS: dict[str, Callable[[NetworkEvidence], Mapping[str, Amax]]] = {"auto": _auto}
"""Name -> method that gives the amax of every tensor, from the network and its images; statistics alone do not do."""


def check_method(method: str, model: onnx.ModelProto) -> None:
    """Find out before the pass over the images, not after it, that a method can not look through the network.

    Raises:
        GraphError: An operator whose gradient is not known here; lists them.
    """
    if method not in NETWORK_METHODS:
        return
    from resnet_deploy.graph.torch_ops import OPERATORS  # PyTorch, as above

    unknown = sorted({node.op_type for node in model.graph.node} - set(OPERATORS))
    if unknown:
        raise GraphError(
            f"method {method} needs the gradients of operators that can not be run in PyTorch here: {', '.join(unknown)}",
            remedy="take a method that looks at the values alone: --method entropy",
        )
