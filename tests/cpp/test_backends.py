"""The backends of the C++ SDK give what Python gives: the same ONNX file, the same runtime, the same bits.

They are called through their own tables, and through the C ABI with a bundle. The clean refusals of NVIDIA's libraries are
asked of the real TensorRT-RTX, as far as a machine without a driver goes.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.data.preprocess import preprocess
from resnet_deploy.engine.contract import Runner
from resnet_deploy.engine.runners.onnxruntime_runner import OnnxRuntimeRunner
from resnet_deploy.engine.runners.openvino_runner import OpenVinoRunner
from resnet_deploy.export.in_graph import InGraphOptions, export_in_graph
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.ship.golden import golden_pixels
from resnet_deploy.ship.manifest_file import read_bundle_manifest
from tests.cpp.backend_module import BackendError, BackendModule, ModelSource
from tests.cpp.conftest import not_here
from tests.cpp.sdk_library import SdkLibrary
from tests.engine.conftest import small_classifier

RUNNERS = {"openvino": OpenVinoRunner, "onnxruntime": OnnxRuntimeRunner}


@pytest.fixture(autouse=True)
def _runtimes_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules load the very libraries that Python runs."""
    for variable, package, inside in (
        ("RESNET_DEPLOY_ONNXRUNTIME", "onnxruntime", "capi"),
        ("RESNET_DEPLOY_TENSORRT_RTX", "tensorrt_rtx_libs", ""),
    ):
        if spec := importlib.util.find_spec(package):
            monkeypatch.setenv(variable, str(Path(spec.submodule_search_locations[0]) / inside))


@pytest.fixture(params=RUNNERS)
def backend(request: pytest.FixtureRequest, cpp_build: Path) -> BackendModule:
    return _module(cpp_build, request.param)


@pytest.fixture
def tensorrt_rtx(cpp_build: Path) -> BackendModule:
    return _module(cpp_build, "tensorrt_rtx")


def _module(folder: Path, name: str) -> BackendModule:
    file = folder / f"libresnet_deploy_{name}.so"
    if not file.exists():
        # only OpenVINO's headers come with its Python package
        absent = not_here if name == "openvino" else pytest.skip
        absent(f"{file.name} was not built: its runtime's headers were not found")
    return BackendModule(file)


@pytest.fixture(scope="module")
def resnet20(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("net") / "resnet20.fp32.onnx"
    export_onnx(ExportOptions(net="resnet20", out=file))
    return file


def _source(file: Path, *, num_threads: int = 1) -> ModelSource:
    graph = onnx.load(file).graph
    value, result = graph.input[0], graph.output[0]
    return ModelSource(
        content=file.read_bytes(),
        file=file.name,
        input_name=value.name,
        output_name=result.name,
        num_outputs=result.type.tensor_type.shape.dim[1].dim_value,
        pixels=value.type.tensor_type.elem_type == TensorProto.UINT8,
        num_threads=num_threads,
    )


def _batches(height_px: int, width_px: int, sizes: tuple[int, ...] = (1, 3, 8, 1)) -> list[np.ndarray]:
    rng = np.random.default_rng(sum(sizes))
    return [rng.normal(0, 1, (n, 3, height_px, width_px)).astype(np.float32) for n in sizes]


def _assert_same(backend: BackendModule, file: Path, batches: list[np.ndarray], *, num_threads: int = 1) -> None:
    got = backend.logits(_source(file, num_threads=num_threads), batches)
    runner: Runner = RUNNERS[backend.name](file, num_threads=num_threads)
    for images, output in zip(batches, got, strict=True):
        wanted = runner.run({runner.info.inputs[0].name: images})[runner.info.outputs[0].name]
        np.testing.assert_array_equal(output, wanted)


@pytest.mark.parametrize("num_threads", [0, 1, 2])
def test_a_residual_network_gives_the_bits_of_python(backend: BackendModule, resnet20: Path, num_threads: int):
    # on a processor with bfloat16 this fails where OpenVINO is left to choose its precision
    _assert_same(backend, resnet20, _batches(32, 32), num_threads=num_threads)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_gives_the_bits_of_python(backend: BackendModule, tmp_path: Path, precision: str):
    file = tmp_path / "small.onnx"
    onnx.save(small_classifier(precision), file)
    _assert_same(backend, file, _batches(16, 16))


def _classifier_of(nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray], num_outputs: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", num_outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _pair(source: str, result: str, scale: str, **attributes: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [source, scale, "zero"], [f"{result}.q"], **attributes),
        helper.make_node("DequantizeLinear", [f"{result}.q", scale, "zero"], [result], **attributes),
    ]


def _weak_channels() -> onnx.ModelProto:
    """A convolution whose bias is beyond int32 in steps of input scale * weight scale."""
    rng = np.random.default_rng(0)
    stored = {
        "w": np.zeros((8, 3, 3, 3), np.float32),
        "b": rng.normal(0, 3, 8).astype(np.float32),
        "s": np.float32(0.05),
        "ws": np.full(8, 1e-9, np.float32),
        "zero": np.int8(0),
        "zeros": np.zeros(8, np.int8),
    }
    nodes = [
        *_pair("images", "x", "s"),
        helper.make_node("QuantizeLinear", ["w", "ws", "zeros"], ["wq"], axis=0),
        helper.make_node("DequantizeLinear", ["wq", "ws", "zeros"], ["wd"], axis=0),
        helper.make_node("Conv", ["x", "wd", "b"], ["c"]),
        *_pair("c", "cd", "s"),
        helper.make_node("GlobalAveragePool", ["cd"], ["p"]),
        helper.make_node("Flatten", ["p"], ["logits"]),
    ]
    return _classifier_of(nodes, stored, 8)


def _fp8() -> onnx.ModelProto:
    """Relu, Slice and an FP8 pair, which ONNX Runtime 1.31 rewrites into what it can not run or runs wrongly."""
    stored = {
        "s": np.float32(1),
        "zero": np.array(0, ml_dtypes.float8_e4m3fn),
        **{name: np.int64([value]) for name, value in (("starts", 0), ("ends", 2), ("axes", 1))},
    }
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Relu", ["f"], ["r"]),
        *_pair("r", "d", "s"),
        helper.make_node("Slice", ["d", "starts", "ends", "axes"], ["part"]),
        *_pair("part", "logits", "s"),
    ]
    return _classifier_of(nodes, stored, 2)


@pytest.mark.parametrize("make", [_weak_channels, _fp8])
def test_onnx_runtime_is_kept_from_the_same_wrong_optimisations(cpp_build: Path, tmp_path: Path, make):
    file = tmp_path / "kept.onnx"
    onnx.save(make(), file)
    _assert_same(_module(cpp_build, "onnxruntime"), file, _batches(8, 8))


def test_pixels_with_the_contract_in_the_graph(backend: BackendModule, resnet20: Path):
    file = export_in_graph(InGraphOptions(onnx=resnet20, out=resnet20.with_name("pixels.onnx"), force=True)).file
    images = [
        np.stack([golden_pixels(height, width, seed=i) for i in range(2)]) for height, width in ((40, 50), (90, 33))
    ]
    _assert_same(backend, file, images)


def test_eight_threads_give_what_one_gives(backend: BackendModule, resnet20: Path):
    source = _source(resnet20)
    batches = _batches(32, 32, (1, 2, 3, 4))
    wanted = backend.logits(source, batches)
    model, info = backend.open(source)
    assert info.max_batch == 0

    def run(worker: int) -> bool:
        session = backend.create_session(model, 4)
        try:
            order = [(worker + step) % len(batches) for step in range(12)]
            got = [backend.run(session, batches[index], num_outputs=10) for index in order]
            return all((output == wanted[index]).all() for index, output in zip(order, got, strict=True))
        finally:
            backend.destroy_session(session)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(8)))
    backend.close(model)


@pytest.mark.parametrize("name", RUNNERS)
def test_a_bundle_gives_the_bits_of_python_through_the_c_abi(cpp_build: Path, bundle: Path, name: str):
    _module(cpp_build, name)  # skips where it was not built
    manifest = read_bundle_manifest(bundle)[0]
    images = [golden_pixels(50 + 7 * i, 81 - 5 * i, seed=i) for i in range(5)]
    batch = np.stack([preprocess(image, manifest.preprocess) for image in images])
    runner = RUNNERS[name](bundle / "model.onnx", num_threads=1)
    value, result = runner.info.inputs[0].name, runner.info.outputs[0].name
    with SdkLibrary(cpp_build).open(bundle, backends=name) as engine:
        for max_batch in (1, 2, 8):
            starts = range(0, len(batch), max_batch)
            wanted = np.concatenate([runner.run({value: batch[start : start + max_batch]})[result] for start in starts])
            np.testing.assert_array_equal(engine.run(batch, num_outputs=10, max_batch=max_batch), wanted)
            np.testing.assert_array_equal(engine.run_images(images, num_outputs=10, max_batch=max_batch), wanted)


def test_a_runtime_that_is_not_there_is_named_with_its_remedy(cpp_build: Path, bundle: Path, tmp_path: Path):
    code = (
        "from pathlib import Path; from tests.cpp.sdk_library import *; import sys\n"
        "try:\n"
        "  with SdkLibrary(Path(sys.argv[1])).open(Path(sys.argv[2]), backends='onnxruntime'): pass\n"
        "except SdkError as error: print(error)\n"
    )
    _module(cpp_build, "onnxruntime")
    result = subprocess.run(  # a process of its own: here the library is loaded already
        [sys.executable, "-c", code, str(cpp_build), str(bundle)],
        env={"PATH": "", "RESNET_DEPLOY_ONNXRUNTIME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RD_NO_BACKEND" in result.stdout, result.stdout + result.stderr
    assert str(tmp_path) in result.stdout
    assert "set it to the library's file or folder" in result.stdout


@pytest.fixture(scope="module")
def rtx_engine() -> ModelSource:
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(small_classifier("fp32").SerializeToString())
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("images", (1, 3, 16, 16), (4, 3, 16, 16), (8, 3, 16, 16))
    config.add_optimization_profile(profile)
    return ModelSource(
        content=bytes(builder.build_serialized_network(network, config)),
        file="small.engine",
        format="engine",
        product="tensorrt-rtx",
        version=_library_version(),
    )


def _library_version() -> str:
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    library = ctypes.CDLL(str(next(Path(spec.submodule_search_locations[0]).glob("libtensorrt_rtx.so*"))))
    return ".".join(
        str(getattr(library, f"getInferLib{part}Version")()) for part in ("Major", "Minor", "Patch", "Build")
    )


def test_the_real_tensorrt_rtx_without_a_driver_says_so(tensorrt_rtx: BackendModule, rtx_engine: ModelSource):
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        pytest.skip("NVIDIA's driver is here")
    with pytest.raises(BackendError, match=r"no NVIDIA driver: libcuda\.so\.1.*nvidia-smi") as failure:
        tensorrt_rtx.open(rtx_engine)
    assert failure.value.status == "RD_NO_DRIVER"


def test_an_engine_of_another_release_is_refused_before_the_driver_is_asked(
    tensorrt_rtx: BackendModule, rtx_engine: ModelSource
):
    other = ModelSource(content=rtx_engine.content, format="engine", product="tensorrt-rtx", version="1.6.1.120")
    with pytest.raises(BackendError, match=rf"1\.6\.1\.120.*{rtx_engine.version}.*build the engine again") as failure:
        tensorrt_rtx.open(other)
    assert failure.value.status == "RD_VERSION_MISMATCH"


def test_the_library_of_the_other_product_is_refused_before_it_is_called(
    cpp_build: Path, rtx_engine: ModelSource, monkeypatch: pytest.MonkeyPatch
):
    module = _module(cpp_build, "tensorrt")
    folder = Path(importlib.util.find_spec("tensorrt_rtx_libs").submodule_search_locations[0])
    monkeypatch.setenv("RESNET_DEPLOY_TENSORRT", str(next(folder.glob("libtensorrt_rtx.so*"))))
    with pytest.raises(BackendError, match=r"compiled against the headers of 1[01]\.") as failure:
        module.open(ModelSource(content=rtx_engine.content, format="engine", product="tensorrt", version="11.1.0.106"))
    assert failure.value.status == "RD_VERSION_MISMATCH"


def test_a_module_serves_its_own_abi_alone(backend: BackendModule):
    assert not backend.serves_other_abi
    assert backend.takes("onnx", "")
    assert not backend.takes("engine", "tensorrt-rtx")
