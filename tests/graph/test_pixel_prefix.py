"""Preprocessing as a graph: the same bits as on the host, from every runtime and for every size; and what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision, Preprocess, TensorSpec
from resnet_deploy.data.preprocess import preprocess
from resnet_deploy.data.source import open_images
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.float16 import bf16_from_fp32, fp16_from_fp32
from resnet_deploy.graph.float_io import with_float_io
from resnet_deploy.graph.pixel_prefix import PIXELS, PREFIX, preprocess_model, takes_pixels, with_pixel_input
from resnet_deploy.graph.types import element_types
from resnet_deploy.nets.catalogue import CIFAR_PREPROCESS, IMAGENET_PREPROCESS
from tests.reference.pillow_resize import resize
from tests.reference.small_networks import resnet8_onnx

ODD = [
    (1, 1),
    (1, 7),
    (7, 1),
    (255, 255),
    (256, 256),
    (257, 256),
    (256, 300),
    (224, 224),
    (2000, 30),
    (30, 900),
    (9, 31),
]


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """With every optimisation that ONNX Runtime has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(running: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    return running.run(None, {PIXELS: images})[0]


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Noise, and every third of black and white alone: the largest sums."""
    rng = np.random.default_rng(height * 10_007 + width)
    found = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return (found > 127).astype(np.uint8) * 255 if (height + width) % 3 == 0 else found


def rule(height: int, width: int, resize_px: int | None) -> Preprocess:
    return Preprocess(
        height_px=height, width_px=width, resize_shorter_px=resize_px, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
    )


@pytest.fixture(scope="module")
def imagenet() -> onnxruntime.InferenceSession:
    return session(preprocess_model(IMAGENET_PREPROCESS))


def test_150_random_sizes_are_the_host_s_bits(imagenet) -> None:
    rng = np.random.default_rng(0)
    for height, width in [*ODD, *rng.integers(1, 700, (150, 2)).tolist()]:
        (image,) = pictures(1, height, width)
        got = run(imagenet, image[None])
        assert got.dtype == np.float32
        assert np.array_equal(got[0], preprocess(image, IMAGENET_PREPROCESS)), (height, width)


@pytest.mark.parametrize(("height", "width"), [(9, 31), (100, 20), (57, 40), (41, 61)])
def test_the_oracle_s_bits_too(height: int, width: int) -> None:
    """tests/reference/pillow_resize.py knows neither the host's code nor the graph's."""
    spec = rule(20, 22, 24)
    (image,) = pictures(1, height, width)
    short = min(height, width)
    pixels = resize(image, height=height * 24 // short, width=width * 24 // short)
    top, left = round((pixels.shape[0] - 20) / 2), round((pixels.shape[1] - 22) / 2)
    crop = pixels[top : top + 20, left : left + 22].astype(np.float32)
    expected = (crop / np.float32(255) - np.float32(spec.mean)) / np.float32(spec.std)
    got = run(session(preprocess_model(spec)), image[None])
    assert np.array_equal(got[0], expected.transpose(2, 0, 1))


def test_a_batch_of_one_size_is_as_its_images(imagenet) -> None:
    images = pictures(4, 333, 271)
    expected = np.stack([preprocess(image, IMAGENET_PREPROCESS) for image in images])
    assert np.array_equal(run(imagenet, images), expected)


def test_all_photographs(imagenet, shared_data) -> None:
    source = open_images(str(shared_data / "photos"))
    for index in range(len(source)):
        image = source.image(index)
        expected = preprocess(image, IMAGENET_PREPROCESS)
        assert np.array_equal(run(imagenet, image[None])[0], expected), source.name(index)


@pytest.mark.parametrize(("height", "width"), [(2160, 3840), (4000, 3000)], ids=["4K", "12 MP"])
def test_large_images(imagenet, height: int, width: int) -> None:
    (image,) = pictures(1, height, width)
    assert np.array_equal(run(imagenet, image[None])[0], preprocess(image, IMAGENET_PREPROCESS))


@pytest.mark.parametrize("spec", [rule(7, 5, 9), rule(32, 32, 32), rule(5, 8, 8), CIFAR_PREPROCESS], ids=str)
def test_other_networks_sizes(spec: Preprocess) -> None:
    running = session(preprocess_model(spec))
    for height, width in ((8, 8), (9, 9), (40, 33), (32, 32), (64, 35), (200, 12), (10, 77), (1, 1)):
        (image,) = pictures(1, height, width)
        assert np.array_equal(run(running, image[None])[0], preprocess(image, spec)), (height, width)


def test_without_a_resize_the_centre_is_cut_and_smaller_images_end_in_an_error() -> None:
    spec = rule(8, 6, None)
    running = session(preprocess_model(spec))
    for height, width in ((8, 6), (9, 7), (10, 8), (11, 9), (13, 23)):
        (image,) = pictures(1, height, width)
        assert np.array_equal(run(running, image[None])[0], preprocess(image, spec)), (height, width)
    # 8 images of 7 rows hold as many values as 7 of 8
    for count, height, width in ((1, 7, 6), (1, 8, 5), (1, 100, 3), (8, 7, 6), (3, 1, 1)):
        with pytest.raises(Exception, match="Reshape"):
            run(running, pictures(count, height, width))


def test_an_image_without_pixels_is_an_error_and_does_not_end_the_process(imagenet) -> None:
    with pytest.raises(Exception, match="MatMul"):
        run(imagenet, np.zeros((1, 0, 5, 3), np.uint8))


def test_openvino_gives_the_same_bits(tmp_path) -> None:
    """Its integer division runs in float, its float division multiplies by the reciprocal: neither may matter."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    onnx.save(preprocess_model(IMAGENET_PREPROCESS), tmp_path / "p.onnx")
    net = openvino.Core().compile_model(str(tmp_path / "p.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for height, width in (*ODD, (375, 500), (1080, 1920), (640, 427)):
        (image,) = pictures(1, height, width)
        assert np.array_equal(net(image[None])[0][0], preprocess(image, IMAGENET_PREPROCESS)), (height, width)


def with_operands_in(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """Every MatMul reads operands that were rounded to that type, as tensor cores do; it sums in float32."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = []
    for node in model.graph.node:
        if node.op_type == "MatMul":
            for place, name in enumerate(node.input):
                short, back = f"{node.name}.{place}.short", f"{node.name}.{place}.back"
                nodes.append(helper.make_node("Cast", [name], [short], to=kind))
                nodes.append(helper.make_node("Cast", [short], [back], to=TensorProto.FLOAT))
                node.input[place] = back
        nodes.append(node)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


@pytest.mark.parametrize(("kind", "is_exact"), [(TensorProto.FLOAT16, True), (TensorProto.BFLOAT16, False)])
def test_tensor_cores_that_round_operands_to_11_bits_do_no_harm(kind: int, is_exact: bool) -> None:
    """FP16's and TF32's significands have 11 bits, BF16's 8: the comparison sees what 8 do."""
    running = session(with_operands_in(preprocess_model(IMAGENET_PREPROCESS), kind))
    same = []
    for height, width in ((500, 375), (90, 61), (3000, 2800), (7000, 900)):
        (image,) = pictures(1, height, width)
        same.append(np.array_equal(run(running, image[None])[0], preprocess(image, IMAGENET_PREPROCESS)))
    assert all(same) if is_exact else not any(same)


@pytest.mark.parametrize("fault", ["one level in the table", "a pixel to the side", "rounding", "order of passes"])
def test_a_planted_fault_is_seen(fault: str) -> None:
    spec = IMAGENET_PREPROCESS
    model = preprocess_model(spec)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    (image,) = pictures(1, 600, 400)

    def change(wanted: float, kind: str, new: float) -> None:
        (tensor,) = [
            t
            for t in constants.values()
            if not t.dims and numpy_helper.to_array(t).dtype == kind and numpy_helper.to_array(t) == wanted
        ]
        tensor.CopyFrom(numpy_helper.from_array(np.array(new, kind), tensor.name))

    if fault == "one level in the table":
        table = next(t for t in constants.values() if list(t.dims) == [768])
        values = numpy_helper.to_array(table).copy()
        values[128] = np.nextafter(values[128], np.float32(9))
        table.CopyFrom(numpy_helper.from_array(values, table.name))
    elif fault == "a pixel to the side":
        change(224, "int32", 226)
    elif fault == "rounding":
        change(2.0**21, "float32", 0.0)
    else:
        image = image.transpose(1, 0, 2)
    got = run(session(model), image[None])[0]
    if fault == "order of passes":
        got, image = got.transpose(0, 2, 1), image.transpose(1, 0, 2)
    assert not np.array_equal(got, preprocess(image, spec))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "fp16 io", "bf16"])
def test_the_network_behind_it_stays_as_it_was(precision: str) -> None:
    network = resnet8_onnx()
    network = bf16_from_fp32(network) if precision == "bf16" else network
    network = fp16_from_fp32(network) if precision.startswith("fp16") else network
    network = with_float_io(network, Precision.FP16) if precision == "fp16 io" else network
    whole = with_pixel_input(network, CIFAR_PREPROCESS, name="net.onnx")
    check_model(whole, name="net.onnx")
    own = [node for node in whole.graph.node if not node.name.startswith(f"{PREFIX}.")]
    assert [n.SerializeToString() for n in own] == [n.SerializeToString() for n in network.graph.node]
    kept = {t.name: t for t in whole.graph.initializer if not t.name.startswith(f"{PREFIX}.")}
    assert {name: t.SerializeToString() for name, t in kept.items()} == {
        t.name: t.SerializeToString() for t in network.graph.initializer
    }
    assert [value.name for value in whole.graph.input] == [PIXELS]
    assert whole.graph.output == network.graph.output


@pytest.mark.parametrize("half", [fp16_from_fp32, bf16_from_fp32])
def test_what_prepares_the_image_is_float32_and_int32_whatever_the_network_is(half) -> None:
    whole = with_pixel_input(half(resnet8_onnx()), CIFAR_PREPROCESS, name="net.onnx")
    types = element_types(whole)
    made = {
        name: types[name] for node in whole.graph.node if node.name.startswith(f"{PREFIX}.") for name in node.output
    }
    allowed = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
    assert len(made) > 200 and set(made.values()) <= allowed
    wide = [name for name, kind in made.items() if kind == TensorProto.INT64]
    assert all(".Shape" in name or ".Slice" in name for name in wide)  # the sizes, as ONNX gives them
    multiplied = [n for n in whole.graph.node if n.op_type == "MatMul" and n.name.startswith(PREFIX)]
    assert len(multiplied) == 4 and {types[n.input[0]] for n in multiplied} == {TensorProto.FLOAT}


def test_refusals() -> None:
    network = resnet8_onnx()
    whole = with_pixel_input(network, CIFAR_PREPROCESS, name="net.onnx")
    with pytest.raises(
        GraphError, match=r"net\.pixels\.onnx takes pixels already: its input is pixels uint8 \[N, height"
    ):
        with_pixel_input(whole, CIFAR_PREPROCESS, name="net.pixels.onnx")
    with pytest.raises(
        GraphError, match=r"input is images float \[N, 3, 32, 32\], its .* gives floats \[N, 3, 224, 224\]"
    ):
        with_pixel_input(network, IMAGENET_PREPROCESS, name="net.onnx")
    old = onnx.ModelProto()
    old.CopyFrom(network)
    old.opset_import[0].version = 12
    with pytest.raises(GraphError, match=r"net\.onnx has opset 12, preprocessing in the graph needs 13 or later"):
        with_pixel_input(old, CIFAR_PREPROCESS, name="net.onnx")


@pytest.mark.parametrize(
    ("dtype", "shape", "expected"),
    [
        ("uint8", ("N", "height", "width", 3), True),
        ("uint8", (-1, -1, -1, 3), True),
        ("uint8", (8, "h", "w", 3), True),
        ("float32", ("N", "h", "w", 3), False),
        ("uint8", ("N", 224, 224, 3), False),
        ("uint8", ("N", 3, "h", "w"), False),
    ],
)
def test_a_network_that_takes_pixels_is_known_by_its_input(dtype: str, shape: tuple, expected: bool) -> None:
    spec = TensorSpec(name="x", dtype=dtype, shape=shape)
    assert takes_pixels([spec]) is expected and not takes_pixels([spec, spec])
