"""What came of a comparison between an ONNX file and its engine, as data."""

from __future__ import annotations

__all__ = ["Addition", "Conversion", "LayerPrecision", "Realised"]

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_PRODUCTS = ("Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPrecision:
    """One convolution or matrix product of the ONNX file.

    Attributes:
        asked_in, asked_out: Type that it should read and write; empty where the file asks for nothing.
        reads, weights, writes: What the engine does; empty where it does not tell.
        engine_layer: Name of the kernel that computes it; empty where none was found.
        tactic: That kernel's name.
        fused: ONNX nodes that the kernel computes besides.
        multiply_adds: For one image; None where the graph's shapes are not known.
        accepted: The caller says that another type is right here.
        reason: Why it does not multiply as asked; empty where it does, or where no engine was asked and none of the
            documented rules is against it.
    """

    node: str
    op_type: str
    asked_in: str
    asked_out: str
    reads: str
    weights: str
    writes: str
    engine_layer: str
    tactic: str
    fused: tuple[str, ...]
    multiply_adds: int | None
    accepted: bool
    reason: str

    @property
    def reads_as_asked(self) -> bool:
        """It multiplies in the type that the file asks for."""
        return not self.reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Addition:
    """One residual addition.

    Attributes:
        position: Number of convolutions and matrix products that the graph lists before it.
        asked: By the rules it should be computed inside a convolution.
        fused: It is; None where no layer of the engine names it.
        engine_layer: The kernel that computes it.
    """

    node: str
    position: int
    asked: bool
    fused: bool | None
    engine_layer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """A kernel beside the convolutions that changes a type or a layout, with whatever else it computes.

    Attributes:
        position: Number of convolutions and matrix products that run before it.
        num_bytes: Read and written; None where sizes are not told.
    """

    engine_layer: str
    nodes: tuple[str, ...]
    reads: str
    writes: str
    num_bytes: int | None
    position: int

    @property
    def changes_type(self) -> bool:
        """It does not only change a layout."""
        return self.reads != self.writes


@dataclass(frozen=True, kw_only=True, slots=True)
class Realised:
    """The comparison; true where every layer multiplies as asked.

    Attributes:
        asked: Precision of the ONNX file: "int8", "fp8", "fp16", ...
        source: Where the engine's layers were learnt; empty where there were none and this is the request alone.
        num_kernels: Layers of the engine that run a kernel.
        layers, additions: In the graph's order.
        conversions: In the engine's order.
        batch: That sizes in bytes are for; 1 where the engine takes any.
        moved_bytes: Activations that all kernels read and write; None where a size was not told.
        tf32: Names of layers that round FP32 to TF32.
    """

    asked: str
    source: str
    num_kernels: int
    layers: tuple[LayerPrecision, ...]
    additions: tuple[Addition, ...]
    conversions: tuple[Conversion, ...]
    batch: int
    moved_bytes: int | None
    tf32: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.passed

    @property
    def is_expectation(self) -> bool:
        """No engine was asked."""
        return not self.source

    @property
    def missed(self) -> tuple[LayerPrecision, ...]:
        """Layers that multiply in another type than asked."""
        return tuple(layer for layer in self.layers if not layer.reads_as_asked and not layer.accepted)

    @property
    def passed(self) -> bool:
        """No layer multiplies in another type than asked."""
        return not self.missed

    @property
    def widened(self) -> tuple[LayerPrecision, ...]:
        """Layers that multiply as asked, but whose result should leave them quantised, and does not."""
        wanted = [layer for layer in self.layers if layer.asked_out and layer.reads_as_asked and not layer.accepted]
        return () if self.is_expectation else tuple(layer for layer in wanted if layer.writes != layer.asked_out)

    @property
    def alone(self) -> tuple[Addition, ...]:
        """Residual additions that should be fused, and are not."""
        asked = [addition for addition in self.additions if addition.asked]
        return () if self.is_expectation else tuple(addition for addition in asked if not addition.fused)

    @property
    def passed_strictly(self) -> bool:
        """As `passed`, and results are written and additions are fused as the rules promise."""
        return self.passed and not self.widened and not self.alone

    @property
    def summary(self) -> str:
        """One line of counts."""
        parts = [_asked_and_done(self.layers, self.asked, self.is_expectation)]
        if wanted := [layer for layer in self.layers if layer.asked_out]:
            done = Counter(layer.writes or "unknown" for layer in wanted)
            said = "" if self.is_expectation else f", {', '.join(f'{n} {t}' for t, n in done.most_common())} written"
            parts.append(f"{_count(len(wanted), 'result')} asked in {self.asked}{said}")
        if asked := [addition for addition in self.additions if addition.asked]:
            fused = "" if self.is_expectation else f", {sum(bool(a.fused) for a in asked)} fused"
            parts.append(f"{_count(len(asked), 'residual addition')} asked to fuse{fused}")
        if not self.is_expectation:
            changing = sum(conversion.changes_type for conversion in self.conversions)
            parts.append(f"{_count(self.num_kernels, 'kernel')}, {_count(changing, 'conversion')} of type among them")
        return "; ".join(parts)


def _asked_and_done(layers: Iterable[LayerPrecision], asked: str, expectation: bool) -> str:
    parts = []
    for word, chosen in (
        ("convolution", [layer for layer in layers if layer.op_type not in _PRODUCTS]),
        ("matrix product", [layer for layer in layers if layer.op_type in _PRODUCTS]),
    ):
        wanted = [layer for layer in chosen if layer.asked_in]
        if chosen:
            number = sum(layer.reads_as_asked for layer in wanted)
            done = "" if expectation else f", {number} run{'s' if number == 1 else ''} in it"
            parts.append(f"{len(wanted)} of {_count(len(chosen), word)} asked in {asked}{done}")
    return "; ".join(parts) or "no convolution"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
