"""The forms that are compared compute the same, and what is printed of an engine is what it does."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

_CHANNELS, _SIZE = 32, 8
# FP16 moves a level, at most 127, by up to 127 x 2^-11 = 0.06 before it is rounded: at most 6 % of the levels become
# their neighbour, 0.25 levels rms. Rounding alone makes 0.29 for each of one or two quantised tensors.
_LIMIT = 0.6


def _run(model: onnx.ModelProto) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image = np.abs(np.random.default_rng(1).standard_normal((1, _CHANNELS, _SIZE, _SIZE))).astype(np.float16)
    return session.run(None, {"x": image})[0].astype(np.float64)


def _write(name: str) -> onnx.ModelProto:
    from rtx_fusion import write_form

    return write_form(name, channels=_CHANNELS, size=_SIZE)


def _noise(found: np.ndarray, expected: np.ndarray) -> float:
    """Distance of two forms over the distance of the second from FP16 arithmetic, which is quantisation's noise."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected - _run(_write("fp16"))))


@pytest.mark.parametrize(
    ("form", "same"),
    [("integer-sums", "per-channel"), ("fp16-then-cast", "fp16-then-quantize"), ("int8-then-cast", "per-tensor")],
)
def test_another_way_to_write_it_computes_the_same(form: str, same: str) -> None:
    assert _noise(_run(_write(form)), _run(_write(same))) < _LIMIT


def test_the_residual_forms_compute_the_same() -> None:
    plain, sums, per_tensor = (
        _run(_write(f"{name}-residual")) for name in ("per-channel", "integer-sums", "per-tensor")
    )
    # against the noise of the form without an addition, whose tensors have the same scales
    noise = np.linalg.norm(_run(_write("per-channel")) - _run(_write("fp16")))
    assert np.linalg.norm(sums - plain) < _LIMIT * noise
    # weights rounded anew: by 0.29 levels rms, of 73 x 0.2 = 15 in the smallest channel, 2 % in each of two convolutions
    assert np.linalg.norm(per_tensor - plain) < 0.03 * np.linalg.norm(plain)
    assert np.linalg.norm(plain - _run(_write("per-channel"))) > 10 * noise  # the addition is there


@pytest.mark.parametrize(("form", "same"), [("integer-sums", "per-channel"), ("fp16-then-cast", "fp16-then-quantize")])
def test_a_wrong_factor_or_a_lost_half_is_seen(form: str, same: str) -> None:
    model = _write(form)
    # per channel: a factor of integer-sums, of which the fault takes the neighbour's; half a level of fp16-then-cast
    shape, fault = ((1, _CHANNELS, 1, 1), lambda x: np.roll(x, 1)) if form == "integer-sums" else ((_CHANNELS,), _less)
    constant = next(tensor for tensor in model.graph.initializer if tuple(tensor.dims) == shape)
    constant.CopyFrom(numpy_helper.from_array(fault(numpy_helper.to_array(constant)), constant.name))
    assert _noise(_run(model), _run(_write(same))) > 1


def _less(bias: np.ndarray) -> np.ndarray:
    return bias - np.float16(0.5)


def test_no_sum_of_integers_leaves_fp16() -> None:
    model = _write("integer-sums")
    scales = [
        float(numpy_helper.to_array(tensor))
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT16 and not tensor.dims
    ]
    powers = [scale for scale in scales if scale < 1 and np.log2(scale).is_integer()]
    weights = [numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) == 4 and t.data_type == 3]
    assert len(powers) == len(weights) == 2
    for power, weight in zip(powers, weights, strict=True):
        largest = 128 * np.abs(weight.astype(np.int64)).sum((1, 2, 3)).max() * power
        assert np.finfo(np.float16).max / 2 < largest <= np.finfo(np.float16).max
        assert power >= np.finfo(np.float16).tiny


def test_the_table_says_what_the_engines_do(tmp_path, capsys) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    import rtx_fusion

    assert rtx_fusion.main(["--folder", str(tmp_path), "--target", "sm86"]) == 0
    rows = dict(line.strip("| ").split(" | ")[:2] for line in capsys.readouterr().out.splitlines()[2:])
    assert set(rows) == set(rtx_fusion.FORMS)
    assert rows["fp16"].count("conv fp16->fp16") == 2
    assert rows["per-channel"].count("conv int8->") == 2
    assert "weights->fp16" in rows["weights-only"] and "conv int8" not in rows["weights-only"]


def test_a_form_that_can_not_be_built_is_named_and_fails(tmp_path, capsys, monkeypatch) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    import rtx_fusion

    def unsigned(g) -> str:
        return g.op("DequantizeLinear", g.op("Cast", "x", to=onnx.TensorProto.INT32), g.constant(np.float16(1)))

    monkeypatch.setattr(rtx_fusion, "FORMS", {"fp16": rtx_fusion.FORMS["fp16"], "int32": unsigned})
    assert rtx_fusion.main(["--folder", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "| fp16 |" in printed.out and "| int32 |" not in printed.out
    assert printed.err.startswith("int32: ")


def test_an_unknown_target_is_named_once(tmp_path, capsys) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    import rtx_fusion

    assert rtx_fusion.main(["--folder", str(tmp_path), "--target", "sm99"]) == 2
    assert capsys.readouterr().err.count("unknown target 'sm99'") == 1
