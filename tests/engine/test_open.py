from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from resnet_deploy.core.artifacts import manifest_path
from resnet_deploy.core.errors import (
    ArtifactError,
    ArtifactMismatchError,
    ConfigError,
    EngineRunError,
    GraphError,
)
from resnet_deploy.engine.contract import logits_of
from resnet_deploy.engine.open import open_runner, parse_runner
from tests.reference.checkpoints import save_resnet8

# float32 sums of at most 3*3*64 products of order-one values in another order: 576 * 2^-24 = 3.4e-5 relative
SAME = {"rtol": 1e-4, "atol": 1e-4}


def openvino_or_skip() -> str:
    pytest.importorskip("openvino", reason="openvino is not installed")
    return "openvino"


@pytest.mark.parametrize(
    ("text", "backend", "file"),
    [
        ("out/net.onnx", None, "out/net.onnx"),
        ("openvino:out/net.int8.onnx", "openvino", "out/net.int8.onnx"),
        ("tensorrt-rtx:a.engine", "tensorrt-rtx", "a.engine"),
        ("out/a:b.onnx", None, "out/a:b.onnx"),
        (r"C:\nets\a.onnx", None, r"C:\nets\a.onnx"),
    ],
)
def test_a_runner_is_written_as_backend_and_file(text: str, backend: str | None, file: str) -> None:
    assert parse_runner(text) == (backend, Path(file))


@pytest.mark.parametrize(
    ("text", "says"), [("ort:a.onnx", "'ort' is not a backend"), ("torch:", "names no file"), ("", "empty")]
)
def test_what_is_no_runner_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_runner(text)


@pytest.fixture(scope="module")
def resnet8(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    folder = tmp_path_factory.mktemp("resnet8")
    net = save_resnet8(folder / "resnet8.safetensors")
    return folder / "resnet8.safetensors", net


def test_torch_runs_a_checkpoint_and_leaves_its_global_settings(resnet8: tuple[Path, torch.nn.Module]) -> None:
    file, net = resnet8
    x = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    with open_runner(file, num_threads=1) as runner:
        got = logits_of(runner, x)
        seconds = runner.timed_loop({"images": x}, 3)
    assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32) == before
    assert runner.info.backend == "torch"
    assert runner.info.inputs[0].shape == ("N", 3, 32, 32)
    assert runner.info.outputs[0].shape == ("N", 10)
    with torch.no_grad():
        np.testing.assert_allclose(got, net(torch.from_numpy(x)).numpy(), **SAME)
    assert seconds.shape == (3,) and seconds.dtype == np.float64 and (seconds > 0).all()


def plain_forward(file: Path, x: np.ndarray) -> np.ndarray:
    """The small classifier of conftest.py in float64 loops over the kernel; oracle, no runtime involved."""
    stored = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in onnx.load(file).graph.initializer}
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    size = x.shape[2]
    convolved = sum(
        np.einsum("nchw,kc->nkhw", padded[:, :, i : i + size, j : j + size], stored["w"][:, :, i, j])
        for i in range(3)
        for j in range(3)
    )
    return np.maximum(convolved, 0).mean(axis=(2, 3)) @ stored["fc_w"].T + stored["fc_b"]


def test_a_file_of_one_batch_size_is_given_so_many_at_a_time(save_onnx, images: np.ndarray) -> None:
    """Six images where the file takes four: the filling of the second call must not come out."""
    six = np.concatenate([images, images[:2] + 1])
    with (
        open_runner(save_onnx("fp32", name="four.onnx", batch=4)) as fixed,
        open_runner(save_onnx("fp32", name="any.onnx")) as free,
    ):
        assert (fixed.info.fixed_batch, free.info.fixed_batch) == (4, None)
        np.testing.assert_allclose(logits_of(fixed, six), logits_of(free, six), **SAME)
        with pytest.raises(EngineRunError, match="takes a batch of 4 alone, not 6"):
            fixed.timed_loop({"images": six}, 1)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_onnx_backends_compute_what_the_graph_says(save_onnx, images: np.ndarray, backend: str) -> None:
    if backend == "openvino":
        openvino_or_skip()
    file = save_onnx("fp32")
    with open_runner(file, backend=backend, num_threads=1) as runner:
        got = logits_of(runner, images)
        seconds = runner.timed_loop({"images": images}, 4)
    np.testing.assert_allclose(got, plain_forward(file, images), **SAME)
    assert seconds.shape == (4,) and (seconds > 0).all()
    assert runner.info.backend == backend
    # the comparison above must be able to fail: one weight of 216 changed by 0.1
    model = onnx.load(file)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 0, 0, 0] += 0.1
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    onnx.save(model, file)
    assert not np.allclose(got, plain_forward(file, images), **SAME)


def test_backends_agree_on_int8(save_onnx, images: np.ndarray) -> None:
    openvino_or_skip()
    file = save_onnx("int8")
    a, b = (logits_of(open_runner(file, backend=name), images) for name in ("onnxruntime", "openvino"))
    np.testing.assert_allclose(a, b, **SAME)


def weak_channel_net(scale_type: type) -> onnx.ModelProto:
    """Quantized 1x1 convolution of zero weights and bias 5: the output is 5, rounded to steps of 0.05."""
    make, kind = onnx.helper.make_node, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(scale_type))
    stored = {
        "w": np.zeros((1, 1, 1, 1), np.int8),
        "ws": np.full(1, 1e-4 if scale_type is np.float16 else 1e-10, scale_type),
        "s": np.asarray(1e-4 if scale_type is np.float16 else 0.05, scale_type),
        "out_s": np.asarray(0.05, scale_type),
        "z": np.int8(0),
        "wz": np.zeros(1, np.int8),
        "b": np.full(1, 5, scale_type),
    }
    nodes = [
        make("Cast", ["images"], ["x"], to=kind),
        make("QuantizeLinear", ["x", "s", "z"], ["q"]),
        make("DequantizeLinear", ["q", "s", "z"], ["dq"]),
        make("DequantizeLinear", ["w", "ws", "wz"], ["wdq"], axis=0),
        make("Conv", ["dq", "wdq", "b"], ["c"]),
        make("QuantizeLinear", ["c", "out_s", "z"], ["cq"]),
        make("DequantizeLinear", ["cq", "out_s", "z"], ["cdq"]),
        make("Flatten", ["cdq"], ["f"]),
        make("Cast", ["f"], ["logits"], to=onnx.TensorProto.FLOAT),
    ]
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "weak",
        [tensor("images", onnx.TensorProto.FLOAT, ["N", 1, 1, 1])],
        [tensor("logits", onnx.TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


@pytest.mark.parametrize("scale_type", [np.float32, np.float16])
def test_a_float_bias_stays_float_in_a_quantized_graph(tmp_path: Path, scale_type: type) -> None:
    file = tmp_path / "weak.onnx"
    onnx.save(weak_channel_net(scale_type), file)
    images = np.zeros((1, 1, 1, 1), np.float32)
    # half a step of the output's scale, 0.05
    assert abs(logits_of(open_runner(file), images)[0, 0] - 5) <= 0.026


def test_results_do_not_alias_the_next_run(save_onnx, images: np.ndarray) -> None:
    for backend in ("onnxruntime", openvino_or_skip()):
        with open_runner(save_onnx("fp32"), backend=backend) as runner:
            first = runner.run({"images": images})["logits"]
            kept = first.copy()
            runner.run({"images": images * 3})
            np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_forks_of_one_network_run_in_threads(save_onnx, images: np.ndarray, backend: str) -> None:
    if backend == "openvino":
        openvino_or_skip()
    runner = open_runner(save_onnx("fp32"), backend=backend, num_threads=1)
    inputs = [images * factor for factor in (1, 2, 3)]
    wanted = [runner.run({"images": x})["logits"] for x in inputs]

    def work(index: int) -> int:
        with runner.fork() as fork:
            return sum((fork.run({"images": inputs[index]})["logits"] != wanted[index]).any() for _ in range(30))

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(3))) == [0, 0, 0]
    runner.close()
    with pytest.raises(EngineRunError, match="closed"):
        runner.fork()


def test_a_closed_runner_says_so(save_onnx, images: np.ndarray) -> None:
    runner = open_runner(save_onnx("fp32"))
    runner.close()
    runner.close()
    with pytest.raises(EngineRunError, match="closed"):
        runner.run({"images": images})


def test_no_iterations_are_refused(save_onnx, images: np.ndarray) -> None:
    with open_runner(save_onnx("fp32")) as runner, pytest.raises(EngineRunError, match="0 iterations"):
        runner.timed_loop({"images": images}, 0)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" * 50, "half"], ids=["empty", "png", "truncated"])
def test_a_broken_onnx_file_gives_one_message(
    save_onnx, tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | str, backend: str
) -> None:
    if backend == "openvino":
        openvino_or_skip()
    whole = save_onnx("fp32").read_bytes()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(GraphError, match=r"broken\.onnx"):
        open_runner(broken, backend=backend)
    assert capfd.readouterr().err == ""


def test_a_changed_onnx_file_runs_only_when_trusted(save_onnx, images: np.ndarray) -> None:
    file = save_onnx("fp32", manifest=True)
    open_runner(file).close()
    model = onnx.load(file)
    model.producer_name = "somebody else"
    onnx.save(model, file)
    with pytest.raises(ArtifactMismatchError, match="SHA-256"):
        open_runner(file)
    logits_of(open_runner(file, trust=True), images)


def test_wrong_backends_and_files_are_refused(save_onnx, tmp_path: Path) -> None:
    file = save_onnx("fp32")
    with pytest.raises(ConfigError, match="unknown backend 'tvm'"):
        open_runner(file, backend="tvm")
    with pytest.raises(ConfigError, match="torch does not run .onnx files"):
        open_runner(file, backend="torch")
    with pytest.raises(ConfigError, match="num_threads is -1"):
        open_runner(file, num_threads=-1)
    with pytest.raises(ArtifactError, match="no such file"):
        open_runner(tmp_path / "gone.onnx")
    (tmp_path / "net.pth").write_bytes(b"x")
    with pytest.raises(ConfigError, match="'.pth' can not be run"):
        open_runner(tmp_path / "net.pth")
    assert not manifest_path(file).exists()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_weights_beside_the_onnx_file_are_read(save_onnx, images: np.ndarray, backend: str, tmp_path: Path) -> None:
    """As torch's exporter leaves them unless told otherwise."""
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    inside, beside = save_onnx("fp32"), tmp_path / "beside.onnx"
    onnx.save(onnx.load(inside), beside, save_as_external_data=True, location="beside.data", size_threshold=0)
    with open_runner(inside, backend=backend) as first, open_runner(beside, backend=backend) as second:
        np.testing.assert_array_equal(logits_of(first, images), logits_of(second, images))
