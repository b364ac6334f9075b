from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.bench.roofline.bound import bound_of_layers, estimate_network, layers_of_net
from resnet_deploy.bench.roofline.catalogue import Figure, Gpu, Peaks, find_gpu, load_catalogue
from resnet_deploy.bench.roofline.fusion import FusedLayer, Tensor
from resnet_deploy.bench.roofline.operations import Value, Weight
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision

_MIB = 2**20


def figure(value: float) -> Figure:
    return Figure(value=value, source="test")


def make_gpu(*, tflops: float = 1.0, gb_per_s: float = 1.0, l2_mib: float = 1.0) -> Gpu:
    """1e12 operations and 1e9 bytes a second: an operation takes 1e-6 us, a byte 1e-3 us."""
    return Gpu(
        name="test", title="Test", compute_capability="8.9", products=("tensorrt", "tensorrt-rtx"),
        peaks=Peaks(fp32=figure(tflops), fp16=figure(2 * tflops), int8=figure(4 * tflops)), gb_per_s=figure(gb_per_s),
        memory_gb=figure(8), l2_mib=figure(l2_mib), watts=figure(30),
    )  # fmt: skip


def make_layer(name: str, *, products: int, read: int, written: int, weights: int, residual: int = 0) -> FusedLayer:
    """One convolution with INT8 tensors, so that values are bytes, that multiplies in FP32."""

    def tensor(elements: int) -> Tensor:
        return Tensor(made_by="", value=Value(elements=elements, type="int8"))

    return FusedLayer(
        name=name, stage="stem", kind="conv", type="float32", multiply_adds=products, sums=written,
        reads=(tensor(read),), residual=tensor(residual) if residual else None,
        weights=(Weight(elements=weights, type="int8"),), writes=(tensor(written),),
    )  # fmt: skip


def bound(layers: list[FusedLayer], gpu: Gpu, *, batch: int = 1):
    return bound_of_layers(
        tuple(layers), net="n", sides_px=(8, 8), precision=Precision.FP32, batch=batch, gpu=gpu
    )  # fmt: skip


def test_one_layer_by_hand_at_two_batches() -> None:
    layer = make_layer("a", products=10_000_000, read=1000, residual=500, written=2000, weights=3000)
    network, (one,) = bound([layer], make_gpu(l2_mib=1e-6))
    assert (one.arithmetic_us, one.dram_us) == pytest.approx((20.0, 6.5))  # 2e7 operations, 6,500 bytes
    assert one.intensity == pytest.approx(2e7 / 6500) and one.bound_by == "arithmetic"
    assert network.latency_ms == pytest.approx(0.020)
    network, (four,) = bound([layer], make_gpu(l2_mib=1e-6, gb_per_s=0.01), batch=4)
    assert four.dram_us == pytest.approx((4 * 3500 + 3000) / 10)  # weights are read once a pass
    assert four.bound_by == "memory" and network.dram_latency_ms == pytest.approx(1.7)
    assert network.dram_images_per_second == pytest.approx(4 / 1.7e-3)


def test_of_a_tensor_only_what_exceeds_the_cache_moves() -> None:
    layer = make_layer("a", products=0, read=3 * _MIB, written=_MIB, weights=0, residual=_MIB + 500)
    network, (one,) = bound([layer], make_gpu())
    assert one.l2_us == pytest.approx((2 * _MIB + 500) / 1e3)  # the result fits
    assert network.latency_ms == pytest.approx(one.l2_us / 1e3)
    assert network.dram_latency_ms == pytest.approx((5 * _MIB + 500) / 1e6)


def test_weights_that_fit_into_the_cache_together_do_not_move() -> None:
    layers = [make_layer(name, products=1, read=1, written=1, weights=_MIB // 2) for name in "ab"]
    assert bound(layers, make_gpu())[0].latency_ms == pytest.approx(4e-9)  # four operations
    third = make_layer("c", products=1, read=1, written=1, weights=1000)
    assert bound([*layers, third], make_gpu())[0].latency_ms == pytest.approx(1e-3)  # 1,000 bytes are left over


def test_a_network_that_nothing_bounds_is_refused() -> None:
    with pytest.raises(ConfigError, match="n has no multiply-adds"):
        bound([make_layer("a", products=0, read=1, written=1, weights=1)], make_gpu())


@settings(max_examples=60, deadline=None)
@given(
    layers=st.lists(
        st.tuples(st.integers(1, 3000), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=4
    ),
    l2=st.integers(1, 8),
)  # fmt: skip
def test_the_choice_of_weights_that_stay_is_the_best_of_all(layers: list[tuple[int, int, int]], l2: int) -> None:
    """Against every way to keep whole kilobytes: layers in (kB of arithmetic time, kB of weights, kB of input)."""
    unit = 1000
    gpu = make_gpu(l2_mib=l2 * unit / _MIB)
    made = [
        make_layer(str(i), products=c * 500, read=a * 4 * unit, written=1, weights=w * unit)
        for i, (c, w, a) in enumerate(layers)
    ]
    best = float("inf")
    for kept in itertools.product(*(range(w + 1) for _, w, _ in layers)):
        if sum(kept) <= l2:
            best = min(
                best,
                sum(
                    max(c / 1000, max(0, 4 * a - l2) + w - k)
                    for (c, w, a), k in zip(layers, kept, strict=True)
                ),
            )  # fmt: skip
    # whole units may not be the optimum: what is kept can be split, so ours is at most theirs, and less by under 1
    ours = bound(made, gpu)[0].latency_ms * 1e3
    assert best - len(layers) - 1e-9 <= ours <= best + 1e-9


def test_the_layers_add_up_to_the_network_and_no_bound_is_above_the_dram_bound() -> None:
    for gpu, precision, batch in itertools.product(("t4", "l4", "orin-agx"), (Precision.FP16, Precision.INT8), (1, 32)):
        network, layers = bound_of_layers(
            layers_of_net("resnet18", precision=precision), net="resnet18", sides_px=(224, 224), precision=precision,
            batch=batch, gpu=find_gpu(gpu),
        )  # fmt: skip
        assert network == estimate_network("resnet18", precision=precision, batch=batch, gpu=gpu)
        assert sum(layer.latency_us for layer in layers) == pytest.approx(network.latency_ms * 1e3)
        assert all(layer.latency_us <= layer.dram_latency_us * (1 + 1e-12) for layer in layers)
        assert network.images_per_second >= batch / network.latency_ms * 1e3 * (1 - 1e-12)
        assert network.dram_images_per_second <= network.images_per_second * (1 + 1e-12)


def test_throughput_hides_the_traffic_of_one_pass_behind_the_arithmetic_of_another() -> None:
    busy = make_layer("busy", products=500_000, read=1, written=1, weights=1)
    moving = make_layer("moving", products=0, read=1000, written=1, weights=1)
    network, _ = bound([busy, moving], make_gpu(l2_mib=1e-6))
    assert network.latency_ms == pytest.approx(0.002, rel=0.01)
    assert network.images_per_second == pytest.approx(1e6, rel=0.01)  # 1 us each, at the same time


def test_compute_bound_figures_are_those_of_the_data_sheet() -> None:
    """ResNet-50 INT8 on H200: 1,979e12 / (2 x 4.089e9), the ceiling of about 242,000 images a second."""
    network = estimate_network("resnet50", precision=Precision.INT8, batch=32, gpu="h200")
    assert network.images_per_second == pytest.approx(1978.9e12 / (2 * 4_089_184_256))


def test_the_l4_is_bound_by_memory_in_fp16_unless_its_cache_helps() -> None:
    """44.5 MB a image if each convolution's result is written and read once: 300e9 / 44.5e6 = 6.7 thousand a second."""
    network = estimate_network("resnet50", precision=Precision.FP16, batch=1024, gpu="l4")
    assert network.dram_memory_bound_share > 0.8
    assert 300e9 / 60e6 < network.dram_images_per_second < 300e9 / 44.5e6  # residuals and pools move, too


def test_tensorrt_rtx_moves_more_in_int8_and_the_same_in_fp16() -> None:
    def moved(precision: Precision, fusion: str) -> float:
        return estimate_network("resnet50", precision=precision, batch=1, gpu="l4", fusion=fusion).moved_mb

    assert moved(Precision.FP16, "tensorrt-rtx") == moved(Precision.FP16, "ideal")
    assert moved(Precision.INT8, "tensorrt-rtx") > 2 * moved(Precision.INT8, "ideal")


def test_images_that_come_in_the_right_type_save_a_layer() -> None:
    own = layers_of_net("resnet8", precision=Precision.INT8)
    given = layers_of_net("resnet8", precision=Precision.INT8, converts_input=False)
    assert given == own[1:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": Precision.FP8, "gpu": "a100"}, "a100: no FP8 rate"),
        ({"precision": Precision.BF16, "gpu": "t4"}, "t4: no BF16 rate"),
        ({"precision": Precision.FP16, "gpu": "h100", "fusion": "tensorrt-rtx"}, "not served by TensorRT-RTX"),
        ({"precision": Precision.INT8, "gpu": "t4", "fusion": "tensorrt-rtx"}, "in FP16 on sm75"),
        ({"precision": Precision.FP16, "gpu": "l4", "batch": 0}, "batch is 0"),
        ({"precision": Precision.FP16, "gpu": "l4", "fusion": "none"}, "unknown fusion 'none'"),
    ],
)
def test_what_can_not_be_estimated_is_refused_with_the_reason(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        estimate_network("resnet8", **{"batch": 1, **options})


def test_a_figure_that_is_not_confirmed_marks_the_bound() -> None:
    gpu = load_catalogue().find("l4")
    doubtful = replace(gpu, gb_per_s=replace(gpu.gb_per_s, confirmed=False))
    for entry, expected in ((gpu, True), (doubtful, False)):
        assert estimate_network("resnet8", precision=Precision.INT8, batch=1, gpu=entry).is_confirmed is expected
