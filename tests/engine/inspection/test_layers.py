from __future__ import annotations

import pytest

from resnet_deploy.engine.inspection.layers import EngineLayer, LayerTensor, element_type, kind_of_layer, onnx_nodes_of


def _layer(kind: str = "convolution", reads: str = "", writes: str = "", tactic: str = "") -> EngineLayer:
    return EngineLayer(
        name="x",
        type="t",
        kind=kind,
        inputs=(LayerTensor(name="a", dtype=reads),),
        outputs=(LayerTensor(name="b", dtype=writes),),
        tactic=tactic,
    )


@pytest.mark.parametrize(
    ("words", "dtype"),
    [
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Channel major INT8 format where channel == 4 and column stride % 32 == 0", "int8"),
        ("Row major linear UInt8 format", "uint8"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Row major linear BFloat16 format", "bf16"),
        ("Row major linear FP8 format", "fp8"),
        ("FP8E4M3", "fp8"),
        ("Row major linear FP32", "fp32"),
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("Int64", "int64"),
        ("N/A due to dynamic shapes", ""),
        ("Unknown format", ""),
    ],
)
def test_the_words_for_a_format_name_its_type(words: str, dtype: str) -> None:
    assert element_type(words) == dtype


@pytest.mark.parametrize(
    ("layer_type", "parameter_type", "kind"),
    [
        ("CaskConvolution", "Convolution", "convolution"),
        ("ConvActPool", "ConvActPool", "convolution"),
        ("CaskGemmConvolution", "Convolution", "convolution"),
        ("correlation", "", "convolution"),
        ("corrltn", "", "convolution"),
        ("CaskGemmMatrixMultiply", "MatrixMultiply", "matrix product"),
        ("gemm", "", "matrix product"),
        ("CudaPooling", "Pooling", "pool"),
        ("maxpool", "", "pool"),
        ("Reformat", "Reformat", "reformat"),
        ("NoOp", "", "nothing"),
        ("kgen", "", "other"),
    ],
)
def test_a_layer_is_known_by_the_products_name_for_it(layer_type: str, parameter_type: str, kind: str) -> None:
    assert kind_of_layer(layer_type, parameter_type) == kind


def test_nodes_are_read_from_metadata_with_either_separator_or_none() -> None:
    assert onnx_nodes_of("[ONNX Layer: a]\x1f[ONNX Layer: b/c]\x1e[ONNX Layer: a]") == ("a", "b/c")
    assert onnx_nodes_of("[ONNX Layer: a][ONNX Layer: b]__gemm_from_conv1x1") == ("a", "b")
    assert onnx_nodes_of("") == ()


def test_bytes_are_counted_for_one_image_where_the_batch_is_open() -> None:
    tensor = LayerTensor(name="x", dtype="fp16", shape=(-1, 3, 4, 5))
    assert tensor.num_bytes == 120
    assert LayerTensor(name="x", dtype="int4", shape=(3,)).num_bytes == 2  # 12 bits take two bytes
    assert LayerTensor(name="x", dtype="", shape=(3,)).num_bytes is None
    assert LayerTensor(name="x", dtype="int8").num_bytes is None
    assert _layer(reads="int8", writes="int8").moved_bytes is None


@pytest.mark.parametrize(
    ("tactic", "reads", "writes"),
    [
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8f16_i8i32_f32_nchw_vect_c_32", "int8", "fp16"),
        ("sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc", "fp16", "fp16"),
        ("ampere_fp32_icudnn_int8x4_128x64_relu_medium_nn_v1", "int8", ""),
        ("turing_h1688cudnn_256x64", "fp16", ""),
        ("some_new_kernel", "", ""),
    ],
)
def test_a_kernels_name_tells_the_types_that_its_tensors_do_not(tactic: str, reads: str, writes: str) -> None:
    layer = _layer(tactic=tactic)
    assert (layer.reads, layer.writes) == (reads, writes)
    assert _layer(reads="fp32", writes="fp32", tactic=tactic).reads == "fp32"  # a tensor tells better than a name


def test_a_conversion_changes_a_type_and_multiplies_nothing() -> None:
    assert _layer("other", "fp32", "int8").converts and _layer("reformat", "fp32", "fp16").converts
    assert not _layer("other", "fp16", "fp16").converts and not _layer("convolution", "int8", "fp32").converts
    assert not _layer("other", "int64", "int32").converts  # shapes, not images


def test_a_kernel_that_adds_two_maps_is_told_by_the_larger_type() -> None:
    small = LayerTensor(name="scale", dtype="fp16", shape=(1, 8, 1, 1))
    large = LayerTensor(name="map", dtype="fp32", shape=(1, 8, 9, 9))
    out = LayerTensor(name="out", dtype="int8", shape=(1, 8, 9, 9))
    layer = EngineLayer(name="x", type="kgen", kind="other", inputs=(small, large), outputs=(out,))
    assert (layer.main_input, layer.main_output, layer.converts) == ("fp32", "int8", True)
