"""What an audit of a Q/DQ graph found, as data."""

from __future__ import annotations

__all__ = ["AdditionAudit", "Audit", "Finding", "LayerAudit", "PoolAudit", "Reformat"]

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerAudit:
    """One convolution, Gemm, or MatMul with a constant weight.

    Attributes:
        activation, weight: Type it is read in: "int8", "uint8", "fp8" or "float".
        activation_scale: The pair's scale; None where it is float, or has several.
        num_weight_scales: 1 for a scale per tensor, 0 for a float weight.
        int8_in: Both inputs are read through Q/DQ in a form that TensorRT computes with, INT8 or FP8.
        int8_out: Every reader of the result, behind Relu, Clip and fused additions, is a QuantizeLinear.
        out_reason: Why not; "" where it is.
        accepted: The caller says that floating point is right here.
        problems: Why it is not `int8_in` although it was meant to be; empty for a float layer.
    """

    node: str
    op_type: str
    activation: str
    weight: str
    activation_scale: float | None
    num_weight_scales: int
    int8_in: bool
    int8_out: bool
    out_reason: str
    accepted: bool
    problems: tuple[str, ...]

    @property
    def is_meant(self) -> bool:
        """Whether the file quantises its activation or its weight."""
        return self.activation != "float" or self.weight != "float"

    @property
    def failed(self) -> bool:
        """It was meant to be quantised, is not fully, and that was not accepted."""
        return self.is_meant and not self.int8_in and not self.accepted


@dataclass(frozen=True, kw_only=True, slots=True)
class AdditionAudit:
    """One residual addition.

    Attributes:
        fuses: TensorRT computes it inside a convolution: that edge is bare, the other addend comes out of a pair.
        convolution: The one it fuses with; "" where it does not.
        reason: Why it does not, and what to change; "" where it does.
    """

    node: str
    fuses: bool
    convolution: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolAudit:
    """One pooling; `reason` says why it is not int8, or what it costs."""

    node: str
    op_type: str
    int8: bool
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something about a node or a pair.

    Attributes:
        kind: "stray pair", "refused" (TensorRT will not take the file), "per-tensor weight", "quantised bias",
            "type", "not folded".
    """

    kind: str
    node: str
    tensor: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reformat:
    """A tensor that changes between int8 and floating point outside of any layer, which takes a kernel and a copy.

    Attributes:
        to: "int8" (or what else the pair is of), or "float".
    """

    tensor: str
    to: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """The state of a graph's quantisation; true where it passed.

    Attributes:
        precision: "int8", "fp8", "fp8 and int8", or "float" where nothing is quantised.
        layers, additions, pools: All of them, in the graph's order.
        findings: What is wrong or doubtful about pairs, weights and biases.
        reformats: Expected conversions; the one at the network's input is among them.
    """

    precision: str
    layers: tuple[LayerAudit, ...]
    additions: tuple[AdditionAudit, ...]
    pools: tuple[PoolAudit, ...]
    findings: tuple[Finding, ...]
    reformats: tuple[Reformat, ...]

    def __bool__(self) -> bool:
        return self.passed

    @property
    def passed(self) -> bool:
        """No layer that was meant to be int8 is not, and nothing makes TensorRT refuse the file."""
        return not self.failed_layers and not self.of_kind("refused")

    @property
    def failed_layers(self) -> tuple[LayerAudit, ...]:
        """Layers that were meant to be quantised and are not fully."""
        return tuple(layer for layer in self.layers if layer.failed)

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    @property
    def summary(self) -> str:
        """One line of counts."""
        convs = [layer for layer in self.layers if layer.op_type in ("Conv", "ConvTranspose")]
        products = [layer for layer in self.layers if layer not in convs]
        word = "int8" if self.precision == "float" else self.precision
        int8_in, int8_out = sum(conv.int8_in for conv in convs), sum(conv.int8_out for conv in convs)
        parts = [f"{int8_in} of {_count(len(convs), 'convolution')} {word} in, {int8_out} {word} out"]
        if products:
            parts.append(f"{sum(p.int8_in for p in products)} of {_count(len(products), 'matrix product')} {word} in")
        fused = sum(addition.fuses for addition in self.additions)
        parts += [
            f"{fused} of {_count(len(self.additions), 'residual addition')} fuse",
            _count(len(self.of_kind("stray pair")), "stray pair"),
            f"{_count(len(self.reformats), 'reformat')} expected",
        ]
        return "; ".join(parts)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
