from __future__ import annotations

import pytest

from resnet_deploy.bench.roofline.fusion import FusedLayer, Tensor, as_tensorrt_rtx, fuse, in_precision
from resnet_deploy.bench.roofline.module_graph import operations_of_net
from resnet_deploy.bench.roofline.operations import NUM_BYTES, Operation, OperationGraph, Value, Weight
from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.cost import net_cost


def mib(layers: tuple[FusedLayer, ...]) -> float:
    """Activations that move for one image."""
    return sum(t.value.num_bytes for t in moved(layers)) / 2**20


def moved(layers: tuple[FusedLayer, ...]) -> list[Tensor]:
    return [t for layer in layers for t in (*layer.reads, *layer.writes, layer.residual) if t is not None]


def mib_of_whole_tensors(layers: tuple[FusedLayer, ...]) -> float:
    """The same where a convolution with a stride reads all of its input."""
    stored = {t.made_by: t.value.elements for layer in layers for t in layer.writes}
    whole = ((stored.get(t.made_by, t.value.elements), NUM_BYTES[t.value.type]) for t in moved(layers))
    return sum(elements * num_bytes for elements, num_bytes in whole) / 2**20


def layers_of(name: str, precision: Precision) -> tuple[FusedLayer, ...]:
    return in_precision(fuse(operations_of_net(name)), precision)


# docs/reference/tensorrt-rtx-fusion.md: MiB an image and kernels, read from engines that TensorRT-RTX built for sm86. It
# counts changes of layout and a few kernels more or less than rules can say, so within 3 % and a tenth.
ENGINES = [
    ("resnet18", Precision.FP16, 13.5, 25),
    ("resnet50", Precision.FP16, 55.6, 58),
    ("resnet18", Precision.INT8, 25.6, 41),
    ("resnet50", Precision.INT8, 109.7, 106),
]


@pytest.mark.parametrize(("name", "precision", "read_mib", "kernels"), ENGINES)
def test_bytes_and_kernels_are_those_of_engines_that_tensorrt_rtx_built(
    name: str, precision: Precision, read_mib: float, kernels: int
) -> None:
    layers = as_tensorrt_rtx(layers_of(name, precision))
    assert mib_of_whole_tensors(layers) == pytest.approx(read_mib, rel=0.03)
    assert len(layers) == pytest.approx(kernels, rel=0.1)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50-v1", "resnet20", "vgg16", "plain34", "resnet34-a"])
def test_each_convolution_is_one_layer_and_nothing_is_lost(name: str) -> None:
    cost, layers = net_cost(find_net(name)), layers_of(name, Precision.FP32)
    assert sum(layer.multiply_adds for layer in layers) == cost.multiply_adds
    assert sum(layer.kind.startswith("conv") for layer in layers) == cost.num_convs
    assert {layer.kind for layer in layers} <= {"conv", "conv+add", "linear", "pool"}
    own = sum(t.value.elements for layer in layers for t in layer.writes if layer.kind.startswith("conv"))
    assert own == cost.conv_output_elements  # each convolution's result is written once


def test_every_residual_addition_joins_a_convolution_and_reads_the_other_addend() -> None:
    layers = layers_of("resnet50", Precision.FP16)
    added = [layer for layer in layers if layer.kind == "conv+add"]
    assert len(added) == 16 and all(layer.name.endswith("conv3") for layer in added)
    assert added[0].residual.made_by == "layer1.0.downsample.0"
    assert added[1].residual.made_by == "layer1.0.conv3"


def test_an_option_a_shortcut_reads_only_what_its_slice_keeps() -> None:
    layers = {layer.name: layer for layer in layers_of("resnet20", Precision.FP32)}
    assert layers["layer2.0.conv2"].residual.value.elements == 16 * 16 * 16  # of 16 x 32 x 32
    assert layers["layer2.0.conv1"].reads[0].value.elements == 16 * 32 * 32


def test_int8_takes_a_quarter_of_fp32_but_for_images_and_logits() -> None:
    floats, ints = (layers_of("resnet50", p) for p in (Precision.FP32, Precision.INT8))
    images, logits = 3 * 224 * 224, 1000
    # one more layer reads the images in FP32 and writes INT8; the logits stay in FP32
    difference = mib(ints) * 2**20 - mib(floats) * 2**20 / 4
    assert difference == images * (4 + 1) + 3 * logits


def op(kind: str, name: str, *inputs: str, elements: int = 100, type_: str = "float16") -> Operation:
    weights = (Weight(elements=9, type=type_),) if kind == "conv" else ()
    return Operation(
        kind=kind, name=name, inputs=inputs, output=name, value=Value(elements=elements, type=type_), weights=weights
    )


def graph_of(*operations: Operation) -> OperationGraph:
    last = operations[-1]
    return OperationGraph(
        operations=operations,
        inputs={"x": Value(elements=100, type="float16")},
        outputs={last.output: last.value},
        height_px=10,
        width_px=10,
    )


def test_a_relu_on_a_tensor_that_others_read_is_a_layer_of_its_own() -> None:
    shared = graph_of(op("conv", "a", "x"), op("pointwise", "r", "a"), op("conv", "b", "r"), op("add", "s", "b", "a"))
    alone = graph_of(op("conv", "a", "x"), op("pointwise", "r", "a"), op("conv", "b", "r"))
    assert [layer.name for layer in fuse(shared)] == ["a", "r", "b"]
    assert [layer.name for layer in fuse(alone)] == ["a", "b"]


def test_an_addition_of_two_shared_tensors_stays_alone() -> None:
    layers = fuse(
        graph_of(
            op("conv", "a", "x"), op("conv", "b", "x"), op("add", "s", "a", "b"), op("conv", "c", "a"),
            op("conv", "d", "b"), op("other", "e", "s", "c", "d"),
        )
    )  # fmt: skip
    assert [(layer.name, layer.kind) for layer in layers][2] == ("s", "add")
    assert {t.made_by for t in layers[2].reads} == {"a", "b"}


def test_a_pair_on_one_addend_makes_the_other_the_one_that_fuses() -> None:
    layers = fuse(
        graph_of(
            op("conv", "a", "x"), op("retype", "q", "a", type_="int8"), op("retype", "dq", "q"), op("conv", "b", "x"),
            op("add", "s", "dq", "b"),
        )
    )  # fmt: skip
    assert [(layer.name, layer.kind) for layer in layers] == [("a", "conv"), ("b", "conv+add")]
    assert layers[1].residual.value.type == "int8" and layers[0].writes[0].value.type == "int8"


def test_a_tensor_is_stored_in_the_narrowest_type_on_its_way() -> None:
    layers = fuse(
        graph_of(
            op("conv", "a", "x"), op("retype", "q", "a", type_="int8"), op("retype", "dq", "q"), op("conv", "b", "dq"),
            op("conv", "c", "a"), op("other", "e", "b", "c"),
        )
    )  # fmt: skip
    assert sorted(t.value.num_bytes for t in layers[0].writes) == [100, 200]  # int8 for b, FP16 for c
    assert layers[1].reads[0].value.type == "int8" and layers[2].reads[0].value.type == "float16"
