"""What an exported file gives out: logits, probabilities, the best classes, pooled features or the stages' maps."""

from __future__ import annotations

__all__ = ["LOGITS", "USUAL_TOP", "OutputChoice", "check_output", "read_output", "with_output"]

import re
from dataclasses import dataclass

import onnx
from torch import nn

from resnet_deploy.core.errors import ConfigError, ExportError
from resnet_deploy.core.specs import OutputKind
from resnet_deploy.graph.head import append_softmax, append_top_k
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.interface import rename_tensor
from resnet_deploy.graph.plain_operators import drop_unread
from resnet_deploy.nets.features import Features, StageMaps, stages_by_map

USUAL_TOP = 5
"""Classes an image gets unless asked otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputChoice:
    """Which outputs a file has.

    Attributes:
        kind: What they mean.
        top: Classes an image gets, with TOPK only.
        maps: Names of maps, smallest stride first, with MAPS only.
    """

    kind: OutputKind = OutputKind.LOGITS
    top: int | None = None
    maps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.top is not None) != (self.kind is OutputKind.TOPK):
            raise ConfigError(f"top is {self.top} with output {self.kind}, it belongs to topk and to it alone")
        if self.top is not None and self.top < 1:
            raise ConfigError(f"top is {self.top}, expected at least 1")
        if bool(self.maps) != (self.kind is OutputKind.MAPS):
            raise ConfigError(
                f"maps are {list(self.maps)} with output {self.kind}, they belong to maps and to it alone"
            )

    def __str__(self) -> str:
        """As it stands in a file's name: "softmax", "top5", "c2-c3-c4-c5"; empty for logits."""
        if self.kind is OutputKind.LOGITS:
            return ""
        if self.kind is OutputKind.TOPK:
            return f"top{self.top}"
        return "-".join(self.maps) or str(self.kind)


LOGITS = OutputChoice()
"""What a file gives out unless asked otherwise."""


def read_output(text: str, top: int | None = None) -> OutputChoice:
    """The choice that "softmax", "topk" or "c3,c4,c5" means.

    Args:
        top: Of topk; None takes 5.
    Raises:
        ConfigError: No such output, or `top` without topk.
    """
    parts = [part.strip().lower() for part in text.split(",")]
    kinds = [kind for kind in OutputKind if kind is not OutputKind.MAPS]
    if top is not None and parts != [str(OutputKind.TOPK)]:
        raise ConfigError(f"--top {top} is for --output topk, the output is {text}", remedy="leave --top away")
    if len(parts) == 1 and parts[0] in kinds:
        kind = OutputKind(parts[0])
        return OutputChoice(kind=kind, top=(top or USUAL_TOP) if kind is OutputKind.TOPK else None)
    if all(re.fullmatch(r"c\d", part) for part in parts) and len(set(parts)) == len(parts):
        return OutputChoice(kind=OutputKind.MAPS, maps=tuple(sorted(parts)))
    raise ConfigError(
        f"--output is {text!r}, expected {', '.join(kinds)}, or maps of stages with commas between",
        remedy="maps are named after their stride: c2,c3,c4,c5 of an ImageNet net, c0,c1,c2 of a CIFAR net",
    )


def check_output(choice: OutputChoice, net: nn.Module, *, name: str, num_classes: int) -> None:
    """Raises ConfigError where the network has no such output; says which it has."""
    if choice.top is not None and choice.top > num_classes:
        raise ConfigError(f"--top is {choice.top}, {name} knows {num_classes} classes")
    there = stages_by_map(net)
    if missing := [stage for stage in choice.maps if stage not in there]:
        raise ConfigError(
            f"{name} has no map {missing[0]}",
            remedy=f"it has {', '.join(there)}" if there else "take --output features, or a residual network",
        )


def with_output(model: onnx.ModelProto, choice: OutputChoice, net: nn.Module) -> tuple[onnx.ModelProto, nn.Module]:
    """The graph with the chosen outputs, without what they do not need, and the torch module to hold it against.

    Of topk the module gives all probabilities: which classes are named is then checked as well as their scores.

    Args:
        model: `images` -> `logits`, changed in place.
        net: What `model` was made from.
    """
    if choice.kind is OutputKind.LOGITS:
        return model, net
    if choice.kind in (OutputKind.SOFTMAX, OutputKind.TOPK):
        append_softmax(model)
        if choice.top is not None:
            append_top_k(model, choice.top)
        return model, nn.Sequential(net, nn.Softmax(dim=1))
    if choice.kind is OutputKind.FEATURES:
        last = [node for node in model.graph.node if node.op_type == "Gemm"][-1]
        _give_out(model, {"features": last.input[0]})
        return model, Features(net)
    stages = stages_by_map(net)
    _give_out(model, {name: _end_of_stage(model.graph, stages[name]) for name in choice.maps})
    return model, StageMaps(net, choice.maps)


def _end_of_stage(graph: onnx.GraphProto, stage: str) -> str:
    """The tensor that the stage's nodes make and that others read."""
    index = GraphIndex(graph)
    inside = {node.name for node in graph.node if node.name.startswith(f"{stage}.")}
    ends = [
        node
        for node in graph.node
        if node.name in inside and any(reader.node.name not in inside for reader in index.readers[node.output[0]])
    ]
    if len(ends) != 1 or ends[0].op_type != "Relu":
        found = ", ".join(f"{node.op_type} {node.name!r}" for node in ends) or "none"
        raise ExportError(f"stage {stage} of the graph ends in {found}, expected one Relu")
    return ends[0].output[0]


def _give_out(model: onnx.ModelProto, tensors: dict[str, str]) -> None:
    """Make these the outputs, under new names; their shapes are for `graph.free_axes` to say."""
    graph = model.graph
    del graph.output[:]
    for name, tensor in tensors.items():
        rename_tensor(model, tensor, name)
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    drop_unread(graph)
