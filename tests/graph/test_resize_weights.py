"""The resize weights that a graph computes in 32 bits, against integers without end."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.graph.node_writer import NodeWriter
from resnet_deploy.graph.resize_weights import add_axis_weights, is_exact_for
from resnet_deploy.nets.catalogue import IMAGENET_PREPROCESS
from tests.reference.exact_weights import exact_weights

ENDS = range(0, 224, 223)  # the outermost columns of the crop: the largest numbers


def session(resize_px: int, crop_px: int, output_first: bool = False) -> onnxruntime.InferenceSession:
    ops = NodeWriter("axis")
    made = add_axis_weights(
        ops, "x", length="L", shorter="m", resize_px=resize_px, crop_px=crop_px, output_first=output_first
    )
    graph = helper.make_graph(
        ops.nodes,
        "weights",
        [helper.make_tensor_value_info(name, TensorProto.INT32, []) for name in ("L", "m")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (made.high, made.low, made.step)],
        ops.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def imagenet() -> onnxruntime.InferenceSession:
    return session(256, 224)


def parts(running, length: int, shorter: int) -> tuple[np.ndarray, np.ndarray, int]:
    high, low, step = running.run(None, {"L": np.array(length, np.int32), "m": np.array(shorter, np.int32)})
    assert high.dtype == low.dtype == np.float32
    return high.astype(np.int64), low.astype(np.int64), int(step)


def weights(running, length: int, shorter: int) -> np.ndarray:
    high, low, step = parts(running, length, shorter)
    return high * step + low


@pytest.mark.parametrize(
    ("length", "shorter"),
    [
        (1, 1),
        (2, 1),
        (300, 1),
        (7, 5),
        (255, 255),
        (256, 256),
        (257, 257),
        (375, 375),
        (500, 375),
        (640, 11),
        (4000, 3000),
    ],
)
def test_weights_are_the_contract_s(imagenet, length: int, shorter: int) -> None:
    expected = exact_weights(length, shorter, resize_px=256, crop_px=224)
    assert np.array_equal(weights(imagenet, length, shorter), expected)
    assert np.abs(expected.sum(axis=0) - 2**22).max() <= (expected > 0).sum(axis=0).max() / 2


@pytest.mark.parametrize(("resize_px", "crop_px"), [(1, 1), (32, 32), (9, 8), (224, 224), (480, 448)])
def test_other_sizes_of_input_and_either_order_of_axes(resize_px: int, crop_px: int) -> None:
    rng = np.random.default_rng(resize_px)
    running, turned = session(resize_px, crop_px), session(resize_px, crop_px, output_first=True)
    for _ in range(8):
        length = int(rng.integers(1, 700))
        shorter = int(rng.integers(1, length + 1))
        expected = exact_weights(length, shorter, resize_px=resize_px, crop_px=crop_px)
        assert np.array_equal(weights(running, length, shorter), expected)
        assert np.array_equal(weights(turned, length, shorter), expected.T)


@pytest.mark.parametrize("length", [256, 300, 2047, 2048, 2049, 4096, 4097, 9000, 20000, 65535])
def test_both_parts_are_short_and_their_sums_stay_below_2_to_the_24(imagenet, length: int) -> None:
    """2^11 fits TF32's and FP16's operands, and below 2^24 float32 holds every partial sum, in any order."""
    high, low, step = parts(imagenet, length, length)
    assert min(high.min(), low.min()) >= 0 and max(high.max(), low.max()) <= 2**11
    sums = 255 * high.sum(axis=0).max(), 255 * low.sum(axis=0).max()
    # what the vertical pass adds up last: the rest of the high sum below 2^22, the low sum, and a half
    assert sums[0] < 2**24 and 2**22 + sums[1] + 2**21 < 2**24
    assert step == 2**11 >> max(0, int(np.ceil(np.log2(length / 256 / 8))))


def test_a_split_at_2_to_the_11_alone_would_not_do() -> None:
    """The reason for the step: beyond a ratio of about 32 the low parts of one output pass 2^24."""
    low = exact_weights(30_000, 30_000, resize_px=256, crop_px=224, columns=range(100, 101)) % 2**11
    assert 255 * low.sum() > 2**24


def largest_square(spec: Preprocess) -> int:
    low, high = 1, 2**20
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_exact_for(middle, middle, spec) else (low, middle)
    return low


def test_the_largest_square_is_exact_and_the_limit_is_where_it_ends(imagenet) -> None:
    side = largest_square(IMAGENET_PREPROCESS)
    assert side == 92_681
    expected = exact_weights(side, side, resize_px=256, crop_px=224, columns=ENDS)
    assert np.array_equal(weights(imagenet, side, side)[:, ENDS], expected)
    beyond = side * 5 // 4
    expected = exact_weights(beyond, beyond, resize_px=256, crop_px=224, columns=ENDS)
    assert not np.array_equal(weights(imagenet, beyond, beyond)[:, ENDS], expected)


def test_the_longest_strip_is_exact_and_the_limit_is_where_it_ends(imagenet) -> None:
    """Of 20,000 px: how thin may it be? What overflows first is far from every tip, so half as thin still does no harm."""
    thin = next(side for side in range(1, 20_000) if is_exact_for(side, 20_000, IMAGENET_PREPROCESS))
    assert thin == 48
    for shorter, is_right in ((thin, True), (thin // 2 - 1, False)):
        expected = exact_weights(20_000, shorter, resize_px=256, crop_px=224, columns=ENDS)
        assert np.array_equal(weights(imagenet, 20_000, shorter)[:, ENDS], expected) is is_right


def test_the_limits_that_the_documentation_promises() -> None:
    """Sides up to 65,535 px with a ratio up to 64, for a resize to 128 up to 480 px."""
    for side in (128, 224, 256, 480):
        spec = Preprocess(height_px=side, width_px=side, resize_shorter_px=side, mean=(0,) * 3, std=(1,) * 3)
        for longer in (1, 2, 63, 64, 100, 1023, 1024, 4000, 16_384, 40_001, 65_535):
            shortest = -(-longer // 64)
            for shorter in {shortest, (shortest + longer) // 2, longer}:
                assert is_exact_for(longer, shorter, spec) and is_exact_for(shorter, longer, spec), (
                    side,
                    longer,
                    shorter,
                )
    assert not is_exact_for(0, 5, IMAGENET_PREPROCESS)
