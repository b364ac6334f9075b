from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from resnet_deploy.core.artifacts import manifest_path, read_manifest
from resnet_deploy.core.errors import (
    ArtifactError,
    ConfigError,
    EngineBuildError,
    GraphError,
    MissingDependencyError,
)
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.core.progress import NO_PROGRESS
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from resnet_deploy.engine import targets
from resnet_deploy.engine.building import build, builder
from resnet_deploy.engine.building.build import build_engine
from resnet_deploy.engine.building.options import BatchProfile, BuildOptions, HardwareCompatibility, SizeProfile
from resnet_deploy.engine.contract import ShapeProfile
from resnet_deploy.engine.cuda_driver import CudaDriver, Gpu, query_cuda_driver
from resnet_deploy.engine.open import open_runner
from resnet_deploy.engine.products import PRODUCTS
from tests.engine.fake_trt import GPU, fake_tensorrt


def no_gpu() -> None:
    if query_cuda_driver().gpus:
        pytest.skip("there is a GPU here")


@pytest.mark.parametrize("precision", MAIN_PRECISIONS)
def test_an_engine_of_each_precision_is_built_without_a_gpu(save_onnx, rtx, precision: Precision) -> None:
    source = save_onnx(precision.value, manifest=True)
    result = build_engine(
        BuildOptions(onnx=source, targets=("sm86", "sm89"), batches=(BatchProfile(min=1, opt=2, max=4),))
    )
    assert result.file == source.with_suffix(".engine")
    assert (result.product, result.product_version, result.precision) == ("tensorrt-rtx", rtx.__version__, precision)
    assert result.targets == ("sm86", "sm89")
    assert result.size_bytes == result.file.stat().st_size
    manifest = read_manifest(result.file, kind="engine")
    assert manifest.precision == precision
    assert manifest.net.name == "resnet8" and len(manifest.labels) == 10 and manifest.preprocess is not None
    assert manifest.input_sha256("onnx") == read_manifest(source).sha256
    assert manifest.versions["tensorrt-rtx"] == rtx.__version__
    assert manifest.details["target_mask"] == 0x0C
    assert manifest.details["profiles"] == [{"min": [1, 3, 16, 16], "opt": [2, 3, 16, 16], "max": [4, 3, 16, 16]}]
    assert manifest.details["sanity"]["state"] in ("not run", "passed")
    assert any("Engine generation completed" in text for _, text in manifest.details["log"])
    assert manifest.details["parsed_layers"] > 4 and manifest.details["seconds"] > 0
    assert manifest.details["inputs"] == [{"name": "images", "dtype": "float32", "shape": ["N", 3, 16, 16]}]


def test_without_targets_every_gpu_from_sm80_on_is_served(save_onnx, rtx) -> None:
    assert build_engine(BuildOptions(onnx=save_onnx("fp32"))).targets == ("sm80", "sm86", "sm89", "sm120", "sm121")


def test_turing_takes_fp16_and_refuses_fp32_in_its_own_words(save_onnx, rtx) -> None:
    assert build_engine(BuildOptions(onnx=save_onnx("fp16"), targets=("sm75",))).targets == ("sm75",)
    source = save_onnx("fp32")
    with pytest.raises(EngineBuildError, match=r"FP32 GEMM is not supported") as caught:
        build_engine(BuildOptions(onnx=source, targets=("sm75",)))
    assert "FP16 file" in caught.value.remedy
    assert sorted(path.name for path in source.parent.glob("*fp32*")) == ["small.fp32.onnx"]


def test_a_refused_graph_keeps_the_engine_that_was_there(save_onnx, rtx) -> None:
    good = save_onnx("int8", name="net.onnx")
    engine = build_engine(BuildOptions(onnx=good)).file
    before = engine.read_bytes()
    save_onnx("int8", name="net.onnx", zero_point=3)
    with pytest.raises(EngineBuildError, match=r"(?i)zero.?point") as caught:
        build_engine(BuildOptions(onnx=good))
    assert "symmetric" in caught.value.remedy
    assert engine.read_bytes() == before
    read_manifest(engine)


def test_an_unchanged_build_is_skipped_and_any_change_is_not(save_onnx, rtx) -> None:
    source = save_onnx("fp32")
    first = build_engine(BuildOptions(onnx=source))
    again = build_engine(BuildOptions(onnx=source))
    assert (first.skipped, again.skipped) == (False, True)
    assert (again.targets, again.seconds, again.size_bytes) == (first.targets, first.seconds, first.size_bytes)
    assert not build_engine(BuildOptions(onnx=source, force=True)).skipped
    assert not build_engine(BuildOptions(onnx=source, targets=("sm89",))).skipped
    assert not build_engine(BuildOptions(onnx=source, batches=(BatchProfile(max=16),))).skipped
    save_onnx("fp16", name=source.name)
    assert build_engine(BuildOptions(onnx=source, batches=(BatchProfile(max=16),))).precision == Precision.FP16


def test_a_fixed_batch_is_kept(save_onnx, rtx) -> None:
    file = build_engine(BuildOptions(onnx=save_onnx("fp32", batch=4))).file
    assert read_manifest(file).details["profiles"] == []


def test_several_profiles_are_one_engine(save_onnx, rtx) -> None:
    batches = (BatchProfile(min=1, opt=1, max=1), BatchProfile(min=2, opt=4, max=8))
    result = build_engine(BuildOptions(onnx=save_onnx("fp32"), batches=batches))
    assert [(p.min[0], p.opt[0], p.max[0]) for p in result.profiles] == [(1, 1, 1), (2, 4, 8)]
    again = build_engine(BuildOptions(onnx=result.file.with_suffix(".onnx"), batches=batches))
    assert again.skipped and again.profiles == result.profiles
    assert not build_engine(BuildOptions(onnx=result.file.with_suffix(".onnx"), batches=batches[::-1])).skipped


def free_size(file: Path) -> Path:
    model = onnx.load(file)
    for axis, name in ((2, "H"), (3, "W")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, file)
    return file


def test_a_network_for_any_size_is_built_for_the_sizes_asked_for(save_onnx, rtx) -> None:
    source = free_size(save_onnx("fp16"))
    with pytest.raises(ConfigError, match=r"takes images of any size, input images is \['N', 3, 'H', 'W'\]") as caught:
        build_engine(BuildOptions(onnx=source))
    assert "--size 224" in caught.value.remedy
    size = SizeProfile(min=(8, 16), opt=(16, 16), max=(32, 24))
    result = build_engine(BuildOptions(onnx=source, size=size))
    assert result.profiles == (ShapeProfile(min=(1, 3, 8, 16), opt=(8, 3, 16, 16), max=(32, 3, 32, 24)),)


def test_weights_beside_the_onnx_file_are_part_of_what_an_engine_is_made_of(save_onnx, rtx) -> None:
    source = save_onnx("fp32")
    data = source.with_name("small.data")
    onnx.save(onnx.load(source), source, save_as_external_data=True, location=data.name, size_threshold=0)
    result = build_engine(BuildOptions(onnx=source))
    assert read_manifest(result.file).input_sha256("onnx data 1") == sha256_of_file(data)
    assert build_engine(BuildOptions(onnx=source)).skipped
    values = bytearray(data.read_bytes())
    values[3] ^= 0x01  # a bit of a weight
    data.write_bytes(values)
    assert not build_engine(BuildOptions(onnx=source)).skipped
    with pytest.raises(ConfigError, match=r"keeps its weights in small\.data, an engine is refitted from"):
        build_engine(BuildOptions(onnx=source, strip=True))
    data.unlink()
    with pytest.raises(ArtifactError, match=r"small\.data: no such file"):
        build_engine(BuildOptions(onnx=source))


def test_an_engine_without_weights_needs_a_gpu_to_be_built(save_onnx, rtx) -> None:
    no_gpu()
    with pytest.raises(MissingDependencyError, match="builds engines without weights only where there is a GPU"):
        build_engine(BuildOptions(onnx=save_onnx("fp32"), strip=True))


def test_a_workspace_that_is_too_small_says_so(save_onnx, rtx) -> None:
    # 32 images [8, 16, 16] in and out of the ReLU alone are 512 KiB; the largest batch is what has to fit
    options = BuildOptions(onnx=save_onnx("fp32"), batches=(BatchProfile(max=1024),), workspace_mib=1)
    with pytest.raises(EngineBuildError, match="OutOfMemory|workspace limit") as caught:
        build_engine(options)
    assert "workspace is too small" in caught.value.remedy


def test_tf32_is_another_engine(save_onnx, rtx) -> None:
    source = save_onnx("fp32")
    build_engine(BuildOptions(onnx=source))
    result = build_engine(BuildOptions(onnx=source, tf32=True))
    assert not result.skipped and read_manifest(result.file).options["tf32"] is True


def test_what_the_chosen_product_lacks_is_refused(save_onnx, rtx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "choose_product", lambda _: PRODUCTS["tensorrt-rtx"])
    with pytest.raises(ConfigError, match="tensorrt-rtx has no optimization level") as caught:
        build_engine(BuildOptions(onnx=save_onnx("fp32"), optimization_level=3))
    assert "product tensorrt" in caught.value.remedy


class InterruptAtStart:
    """Presses Ctrl-C as soon as the builder begins."""

    def start(self, description: str, total: int | None) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        pass

    def log(self, message: str) -> None:
        pass


def test_ctrl_c_during_a_build_leaves_nothing(save_onnx, rtx) -> None:
    source = save_onnx("fp32")
    with pytest.raises(KeyboardInterrupt):
        build_engine(BuildOptions(onnx=source), InterruptAtStart())
    assert [path.name for path in source.parent.iterdir()] == [source.name]
    assert not build_engine(BuildOptions(onnx=source), NO_PROGRESS).skipped  # and the next build works


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (("sm90",), r"tensorrt-rtx can not build for sm90 \(H100, H200\), only for .*sm89"),
        (("sm87",), "Jetson Orin"),
        (("sm42",), "unknown target 'sm42'"),
        (("SM86",), "unknown target 'SM86'"),
        (("current", "sm86"), "can not be mixed with sm86"),
    ],
)
def test_targets_that_can_not_be_built_are_refused(save_onnx, rtx, targets: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_engine(BuildOptions(onnx=save_onnx("fp32"), product="tensorrt-rtx", targets=targets))


def test_the_gpu_of_this_machine_is_no_target_where_there_is_none(save_onnx, rtx) -> None:
    no_gpu()
    with pytest.raises(MissingDependencyError, match="no CUDA device"):
        build_engine(BuildOptions(onnx=save_onnx("fp32"), targets=("current",)))


def test_tensorrt_needs_its_package_and_a_gpu(save_onnx) -> None:
    no_gpu()
    with pytest.raises(MissingDependencyError, match="tensorrt is not installed|no CUDA device"):
        build_engine(BuildOptions(onnx=save_onnx("fp32"), product="tensorrt"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"product": "tensorflow"}, "unknown product 'tensorflow'"),
        ({"optimization_level": 6}, "optimization level is 6"),
        ({"workspace_mib": 0}, "workspace is 0 MiB"),
        ({"dla_core": -1}, "DLA core is -1"),
        ({"batches": ()}, "no batch profile"),
        ({"batches": (BatchProfile(), BatchProfile())}, "given twice"),
        ({"pin_timing_cache": True}, "pinned timing cache must be named"),
        ({"targets": ("sm86", "sm86")}, "one GPU twice"),
        ({"out": Path("net.plan")}, r"out is net\.plan"),
        ({"product": "tensorrt-rtx", "optimization_level": 3}, "tensorrt-rtx has no optimization level"),
        ({"product": "tensorrt-rtx", "timing_cache": Path("t.cache")}, "tensorrt-rtx has no timing cache"),
        ({"product": "tensorrt-rtx", "version_compatible": True}, "tensorrt-rtx has no version-compatible engines"),
        ({"product": "tensorrt-rtx", "dla_core": 0, "optimization_level": 1}, "no optimization level.*; no DLA"),
        (
            {"product": "tensorrt-rtx", "hardware_compatibility": HardwareCompatibility.AMPERE_PLUS},
            "tensorrt-rtx has no hardware compatibility level",
        ),
    ],
)
def test_wrong_options_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        BuildOptions(onnx=Path("net.onnx"), **options)


def test_a_truncated_onnx_file_and_a_foreign_manifest_are_refused(save_onnx, rtx) -> None:
    source = save_onnx("fp32")
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraphError, match="cut off|whole"):
        build_engine(BuildOptions(onnx=source))
    source.write_bytes(whole)
    engine = build_engine(BuildOptions(onnx=source)).file
    source.write_bytes(whole)
    text = manifest_path(engine).read_text().replace(engine.name, source.name)
    manifest_path(source).write_text(text)
    with pytest.raises(ArtifactError):
        build_engine(BuildOptions(onnx=source))


def test_an_engine_is_not_opened_when_it_is_not_what_was_built(save_onnx, rtx) -> None:
    engine = build_engine(BuildOptions(onnx=save_onnx("fp32"))).file
    data = bytearray(engine.read_bytes())
    data[5000] ^= 1
    engine.write_bytes(data)
    with pytest.raises(ArtifactError, match="SHA-256"):
        open_runner(engine)
    manifest_path(engine).unlink()
    with pytest.raises(ArtifactError, match="no manifest"):
        open_runner(engine)


def test_an_engine_says_that_it_needs_a_gpu(save_onnx, rtx) -> None:
    no_gpu()
    engine = build_engine(BuildOptions(onnx=save_onnx("fp32"))).file
    for trust in (False, True):
        with pytest.raises(MissingDependencyError, match="no CUDA device"):
            open_runner(engine, trust=trust)
    with pytest.raises(ConfigError, match="built by tensorrt-rtx, tensorrt can not run it"):
        open_runner(engine, backend="tensorrt")


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch):
    """on_gpu(gpu) puts `build_engine` on a machine with that GPU and a stand-in for NVIDIA's tensorrt 10.16."""
    trt = fake_tensorrt()

    def put(gpu: Gpu = GPU) -> None:
        driver = CudaDriver(version="13.0", gpus=(gpu,), reason="")
        for module in (build, builder, targets):
            monkeypatch.setattr(module, "query_cuda_driver", lambda: driver)
        monkeypatch.setattr(build, "import_product", lambda product: trt)

    return put


def test_an_engine_of_tensorrt_belongs_to_the_gpu_it_was_built_on(save_onnx, on_gpu) -> None:
    on_gpu()
    options = BuildOptions(onnx=save_onnx("fp16", manifest=True), product="tensorrt")
    result = build_engine(options)
    assert (result.product, result.product_version) == ("tensorrt", "10.16.1.11")
    assert (result.targets, result.runs_on) == (("sm90",), "Fake GPU (sm90)")
    manifest = read_manifest(result.file)
    assert manifest.details["gpu"]["name"] == "Fake GPU" and manifest.details["driver"] == "13.0"
    assert manifest.details["platform"] and manifest.details["hardware_compatibility"] == "none"
    assert build_engine(options).skipped
    on_gpu(replace(GPU, name="Another GPU"))
    assert not build_engine(options).skipped


def test_kernel_times_are_kept_beside_the_engine_for_each_version_and_gpu(save_onnx, on_gpu, tmp_path: Path) -> None:
    source = save_onnx("fp16")
    on_gpu()
    build_engine(BuildOptions(onnx=source, product="tensorrt"))
    on_gpu(replace(GPU, name="NVIDIA RTX A2000 (12GB)"))
    result = build_engine(BuildOptions(onnx=source, product="tensorrt"))
    kept = sorted(path.name for path in tmp_path.glob("*.timings"))
    assert kept == ["tensorrt-10.16.1.11-fake-gpu.timings", "tensorrt-10.16.1.11-nvidia-rtx-a2000-12gb.timings"]
    assert read_manifest(result.file).details["timing_cache"] == kept[1]


def test_a_pinned_timing_cache_is_part_of_what_an_engine_was_made_with(save_onnx, on_gpu, tmp_path: Path) -> None:
    on_gpu()
    cache = tmp_path / "kernel.timings"
    cache.write_bytes(b"first")
    options = BuildOptions(
        onnx=save_onnx("fp16"), product="tensorrt", timing_cache=cache, pin_timing_cache=True, force=False
    )
    assert not build_engine(options).skipped and build_engine(options).skipped
    cache.write_bytes(b"second")
    assert not build_engine(options).skipped


@pytest.mark.parametrize(
    ("level", "says"),
    [(HardwareCompatibility.AMPERE_PLUS, "sm80 and newer"), (HardwareCompatibility.NONE, "Fake GPU (sm90)")],
)
def test_hardware_compatibility_says_where_an_engine_runs(save_onnx, on_gpu, level, says: str) -> None:
    on_gpu()
    options = BuildOptions(onnx=save_onnx("fp16"), product="tensorrt", hardware_compatibility=level)
    assert build_engine(options).runs_on == says


def test_an_engine_without_weights_is_marked_as_one(save_onnx, on_gpu) -> None:
    on_gpu()
    result = build_engine(BuildOptions(onnx=save_onnx("fp16"), product="tensorrt", strip=True))
    details = read_manifest(result.file).details
    assert details["stripped"] is True and details["refittable"] is True
